//! The admission webhooks: pods get their gates as they are made, and resources are judged before they are stored.
//!
//! The server shows a certificate of the mesh's own authority, and this process writes that authority's roots into the
//! configurations of the webhooks, now and whenever they change. Nothing has to be made before the first start, and
//! nothing runs out.
//!
//! A fault of ours refuses: a pod that cannot be judged does not run unguarded.

mod config;
mod injection;
mod notices;
mod server;
mod trust;

use std::sync::Arc;

use serde_json::Value;

pub use config::{InvalidWebhooks, WebhookNames, WebhooksConfig};

use super::ControlError;
use super::own::{self, OwnCertificate};
use crate::ca::{Authority, Lifetime};
use crate::identity::TrustBundle;
use crate::kube::inject::Settings;
use crate::kube::{Cluster, Namespaces, WebhookConfigurations};
use crate::runtime::{Address, Clock, Listener, Tasks};
use crate::telemetry::Metrics;
use injection::Injecting;
use notices::Notices;
use server::{Counts, Routes};
use trust::{ConfigMaps, Trusted};

/// Judges a review and answers it, both as JSON; in the error, why it is no review.
pub type Judge = Arc<dyn Fn(&[u8]) -> Result<Value, String> + Send + Sync>;

/// The webhooks, bound and ready to run.
pub(super) struct Webhooks {
    listener: Listener,
    address: Address,
    own: Arc<OwnCertificate>,
    /// The roots of the authority from when it issued that.
    issued_by: TrustBundle,
    authority: Arc<Authority>,
    cluster: Cluster,
    config: WebhooksConfig,
    injection: Option<Settings>,
}

impl Webhooks {
    /// Binds the address, and has the authority issue the server's certificate.
    pub(super) async fn bind(
        (config, injection): (&WebhooksConfig, Option<Settings>),
        (authority, lifetime): (&Arc<Authority>, Lifetime),
        cluster: Cluster,
        clock: &Clock,
    ) -> Result<Self, ControlError> {
        let names = (config.server_names.as_slice(), lifetime);
        let own = own::certificate(authority, names, clock.now()).await?;
        let issued_by = authority.bundle();
        let listener = config.listen.bind().await?;
        let address = listener.address().map_err(ControlError::Address)?;
        let (authority, config) = (Arc::clone(authority), config.clone());
        Ok(Self { listener, address, own, issued_by, authority, cluster, config, injection })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Serves. `judge` answers `/validate`; without it there is no such page.
    pub(super) fn start(
        self,
        judge: Option<Judge>,
        (metrics, clock): (&Metrics, &Clock),
        tasks: &mut Tasks,
    ) -> Result<(), ControlError> {
        let Self { listener, address: _, own, issued_by, authority, cluster, config, injection } =
            self;
        let namespaces = Namespaces::new(cluster.clone());
        let injecting = injection.map(|settings| {
            let (notices, telling) = Notices::new(namespaces.clone(), clock.clone());
            tasks.spawn("notices", telling.run(tasks.drain()));
            let (config_maps, keeping) = ConfigMaps::new(
                namespaces.clone(),
                settings.injection.trust_config_map.clone(),
                Arc::clone(&authority),
            );
            tasks.spawn("roots of namespaces", keeping.run(tasks.drain()));
            Injecting::new(settings, namespaces, notices, config_maps)
        });
        let acceptor = server::acceptor(Arc::clone(&own), clock)?;
        let routes = Routes::new(injecting, judge, Counts::register(metrics));
        tasks.spawn("webhooks", server::serve((listener, acceptor), routes, tasks.drain()));
        let WebhookNames { mutating, validating } = config.configurations;
        let configurations = WebhookConfigurations::new(cluster, mutating, validating);
        let trusted = Trusted::new(configurations, (authority, own), clock.clone());
        tasks.spawn("trust in webhooks", trusted.run(issued_by, tasks.drain()));
        Ok(())
    }
}
