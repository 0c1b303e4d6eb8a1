//! What becomes of an answer: tried, taken, said.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use tokio::time::Instant;

use crate::certs::Reissue;
use crate::runtime::with_causes;
use crate::sidecar::envoys::EnvoyWord;
use crate::xds::own::{
    POLICY_RESOURCE_TYPE, REISSUE_ORDER_TYPE, REVOKED_WORKLOAD_TYPE, ReissueOrder, SERVICE_TYPE,
    TRUST_BUNDLE_TYPE,
};
use crate::xds::{Follower, NewContent, Update};

use super::ledger::Fate;
use super::link::{Link, LinkError};
use super::task::Task;

pub(super) fn reissue(order: &ReissueOrder) -> Reissue {
    let ReissueOrder { issued_before, within } = *order;
    Reissue { issued_before, within }
}

impl Task {
    /// Takes one answer.
    pub(super) async fn hear(
        &mut self,
        link: &Link,
        answer: DeltaDiscoveryResponse,
    ) -> Result<(), LinkError> {
        let update =
            self.follower.read(answer).map_err(|error| LinkError::Protocol(error.to_string()))?;
        let received = u64::try_from(update.resources.len()).unwrap_or(u64::MAX);
        self.status.update(|heard| heard.received = heard.received.saturating_add(received));
        match update.type_url {
            // An empty answer says that there is nothing new: it must not wait for an Envoy.
            TRUST_BUNDLE_TYPE if !(update.resources.is_empty() && update.removed.is_empty()) => {
                match self.ledger.push(update) {
                    Ok(()) => Ok(()),
                    Err(refused) => {
                        let (update, words) = *refused;
                        self.refuse(link, &update, &words).await
                    }
                }
            }
            REVOKED_WORKLOAD_TYPE => self.hear_revoked(link, update).await,
            REISSUE_ORDER_TYPE => self.hear_order(link, update).await,
            POLICY_RESOURCE_TYPE => self.hear_policies(link, update).await,
            SERVICE_TYPE => self.hear_services(link, update).await,
            _ => self.accept(link, update).await,
        }
    }

    /// Accepts revocations that are in force. Goes on with the bundles: tries what waits, and settles what was tried.
    pub(super) async fn advance(&mut self, link: &Link) -> Result<(), LinkError> {
        let in_force = |(number, _): &(u64, Update)| self.speaker.is_in_force(*number);
        let ready = self.waiting.iter().take_while(|one| in_force(one)).count();
        let ready: Vec<_> = self.waiting.drain(..ready).collect();
        for (_, update) in ready {
            self.accept(link, update).await?;
        }
        loop {
            if self.ledger.is_due() {
                let bundles = self.ledger.attempt(&self.own_roots());
                self.attempt = Some(Instant::now());
                if let Err(refused) = self.renewal.trust(bundles).await {
                    self.refuse_tried(link, &refused.to_string()).await?;
                    continue;
                }
            }
            let Some(since) = self.attempt else { break };
            match self.envoys_say(since) {
                EnvoyWord::Has => {
                    self.attempt = None;
                    for update in self.ledger.accept() {
                        self.keep(&update);
                        self.save();
                        self.accept(link, update).await?;
                    }
                }
                EnvoyWord::Refused(words) => {
                    self.refuse_tried(link, &format!("Envoy refuses: {words}")).await?;
                }
                EnvoyWord::Waits | EnvoyWord::NobodyAsks => break,
            }
        }
        let waits = self.attempt.is_some();
        self.status.update(|heard| heard.waits_for_envoy = waits);
        Ok(())
    }

    /// The roots of the own domain while none were told: those in `caFile`.
    fn own_roots(&self) -> crate::identity::TrustBundle {
        self.trusted.borrow().roots.clone()
    }

    /// What the Envoys say of what is tried; that nobody asks, only until the grace is over.
    fn envoys_say(&self, since: Instant) -> EnvoyWord {
        let trusted = Arc::clone(&self.trusted.borrow());
        let identity = self.identity.borrow().clone();
        if identity.is_none_or(|identity| identity.bundles != trusted.bundles) {
            // The certificate is served anew under these bundles first.
            return EnvoyWord::Waits;
        }
        let Some((sds, grace)) = &self.envoys else { return EnvoyWord::Has };
        let Some(offered) = sds.offered().filter(|offered| offered.bundles == trusted.bundles)
        else {
            return EnvoyWord::Waits;
        };
        match sds.envoys().word(&offered.versions) {
            EnvoyWord::NobodyAsks if since.elapsed() >= *grace => EnvoyWord::Has,
            word => word,
        }
    }

    /// Goes back to what was good, and tells of what was tried.
    async fn refuse_tried(&mut self, link: &Link, words: &str) -> Result<(), LinkError> {
        self.attempt = None;
        let fate = self.ledger.refuse();
        let good = self.ledger.good(&self.own_roots());
        if let Err(error) = self.renewal.trust(good).await {
            tracing::error!(%error, "cannot go back to the bundles before; the new ones stay in force");
        }
        match fate {
            Fate::Refused(update) => self.refuse(link, &update, words).await,
            Fate::OneByOne | Fate::Nothing => Ok(()),
        }
    }

    /// Says what was told, and accepts it once it is in force.
    async fn hear_revoked(&mut self, link: &Link, update: Update) -> Result<(), LinkError> {
        let refused = match self.told.take(&update) {
            Ok(refused) => refused,
            Err(too_many) => return self.refuse(link, &update, &too_many.to_string()).await,
        };
        let number = self.speaker.say(self.told.knowledge());
        self.unsaved = true;
        let Some(words) = refused else {
            self.keep(&update);
            self.waiting.push_back((number, update));
            return Ok(());
        };
        let readable = |resource: &&NewContent| self.told.holds(&resource.name);
        let resources = update.resources.iter().filter(readable).cloned().collect();
        let revision = update.revision.clone();
        self.keep(&Update { resources, removed: Vec::new(), revision, ..update.clone() });
        self.refuse(link, &update, &words).await
    }

    async fn hear_order(&mut self, link: &Link, update: Update) -> Result<(), LinkError> {
        let order = match update.resources.last() {
            Some(resource) => match ReissueOrder::decode(&resource.name, &resource.content) {
                Ok(order) => Some(Some(order)),
                Err(error) => return self.refuse(link, &update, &with_causes(&error)).await,
            },
            None if update.removed.is_empty() => None,
            None => Some(None),
        };
        if let Some(order) = order {
            self.renewal.reissue(order.as_ref().map(reissue));
            self.keep(&update);
            self.save();
        }
        self.accept(link, update).await
    }

    fn keep(&mut self, update: &Update) {
        let kept = self.kept.resources.entry(update.type_url.to_owned()).or_default();
        for resource in &update.resources {
            kept.insert(resource.name.clone(), resource.content.clone());
        }
        for name in &update.removed {
            kept.remove(name);
        }
        let held = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        self.kept.bootstrap.clone_from(&self.trusted.borrow().bootstrap);
        self.status.update(|heard| {
            heard.resources.insert(update.type_url, held);
        });
    }

    pub(super) async fn accept(&mut self, link: &Link, update: Update) -> Result<(), LinkError> {
        let said = self.follower.accept(&update);
        self.status.update(|heard| {
            heard.accepted = heard.accepted.saturating_add(1);
            let same = |refusal: &String| refusal.starts_with(update.type_url);
            if heard.last_refusal.as_ref().is_some_and(same) {
                heard.last_refusal = None;
            }
        });
        for resource in &update.resources {
            tracing::info!(resource.name, resource.version, "took what the control plane told");
        }
        Ok(link.subscription.say(said).await?)
    }

    pub(super) async fn refuse(
        &mut self,
        link: &Link,
        update: &Update,
        words: &str,
    ) -> Result<(), LinkError> {
        let names: Vec<&str> = update.resources.iter().map(|r| r.name.as_str()).collect();
        tracing::error!(
            type_url = update.type_url,
            resources = ?names,
            reason = words,
            "refused what the control plane told; what was before stays"
        );
        self.status.update(|heard| {
            heard.refused = heard.refused.saturating_add(1);
            heard.last_refusal = Some(format!("{}: {words}", update.type_url));
        });
        Ok(link.subscription.say(Follower::refuse(update, words)).await?)
    }
}
