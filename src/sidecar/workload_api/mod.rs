//! The SPIFFE Workload API on a unix socket: the workload's application gets its own certificates and tokens, and what it
//! verifies those of others with (SPIFFE standards: Workload Endpoint, Workload API).
//!
//! Whoever connects is known by what the kernel says of the socket, and by nothing the caller sends. A caller that is
//! admitted and comes before there is an identity waits for it; once an identity is lost (expired, withdrawn), every
//! stream ends with "no identity issued" and new calls get the same until there is one again. Streams carry the latest
//! state and nothing older: however slow a caller reads, what is kept for it does not grow.

mod api;
mod authority;
mod callers;
mod config;
mod counts;
mod feed;
mod incoming;
mod messages;
mod tokens;

use std::sync::Arc;

use tokio::sync::watch;

pub use callers::{Callers, InvalidCallers};
pub(super) use config::validate;
pub use config::{CallerUsers, WorkloadApiConfig};

pub use super::in_force::InForce;

use super::StartError;
use crate::certs::JwtSource;
use crate::identity::WorkloadIdentity;
use crate::proto::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use crate::runtime::{Address, Clock, Drain, Listener, Tasks};
use crate::telemetry::Metrics;
use api::Api;
use counts::Counts;
use incoming::incoming;
use tokens::Tokens;

/// Requests hold a token at most.
const MAX_REQUEST: usize = 64 * 1024;
/// Calls that one connection may have open.
const MAX_CALLS_PER_CONNECTION: u32 = 64;
const MAX_HEADERS: u32 = 16 * 1024;

/// What there is to hand out, and by whose word.
#[derive(Clone)]
pub struct Holdings {
    /// The workload's identity: nothing while there is none, or while the workload is revoked.
    pub identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    /// Whose tokens are refused.
    pub revoked: watch::Receiver<Arc<InForce>>,
    /// Where the workload's own tokens come from.
    pub tokens: JwtSource,
}

/// The Workload API of one workload.
pub struct WorkloadApi {
    api: Api,
    callers: Callers,
}

impl WorkloadApi {
    /// Serves what `held` shows to those whom `callers` admits.
    #[must_use]
    pub fn new(held: Holdings, callers: Callers, clock: Clock, metrics: &Metrics) -> Self {
        let tokens = Tokens::new(held.clone(), clock.clone());
        counts::watch(metrics, &tokens);
        Self { api: Api::new((held, tokens), clock, Counts::register(metrics)), callers }
    }

    /// Serves until the drain begins, which ends every stream.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn serve(
        self,
        listener: Listener,
        drain: Drain,
    ) -> Result<(), tonic::transport::Error> {
        let Self { api, callers } = self;
        let ends = drain.clone();
        let api = api.until(drain.clone());
        let (noticing, questions) = (api.clone().notice(drain.clone()), api.questions());
        let watching = async {
            match questions {
                Some(questions) => drop(tokio::join!(noticing, questions.run(drain))),
                None => noticing.await,
            }
            // The server alone says when it is over.
            std::future::pending::<()>().await;
        };
        let server = SpiffeWorkloadApiServer::new(api).max_decoding_message_size(MAX_REQUEST);
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(MAX_CALLS_PER_CONNECTION)
            .http2_max_header_list_size(MAX_HEADERS)
            .add_service(server)
            .serve_with_incoming_shutdown(incoming(listener, callers), async move {
                ends.begun().await;
            });
        tokio::select! {
            served = serving => served,
            () = watching => Ok(()),
        }
    }
}

/// Binds the socket and starts serving; nothing where the configuration has no Workload API.
pub(super) async fn start(
    config: Option<&WorkloadApiConfig>,
    held: Option<Holdings>,
    (clock, metrics): (&Clock, &Metrics),
    tasks: &mut Tasks,
) -> Result<Option<Address>, StartError> {
    let (Some(config), Some(held)) = (config, held) else { return Ok(None) };
    let callers = config.callers().map_err(StartError::Callers)?;
    let listener = config.bind().await?;
    let address = listener.address().map_err(StartError::Address)?;
    let api = WorkloadApi::new(held, callers, clock.clone(), metrics);
    tasks.spawn("workload_api", api.serve(listener, tasks.drain()));
    Ok(Some(address))
}
