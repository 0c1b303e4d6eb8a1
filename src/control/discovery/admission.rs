//! Who may hear what is published: workloads of this mesh, by a certificate that is good now.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use envoy_types::pb::envoy::config::core::v3::Node;
use http::Extensions;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use tokio::sync::watch;
use tonic::Status;

use crate::control::replicas::Replicas;
use crate::control::tls::Peer;
use crate::identity::{InvalidLeaf, Leaf, SpiffeId};
use crate::runtime::Clock;
use crate::xds::own::{POLICY_KIND, Running, SERVICE_KIND};
use crate::xds::{Catalogue, Door, Heard, Kind, Session, SharedFeed};

use super::fleet::{Certificate, Fleet, Seat};
use super::published::Published;

/// Why a caller hears nothing, or hears no more.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotAdmitted {
    /// It showed no certificate.
    #[error("a client certificate is needed")]
    NoCertificate,
    /// The certificate does not chain to a root that is published now, or is not valid now.
    #[error("client certificate not trusted")]
    Untrusted(#[source] rustls::Error),
    /// The roots make no verifier.
    #[error("client certificates cannot be verified now")]
    Verifier,
    /// The certificate is no workload's leaf.
    #[error("client certificate is no workload's")]
    Leaf(#[source] InvalidLeaf),
    /// The certificate is of another trust domain, or names no service account.
    #[error("client certificate names no workload of this trust domain")]
    Foreign(SpiffeId),
    /// The certificate came to its end.
    #[error("client certificate expired")]
    Expired,
    /// This replica does not know what the others agreed on.
    #[error("this replica of the control plane is out of touch")]
    OutOfTouch,
    /// The workload, or this certificate of it, is revoked.
    #[error("client certificate revoked")]
    Revoked,
    /// One certificate has more streams than a sidecar opens.
    #[error("too many streams with one certificate")]
    TooMany,
}

impl NotAdmitted {
    fn status(&self) -> Status {
        let words = self.to_string();
        match self {
            Self::NoCertificate | Self::Untrusted(_) | Self::Expired => {
                Status::unauthenticated(words)
            }
            Self::Verifier | Self::OutOfTouch => Status::unavailable(words),
            Self::Leaf(_) | Self::Foreign(_) | Self::Revoked => Status::permission_denied(words),
            Self::TooMany => Status::resource_exhausted(words),
        }
    }
}

/// Judges callers by what is published now.
pub(crate) struct Admission {
    published: watch::Receiver<Arc<Published>>,
    fleet: Fleet,
    replicas: Replicas,
    clock: Clock,
}

impl Admission {
    pub(super) fn new(
        published: watch::Receiver<Arc<Published>>,
        (fleet, replicas): (Fleet, Replicas),
        clock: Clock,
    ) -> Self {
        Self { published, fleet, replicas, clock }
    }

    fn judge(&self, connection: &Extensions) -> Result<Seat, NotAdmitted> {
        if !self.replicas.is_in_touch() {
            return Err(NotAdmitted::OutOfTouch);
        }
        let now = self.clock.now();
        let peer = connection.get::<Peer>();
        let chain = peer.and_then(|peer| peer.certificates.clone());
        let chain = chain.ok_or(NotAdmitted::NoCertificate)?;
        let published = Arc::clone(&self.published.borrow());
        let certificate = verify(&chain, &published, now)?;
        still_good(&certificate, &published, now)?;
        self.fleet.seat(certificate)
    }
}

/// The handshake verified the chain already; it is verified again, because a connection can be older than the end of
/// its certificate, and than the roots that are trusted now.
fn verify(
    chain: &[CertificateDer<'static>],
    published: &Published,
    now: SystemTime,
) -> Result<Certificate, NotAdmitted> {
    let (first, intermediates) = chain.split_first().ok_or(NotAdmitted::NoCertificate)?;
    let own = published.bundles.own();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(own.to_root_store(), provider)
        .build()
        .map_err(|_| NotAdmitted::Verifier)?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    verifier
        .verify_client_cert(first, intermediates, UnixTime::since_unix_epoch(since))
        .map_err(NotAdmitted::Untrusted)?;
    let leaf = Leaf::parse(first).map_err(NotAdmitted::Leaf)?;
    if !leaf.id().is_member_of(own.domain()) || leaf.id().service_account().is_none() {
        return Err(NotAdmitted::Foreign(leaf.id().clone()));
    }
    Ok(Certificate::of(&leaf))
}

/// Says whether a certificate that was verified before is still good.
pub(super) fn still_good(
    certificate: &Certificate,
    published: &Published,
    now: SystemTime,
) -> Result<(), NotAdmitted> {
    if now > certificate.not_after {
        return Err(NotAdmitted::Expired);
    }
    match published.revocation(&certificate.id, &certificate.serial, now) {
        Some(_) => Err(NotAdmitted::Revoked),
        None => Ok(()),
    }
}

impl Door for Admission {
    const OWN: &'static [Kind] = &[SERVICE_KIND, POLICY_KIND];

    type Session = Seat;

    fn admit(&self, connection: &Extensions) -> Result<Seat, Status> {
        self.judge(connection).map_err(|refused| {
            self.fleet.turn_away();
            tracing::warn!(reason = ?refused, "a caller may not hear what is published");
            refused.status()
        })
    }
}

impl Session for Seat {
    fn begin(&mut self, node: Option<&Node>, feed: &SharedFeed) -> Result<(), Status> {
        self.take(Running::of(node), feed.clone());
        Ok(())
    }

    fn own(&self) -> watch::Receiver<Arc<Catalogue>> {
        Self::own(self)
    }

    fn heard(&mut self, heard: &Heard) {
        if heard.answered.is_some() {
            self.moved();
        }
    }

    async fn over(&mut self) -> Status {
        self.ended().await.status()
    }
}
