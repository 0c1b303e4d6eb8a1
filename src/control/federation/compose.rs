//! All of federation in one control plane: bound together, started together.

use std::convert::Infallible;
use std::sync::Arc;

use rustls::server::ResolvesServerCert;
use tokio::sync::watch;

use crate::ca::Trust;
use crate::identity::TrustDomain;
use crate::runtime::{Address, Clock, Drain, Tasks};

use super::config::{FederationConfig, InvalidFederation};
use super::endpoint::{BundleEndpoint, EndpointError};
use super::own::{Own, OwnBundleError};
use super::relations::{FederationHandle, Relations};
use super::shelf::Shelf;
use super::store::StoreError;

/// The bundle endpoint and the relationships, bound and not running yet.
pub struct Federation {
    own: Own,
    endpoint: Option<BundleEndpoint>,
    relations: Relations,
    trust: watch::Receiver<Arc<Trust>>,
    clock: Clock,
}

/// Federation cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] InvalidFederation),
    /// The endpoint cannot be opened.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A foreign bundle that was kept or supplied cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part of the program failed.
    #[error("federation failed; see the log")]
    Panicked,
    /// The own bundle cannot be published.
    #[error(transparent)]
    Own(#[from] OwnBundleError),
}

impl Federation {
    /// Binds the endpoint and reads what was kept on `shelf`. `shown` is the control plane's own SVID; `trust` tells the
    /// keys of this mesh, as they change.
    ///
    /// # Errors
    /// When the configuration, the address or what was kept cannot be used.
    pub(in crate::control) async fn bind(
        config: &FederationConfig,
        shelf: Arc<dyn Shelf>,
        (shown, trust): (Arc<dyn ResolvesServerCert>, watch::Receiver<Arc<Trust>>),
        clock: &Clock,
    ) -> Result<Self, FederationError> {
        let now = trust.borrow().bundles.clone();
        let relationships = config.relationships(now.own().domain())?;
        let opened = {
            let clock = clock.clone();
            move || -> Result<_, FederationError> {
                let own = Own::open(Arc::clone(&shelf), &now, clock.now())?;
                let relations = Relations::open(shelf, relationships, own.follow(), clock)?;
                Ok((own, relations))
            }
        };
        let opened = tokio::task::spawn_blocking(opened).await;
        let (own, relations) = opened.map_err(|_| FederationError::Panicked)??;
        let endpoint = match &config.endpoint {
            None => None,
            Some(config) => Some(BundleEndpoint::bind(config, shown, own.follow(), clock).await?),
        };
        Ok(Self { own, endpoint, relations, trust, clock: clock.clone() })
    }

    /// Where the endpoint listens, if there is one.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        self.endpoint.as_ref().map(BundleEndpoint::address)
    }

    /// A handle on the relationships.
    #[must_use]
    pub fn handle(&self) -> FederationHandle {
        self.relations.handle()
    }

    /// Starts serving and looking as essential tasks of `tasks`.
    pub fn start(self, tasks: &mut Tasks) {
        let Self { own, endpoint, relations, trust, clock } = self;
        if let Some(endpoint) = endpoint {
            tasks.spawn("bundle endpoint", endpoint.serve(tasks.drain()));
        }
        tasks.spawn("federation", relations.run(tasks.drain()));
        tasks.spawn("own bundle", follow(own, trust, clock, tasks.drain()));
    }
}

/// Publishes the keys of this mesh as they change. What cannot be published is said; what was published stays.
async fn follow(
    own: Own,
    mut trust: watch::Receiver<Arc<Trust>>,
    clock: Clock,
    drain: Drain,
) -> Result<(), Infallible> {
    let own = Arc::new(own);
    loop {
        let (now, at) = (Arc::clone(&trust.borrow_and_update()), clock.now());
        let own = Arc::clone(&own);
        let done = tokio::task::spawn_blocking(move || own.publish(&now.bundles, at)).await;
        if let Ok(Err(error)) = done {
            tracing::error!(%error, "others do not learn that the bundle of this mesh changed");
        }
        tokio::select! {
            () = drain.begun() => return Ok(()),
            changed = trust.changed() => if changed.is_err() {
                // Nobody changes them any more.
                drain.begun().await;
                return Ok(());
            },
        }
    }
}

impl FederationHandle {
    /// Puts the relationships of another configuration in the place of those before.
    ///
    /// # Errors
    /// When it is wrong, or something supplied cannot be read; all stays as it was then.
    pub fn reconfigure(
        &self,
        config: &FederationConfig,
        own: &TrustDomain,
    ) -> Result<(), FederationError> {
        Ok(self.update(config.relationships(own)?)?)
    }
}
