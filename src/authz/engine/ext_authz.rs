//! Another `envoy.service.auth.v3.Authorization`: it receives the CheckRequest as Envoy sent it.
//!
//! Only an answer whose status is there and OK is a yes. Whatever it would change about the request or the answer is
//! not done.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use prost::Message as _;
use tokio::sync::OnceCell;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::said::{Fault, Said};
use crate::policy::EngineFault;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// No answer is longer.
const MAX_ANSWER: usize = 256 * 1024;

/// A connection to such a server, made when it is first asked.
pub(super) struct Server {
    endpoint: Endpoint,
    channel: OnceCell<Channel>,
    timeout: Duration,
}

impl Server {
    /// Without a CA certificate, https trusts nobody.
    pub(super) fn new(url: &str, ca_pem: Option<&[u8]>, timeout: Duration) -> Result<Self, String> {
        let mut endpoint =
            Endpoint::from_shared(url.to_owned()).map_err(|error| error.to_string())?;
        if url.starts_with("https:") {
            let Some(ca_pem) = ca_pem else {
                return Err("https needs http.caFile: whom to trust".to_owned());
            };
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca_pem));
            endpoint = endpoint.tls_config(tls).map_err(|error| error.to_string())?;
        }
        let endpoint = endpoint.connect_timeout(timeout).timeout(timeout);
        Ok(Self { endpoint, channel: OnceCell::new(), timeout })
    }

    pub(super) async fn ask(&self, message: Bytes) -> Result<Said, Fault> {
        match tokio::time::timeout(self.timeout, self.call(message)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::down(EngineFault::Timeout)),
        }
    }

    async fn call(&self, message: Bytes) -> Result<Said, Fault> {
        // A lazy channel needs the runtime that it is made in, which there is none of when resources are read.
        let channel = self.channel.get_or_init(async || self.endpoint.connect_lazy()).await;
        let mut client = Grpc::new(channel.clone()).max_decoding_message_size(MAX_ANSWER);
        client.ready().await.map_err(|_| Fault::down(EngineFault::Unreachable))?;
        let path = http::uri::PathAndQuery::from_static(CHECK);
        let answer = client.unary(Request::new(message), path, Verbatim).await;
        answer.map(|answer| read(&answer.into_inner())).map_err(|status| failed(&status))
    }
}

/// Status 0 is OK. An answer without a status says nothing, which is no.
fn read(answer: &CheckResponse) -> Said {
    match answer.status.as_ref().map(|status| status.code) {
        // A refusal under the code that allows is no clear yes.
        Some(0) => match &answer.http_response {
            None | Some(HttpResponse::OkResponse(_)) => Said::Yes,
            Some(HttpResponse::DeniedResponse(_) | HttpResponse::ErrorResponse(_)) => Said::No,
        },
        Some(_) | None => Said::No,
    }
}

fn failed(status: &Status) -> Fault {
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => Fault::down(EngineFault::Timeout),
        Code::Unavailable => Fault::down(EngineFault::Unreachable),
        Code::Unauthenticated | Code::PermissionDenied => Fault::once(EngineFault::RefusesUs),
        Code::ResourceExhausted => Fault::down(EngineFault::Status),
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => Fault::once(EngineFault::Status),
    }
}

/// Sends the bytes that Envoy sent: what this version does not know arrives too.
#[derive(Debug, Clone, Copy, Default)]
struct Verbatim;

impl Codec for Verbatim {
    type Encode = Bytes;
    type Decode = CheckResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = CheckResponse;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<CheckResponse>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        CheckResponse::decode(bytes)
            .map(Some)
            .map_err(|_| Status::internal("the answer is no CheckResponse"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::google::rpc;

    #[test]
    fn only_a_status_that_is_there_and_ok_is_yes() {
        let with = |status| read(&CheckResponse { status, ..CheckResponse::default() });
        assert_eq!(with(Some(rpc::Status::default())), Said::Yes);
        assert_eq!(with(Some(rpc::Status { code: 7, ..rpc::Status::default() })), Said::No);
        assert_eq!(with(None), Said::No, "an empty answer");
    }
}
