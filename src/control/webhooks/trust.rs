//! Who trusts this mesh's authority: the API server, as that of the webhooks, and pods, by a ConfigMap in their namespace.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::ControlError;
use super::super::own::OwnCertificate;
use crate::ca::Authority;
use crate::identity::TrustBundle;
use crate::kube::{Namespaces, NotDone, WebhookConfigurations};
use crate::runtime::{Clock, Drain, with_causes};

/// How often it is looked whether somebody wrote something else, a new installation for example.
const LOOK: Duration = Duration::from_secs(5);
/// The ConfigMaps of all namespaces are more to look at.
const LOOK_EVERYWHERE: Duration = Duration::from_secs(60);
/// An API server uses a configuration a moment after it took it.
const SETTLE: Duration = Duration::from_secs(3);
const WAITING: usize = 256;
const ROOTS: &str = "roots.pem";

/// Keeps `caBundle` as it must be, and replaces the server's certificate: the API server trusts the certificate that is
/// shown at any moment, the one before it, and the one that comes next.
pub(super) struct Trusted {
    configurations: WebhookConfigurations,
    authority: Arc<Authority>,
    own: Arc<OwnCertificate>,
    clock: Clock,
}

impl Trusted {
    pub(super) fn new(
        configurations: WebhookConfigurations,
        (authority, own): (Arc<Authority>, Arc<OwnCertificate>),
        clock: Clock,
    ) -> Self {
        Self { configurations, authority, own, clock }
    }

    /// `shown` are the roots of the authority from when it issued the certificate that is shown.
    pub(super) async fn run(
        self,
        mut shown: TrustBundle,
        drain: Drain,
    ) -> Result<(), ControlError> {
        let mut trust = self.authority.trust();
        loop {
            let roots = self.authority.bundle().and(&shown);
            let trusted = match self.configurations.trust(&roots.to_pem()).await {
                Ok(false) => true,
                Ok(true) => {
                    tracing::info!("wrote the authority of the webhooks into their configurations");
                    tokio::select! {
                        () = drain.begun() => return Ok(()),
                        () = tokio::time::sleep(SETTLE) => {}
                    }
                    true
                }
                Err(error) => {
                    tracing::warn!(
                        error = with_causes(&error),
                        "the API server cannot be told the authority of the webhooks"
                    );
                    false
                }
            };
            // A root that came meanwhile is written first: the next certificate may come from it.
            if trusted && roots.holds_all(&self.authority.bundle()) && self.renewed().await? {
                shown = self.authority.bundle();
            }
            tokio::select! {
                () = drain.begun() => return Ok(()),
                // It ends with the process.
                Ok(()) = trust.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// The vault may be written for it, which blocks.
    async fn renewed(&self) -> Result<bool, ControlError> {
        let (own, now) = (Arc::clone(&self.own), self.clock.now());
        let renewed = tokio::task::spawn_blocking(move || own.renew_if_due(now)).await;
        renewed.map_err(|_| ControlError::Panicked("the upkeep of the webhooks' certificate"))
    }
}

/// Takes the namespaces in which pods need the roots. Cloning shares it.
#[derive(Clone)]
pub(super) struct ConfigMaps(mpsc::Sender<String>);

/// Keeps the roots there.
pub(super) struct Keeping {
    queue: mpsc::Receiver<String>,
    namespaces: Namespaces,
    name: String,
    authority: Arc<Authority>,
    /// What each namespace is known to have.
    kept: BTreeMap<String, String>,
}

impl ConfigMaps {
    pub(super) fn new(
        namespaces: Namespaces,
        name: String,
        authority: Arc<Authority>,
    ) -> (Self, Keeping) {
        let (sender, queue) = mpsc::channel(WAITING);
        (Self(sender), Keeping { queue, namespaces, name, authority, kept: BTreeMap::new() })
    }

    /// A pod of this namespace waits for the roots until they are there.
    pub(super) fn wanted_in(&self, namespace: &str) {
        if self.0.try_send(namespace.to_owned()).is_err() {
            tracing::warn!(namespace, "too many namespaces wait for the roots of the mesh");
        }
    }
}

impl Keeping {
    pub(super) async fn run(mut self, drain: Drain) -> Result<(), Infallible> {
        let mut trust = self.authority.trust();
        let mut look = tokio::time::interval(LOOK_EVERYWHERE);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                () = drain.begun() => return Ok(()),
                // Both end with the process.
                Some(namespace) = self.queue.recv() => self.keep(&namespace).await,
                Ok(()) = trust.changed() => self.look_everywhere().await,
                _ = look.tick() => self.look_everywhere().await,
            };
            if let Err(error) = done {
                tracing::warn!(
                    error = with_causes(&error),
                    "the roots of the mesh are not kept everywhere"
                );
            }
        }
    }

    async fn keep(&mut self, namespace: &str) -> Result<(), NotDone> {
        let roots = self.authority.bundle().to_pem();
        if self.kept.get(namespace) == Some(&roots) {
            return Ok(());
        }
        let values = BTreeMap::from([(ROOTS.to_owned(), roots.clone())]);
        self.namespaces.keep((namespace, &self.name), &values).await?;
        self.kept.insert(namespace.to_owned(), roots);
        Ok(())
    }

    /// Also what somebody changed or removed is put right, once it is asked for again or looked at.
    async fn look_everywhere(&mut self) -> Result<(), NotDone> {
        let roots = self.authority.bundle().to_pem();
        let values = BTreeMap::from([(ROOTS.to_owned(), roots)]);
        self.kept.clear();
        for namespace in self.namespaces.kept_otherwise(&self.name, &values).await? {
            self.keep(&namespace).await?;
        }
        Ok(())
    }
}
