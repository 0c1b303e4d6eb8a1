//! One stream to the control plane, over mTLS with the sidecar's own certificate.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tonic::Code;

use crate::certs::{ConnectError, ControlServer};
use crate::identity::{TrustBundle, WorkloadIdentity};
use crate::runtime::Clock;
use crate::xds::Subscription;
use crate::xds::own::Running;

use super::backoff::Failure;

/// From the first packet to an open stream.
const ATTEMPT: Duration = Duration::from_secs(10);

/// An open stream, and the certificate that it was opened with.
pub(super) struct Link {
    pub(super) subscription: Subscription,
    pub(super) serial: String,
}

/// Why there is no stream, or no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No answer in time.
    #[error("no answer from the control plane within {ATTEMPT:?}")]
    TimedOut,
    /// The control plane ended the stream, or it broke.
    #[error("the stream ended ({code:?}): {message}")]
    Ended { code: Code, message: String },
    /// The control plane closed the stream without a word.
    #[error("the control plane closed the stream")]
    Closed,
    /// It broke the protocol.
    #[error("the control plane broke the protocol: {0}")]
    Protocol(String),
    /// The server is somebody else's, who speaks the signing contract only.
    #[error("the server is no control plane of hopgate: it tells nothing")]
    Stranger,
    /// The roots in `caFile` changed: the server must be verified anew.
    #[error("the roots in caFile changed")]
    Bootstrap,
}

impl From<tonic::Status> for LinkError {
    fn from(status: tonic::Status) -> Self {
        Self::Ended { code: status.code(), message: status.message().to_owned() }
    }
}

impl LinkError {
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Stranger | Self::Ended { code: Code::Unimplemented, .. } => Failure::NotOffered,
            Self::Connect(_)
            | Self::TimedOut
            | Self::Ended { .. }
            | Self::Closed
            | Self::Protocol(_)
            | Self::Bootstrap => Failure::Broken,
        }
    }
}

/// What the sidecar says of itself on a stream that it opens with `identity`.
pub(super) fn node(identity: &WorkloadIdentity, pod_uid: &str) -> Node {
    let leaf = identity.svid.leaf();
    let running = Running {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        serial: leaf.serial().to_owned(),
        authority_key_id: leaf.authority_key_id().unwrap_or_default().to_owned(),
        pod_uid: pod_uid.to_owned(),
    };
    running.node(leaf.id().as_str())
}

/// Opens a stream.
pub(super) async fn open(
    server: ControlServer,
    identity: Arc<WorkloadIdentity>,
    roots: TrustBundle,
    (first, clock): (Vec<DeltaDiscoveryRequest>, Clock),
) -> Result<Link, LinkError> {
    let attempt = async {
        let connected = server.connect_to(Some(&identity), &roots, &clock).await?;
        // istiod would answer, and never with what is asked for.
        if !connected.is_hopgate() {
            return Err(LinkError::Stranger);
        }
        Ok(Subscription::open(connected.channel, first).await?)
    };
    let opened = tokio::time::timeout(ATTEMPT, attempt).await;
    let subscription = opened.map_err(|_| LinkError::TimedOut)?.map_err(|e: LinkError| e)?;
    Ok(Link { subscription, serial: identity.svid.leaf().serial().to_owned() })
}
