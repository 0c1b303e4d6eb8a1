//! One stream of the Envoy beside this sidecar.

use std::future::Future;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use http::Extensions;
use tokio::sync::watch;
use tonic::Status;

use super::status::AdsStatus;
use crate::identity::WorkloadIdentity;
use crate::runtime::ReadyFlag;
use crate::sidecar::sds::SdsStatus;
use crate::xds::envoy::LISTENER_TYPE;
use crate::xds::{
    Answered, Catalogue, Door, Heard, Kind, Observer as _, SECRET_TYPE, Session, SharedFeed,
    StreamId, Told,
};

/// Lets in whoever reaches the socket, once there is a whole configuration. Who may reach it, its mode says.
pub(in crate::sidecar) struct EnvoyDoor {
    catalogues: watch::Receiver<Arc<Catalogue>>,
    identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    status: Shared,
    /// Nothing is for one stream alone: there is one Envoy.
    own: watch::Sender<Arc<Catalogue>>,
}

#[derive(Clone)]
struct Shared {
    sds: Arc<SdsStatus>,
    ads: Arc<AdsStatus>,
    ready: Arc<ReadyFlag>,
}

/// One stream.
pub(in crate::sidecar) struct EnvoySession {
    status: Shared,
    own: watch::Receiver<Arc<Catalogue>>,
    stream: StreamId,
    feed: Option<SharedFeed>,
}

impl EnvoyDoor {
    pub(super) fn new(
        catalogues: watch::Receiver<Arc<Catalogue>>,
        identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
        (sds, ads, ready): (Arc<SdsStatus>, Arc<AdsStatus>, ReadyFlag),
    ) -> Self {
        let own = watch::Sender::new(Arc::new(Catalogue::unknown()));
        Self { catalogues, identity, status: Shared { sds, ads, ready: Arc::new(ready) }, own }
    }
}

impl Door for EnvoyDoor {
    const OWN: &'static [Kind] = &[];
    type Session = EnvoySession;

    fn admit(&self, _: &Extensions) -> Result<EnvoySession, Status> {
        if self.catalogues.borrow().tables().is_empty() {
            return Err(Status::unavailable("there is no configuration yet"));
        }
        // An expired certificate must not be given to whoever asks anew.
        if self.identity.borrow().is_none() {
            return Err(Status::unavailable("there is no certificate"));
        }
        let status = self.status.clone();
        let stream = status.sds.opened();
        status.ads.opened();
        Ok(EnvoySession { status, own: self.own.subscribe(), stream, feed: None })
    }
}

impl EnvoySession {
    /// Secrets are watched as those of streams of their own are.
    fn heard_of_secrets(&self, answered: Option<&Answered>) {
        let Shared { sds, ads: _, ready: _ } = &self.status;
        if let Some(feed) = &self.feed {
            let names = feed.lock().names(SECRET_TYPE);
            sds.asked(self.stream, names);
        }
        let Some(Answered { names, refused }) = answered else { return };
        match refused {
            Some(reason) if names.is_empty() => sds.nacked(self.stream, None, reason),
            Some(reason) => {
                for (name, version) in names {
                    let resource = version.as_ref().map(|version| (&**name, &**version));
                    sds.nacked(self.stream, resource, reason);
                }
            }
            None => {
                let there = |(name, version): &Told| {
                    version.as_ref().map(|version| (Arc::clone(name), Arc::clone(version)))
                };
                for (name, version) in names.iter().filter_map(there) {
                    sds.acked(self.stream, &name, &version);
                }
            }
        }
    }
}

impl Session for EnvoySession {
    fn begin(&mut self, node: Option<&Node>, feed: &SharedFeed) -> Result<(), Status> {
        tracing::info!(envoy.version = %version(node), "Envoy asks for its configuration");
        self.feed = Some(feed.clone());
        Ok(())
    }

    fn heard(&mut self, heard: &Heard) {
        let Heard { type_url, answered } = heard;
        if *type_url == SECRET_TYPE {
            self.heard_of_secrets(answered.as_ref());
        }
        let Some(answered) = answered else { return };
        self.status.ads.answered(type_url, answered);
        // By then it has everything else.
        if *type_url == LISTENER_TYPE && answered.refused.is_none() {
            self.status.ready.met();
        }
    }

    fn own(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.own.clone()
    }

    fn over(&mut self) -> impl Future<Output = Status> + Send {
        std::future::pending()
    }
}

impl Drop for EnvoySession {
    fn drop(&mut self) {
        self.status.sds.closed(self.stream);
        self.status.ads.closed();
    }
}

fn version(node: Option<&Node>) -> String {
    use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;
    match node.and_then(|node| node.user_agent_version_type.as_ref()) {
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
            let number = build.version.as_ref();
            number.map_or_else(String::new, |n| {
                format!("{}.{}.{}", n.major_number, n.minor_number, n.patch)
            })
        }
        Some(UserAgentVersionType::UserAgentVersion(text)) => text.clone(),
        None => String::new(),
    }
}
