//! The baseline: the generated service of envoy-types on tonic, as its documentation shows it, answering OK.

use std::path::Path;

use envoy_types::ext_authz::v3::CheckResponseExt as _;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{
    Authorization, AuthorizationServer,
};
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

struct AlwaysOk;

#[tonic::async_trait]
impl Authorization for AlwaysOk {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse::with_status(Status::ok("ok"))))
    }
}

pub fn serve(socket: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
        tonic::transport::Server::builder()
            .add_service(AuthorizationServer::new(AlwaysOk))
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
}
