//! What runs once a control plane is bound.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tonic::transport::Server;
use tonic::transport::server::Router;

use crate::runtime::{Clock, Listener, ReadyFlag, Tasks, with_causes};
use crate::telemetry::Metrics;

use super::discovery::{self, Discovery};
use super::issuer::{Issuer, LastRefusal};
use super::limits::Limits;
use super::resources::{Admission, Controller};
use super::rotation::Rotation;
use super::signing::Signing;
use super::webhooks::{Judge, Webhooks};
use super::{Control, ControlError, federation, operator, tls, upkeep};

/// The longest that a request takes once its turn has come, and before it waits for one.
const SERVICE: Duration = Duration::from_secs(10);

impl Control {
    /// Starts serving as essential tasks of `tasks`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn start(self, tasks: &mut Tasks) -> Result<(), ControlError> {
        let Self { authority, tokens, revocations, replicas, publisher, clock, .. } = self;
        let foreign = self.federation.handle().foreign();
        let told = federation::tell_all(publisher.clone(), foreign, tasks.drain());
        tasks.spawn("foreign bundles", told);
        self.federation.start(tasks);
        let verifier = self.attestor.client_verifier();
        let acceptor = tls::acceptor(Arc::clone(&self.own), verifier, &clock)?;
        if let Some(questions) = self.learner.questions() {
            tasks.spawn("token reviews", questions.run(tasks.drain()));
        }
        let signing = Signing::new(
            (Arc::clone(&authority), self.attestor, Arc::clone(&tokens)),
            (self.learner, self.limits, replicas.clone()),
            (self.lifetimes.0, clock.clone()),
            &self.metrics,
        );
        let minting = signing.minting(self.lifetimes.1, self.limits.per_workload, &self.metrics);
        let published = publisher.subscribe();
        let fleet = (self.fleet.clone(), replicas.clone());
        let discovery = Discovery::new(published.clone(), fleet, &clock, tasks.drain());
        let router = server(&self.limits)
            .add_service(signing.into_service())
            .add_service(minting.into_service())
            .add_service(discovery.service);
        serve(router, (self.listener, acceptor), self.serving, tasks);
        let follow = discovery::follow(self.trust, publisher.clone(), tasks.drain());
        tasks.spawn("trust", follow);
        let follow = operator::publish(revocations.follow(), publisher.clone(), tasks.drain());
        tasks.spawn("revoked", follow);
        tasks.spawn("discovery", discovery.task.run(publisher));
        let refusal = LastRefusal::default();
        let rotation = Rotation::new(
            (Arc::clone(&authority), refusal.clone(), replicas.clone()),
            (self.fleet, self.pods, self.readers),
            published,
            clock.clone(),
        );
        if let Some(requests) = self.requests {
            let last = (refusal, replicas.clone());
            let issuer = Issuer::new(Arc::clone(&authority), requests, last, clock.clone());
            tasks.spawn("issuer", issuer.run(tasks.drain()));
        }
        rotation.count_in(&self.metrics);
        tasks.spawn("rotation", rotation.clone().run(tasks.drain()));
        tasks.spawn("pods of absent sidecars", rotation.clone().ask_about_pods(tasks.drain()));
        let cluster = (self.resources, self.webhooks);
        follow_cluster(cluster, replicas.leading(), (&self.metrics, &clock), tasks)?;
        let desk = operator::Desk {
            store: Arc::clone(&revocations),
            domain: authority.domain().clone(),
            clock: clock.clone(),
        };
        let routes = operator::revocations(desk).merge(operator::authority(rotation));
        tasks.spawn("operator", operator::serve(self.operator, routes, tasks.drain()));
        let times = (clock.clone(), replicas.clone());
        tasks.spawn("revocations", operator::sweep(revocations, times, tasks.drain()));
        let kept = (authority, self.own, tokens);
        tasks.spawn("authority upkeep", upkeep::run(kept, replicas, clock, tasks.drain()));
        if let Some(companions) = self.companions {
            companions.start(tasks);
        }
        Ok(())
    }
}

fn server(limits: &Limits) -> Server {
    Server::builder()
        .timeout(limits.patience + SERVICE)
        .max_concurrent_streams(16)
        .http2_max_header_list_size(16 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .max_connection_age(Duration::from_secs(300))
}

fn serve(
    router: Router,
    (listener, acceptor): (Listener, TlsAcceptor),
    serving: ReadyFlag,
    tasks: &mut Tasks,
) {
    let (incoming, drain) = (tls::incoming(listener, acceptor), tasks.drain());
    serving.met();
    tasks.spawn("signing", async move {
        let begun = drain.clone();
        router
            .serve_with_incoming_shutdown(incoming, async move {
                begun.begun().await;
                serving.unmet("draining");
            })
            .await
    });
}

/// What there is of a cluster: its resources, and what its API server asks about them and about pods.
fn follow_cluster(
    (resources, webhooks): (Option<Controller>, Option<Webhooks>),
    leader: watch::Receiver<bool>,
    (metrics, clock): (&Metrics, &Clock),
    tasks: &mut Tasks,
) -> Result<(), ControlError> {
    let judge = resources.as_ref().map(|resources| judge(resources.admission()));
    if let Some(resources) = resources {
        resources.start(clock, leader, tasks);
    }
    match webhooks {
        Some(webhooks) => webhooks.start(judge, (metrics, clock), tasks),
        None => Ok(()),
    }
}

/// Judges resources for the API server.
fn judge(admission: Admission) -> Judge {
    Arc::new(move |review| admission.answer(review).map_err(|error| with_causes(&error)))
}
