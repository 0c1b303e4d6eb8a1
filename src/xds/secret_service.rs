//! The secret discovery service: the machines on gRPC streams.

use std::pin::Pin;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::runtime::Drain;

use super::stream::{check_names, check_type};
use super::{Delta, Machine, Observer, Receipt, StateOfTheWorld, StreamId, Table};

/// The type URL of `envoy.extensions.transport_sockets.tls.v3.Secret`.
pub const SECRET_TYPE: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// The largest request. An Envoy's first one lists all its extensions, some hundred kilobytes.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// Serves secrets from a table that may be replaced at any time. While there is no table nothing is answered:
/// the clients wait.
pub struct SecretService {
    tables: watch::Receiver<Option<Arc<Table>>>,
    observer: Arc<dyn Observer>,
    drain: Drain,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl SecretService {
    /// Serves what `tables` holds until `drain` begins, which ends every stream.
    #[must_use]
    pub fn new(
        tables: watch::Receiver<Option<Arc<Table>>>,
        observer: Arc<dyn Observer>,
        drain: Drain,
    ) -> Self {
        Self { tables, observer, drain }
    }

    /// The gRPC service, for tonic's router.
    #[must_use]
    pub fn into_server(self) -> SecretDiscoveryServiceServer<Self> {
        SecretDiscoveryServiceServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    fn converse<M>(&self, machine: M, requests: Streaming<M::Request>) -> Answers<M::Response>
    where
        M: Machine + Send + 'static,
        M::Request: Send,
    {
        let open = Open { stream: self.observer.opened(), observer: Arc::clone(&self.observer) };
        let conversation = Conversation {
            machine,
            requests,
            tables: self.tables.clone(),
            open,
            drain: self.drain.clone(),
        };
        Box::pin(unfold(Some(conversation), |state| async {
            let mut conversation = state?;
            match conversation.step().await? {
                Ok(response) => Some((Ok(response), Some(conversation))),
                Err(status) => Some((Err(status), None)),
            }
        }))
    }
}

/// One stream. It is polled only when the transport can take another answer.
struct Conversation<M: Machine> {
    machine: M,
    requests: Streaming<M::Request>,
    tables: watch::Receiver<Option<Arc<Table>>>,
    open: Open,
    drain: Drain,
}

/// Says that the stream ended, however it did.
struct Open {
    stream: StreamId,
    observer: Arc<dyn Observer>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.observer.closed(self.stream);
    }
}

impl<M: Machine> Conversation<M> {
    /// The next answer, or the end.
    async fn step(&mut self) -> Option<Result<M::Response, Status>> {
        loop {
            if self.drain.has_begun() {
                return None;
            }
            let table = self.tables.borrow_and_update().clone();
            if let Some(response) = table.and_then(|table| self.machine.next(&table)) {
                return Some(Ok(response));
            }
            tokio::select! {
                () = self.drain.begun() => return None,
                // Without its writer the table can only grow old: let the clients look for another server.
                changed = self.tables.changed() => changed.ok()?,
                request = self.requests.message() => {
                    // A broken stream ends as one that was closed: nobody is left to hear more.
                    let request = request.ok().flatten()?;
                    if let Err(status) = self.receive(request) {
                        return Some(Err(status));
                    }
                }
            }
        }
    }

    fn receive(&mut self, request: M::Request) -> Result<(), Status> {
        let receipt = self.machine.receive(request).map_err(|violation| {
            tracing::warn!(reason = %violation, "a discovery client broke the protocol");
            Status::invalid_argument(violation.to_string())
        })?;
        let Open { stream, observer } = &self.open;
        observer.asked(*stream, self.machine.names());
        match receipt {
            Receipt::Nothing => {}
            Receipt::Acked { name, version } => {
                tracing::debug!(resource.name = %name, resource.version = %version, "acknowledged");
                observer.acked(*stream, &name, &version);
            }
            Receipt::Nacked { resource, reason } => {
                let resource = resource.as_ref().map(|(name, version)| (&**name, &**version));
                tracing::warn!(
                    resource.name = resource.map_or("unknown", |(name, _)| name),
                    ?reason,
                    "Envoy refused a resource and keeps the one before; it is sent again when its content changes"
                );
                observer.nacked(*stream, resource, &reason);
            }
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for SecretService {
    type StreamSecretsStream = Answers<DiscoveryResponse>;
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let machine = StateOfTheWorld::new(SECRET_TYPE);
        Ok(Response::new(self.converse(machine, request.into_inner())))
    }

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Ok(Response::new(self.converse(Delta::new(SECRET_TYPE), request.into_inner())))
    }

    /// Answers the known ones of the names at once; there is no stream on which the rest could follow.
    async fn fetch_secrets(
        &self,
        request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        let request = request.into_inner();
        check_type(SECRET_TYPE, &request.type_url)
            .and_then(|()| check_names(request.resource_names.len(), request.resource_names.iter()))
            .map_err(|violation| Status::invalid_argument(violation.to_string()))?;
        let table = self.tables.borrow().clone();
        let table = table.ok_or_else(|| Status::unavailable("no certificate yet"))?;
        let found: Vec<_> =
            request.resource_names.iter().filter_map(|name| table.get(name)).collect();
        if found.is_empty() {
            return Err(Status::not_found("none of these secrets is known"));
        }
        let versions: Vec<&str> = found.iter().map(|resource| resource.version()).collect();
        Ok(Response::new(DiscoveryResponse {
            version_info: versions.join("-"),
            resources: found.iter().map(|resource| table.any(resource)).collect(),
            type_url: SECRET_TYPE.to_owned(),
            ..DiscoveryResponse::default()
        }))
    }
}
