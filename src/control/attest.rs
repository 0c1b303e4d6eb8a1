//! What proves a workload, put together from the configuration: the attestor, and what must be learned before it judges.

use std::sync::Arc;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::ca::{
    AccountName, Attestor, Authority, BoundTo, DnsNames, PodNow, ServiceAccountRefused, TokenFacts,
    TokenStore, X509Proof,
};
use crate::kube::{
    Account, Answer, BoundPod, Cluster, Limits, LivePod, ReviewError, Reviewed, TokenReviewer,
};
use crate::runtime::{Clock, Questions};

use super::{Config, ControlError};

/// By what workloads prove themselves, beside join tokens and their own certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Attest {
    /// Kubernetes service-account tokens. Absent: none is taken.
    #[serde(default)]
    pub kubernetes: Option<KubernetesAttest>,
    /// Client certificates of foreign authorities.
    #[serde(default)]
    pub x509: Vec<X509Proof>,
}

/// Which service-account tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KubernetesAttest {
    /// For whom the token must be made (`serviceAccountToken.audience` of a projected volume). Not the API server's own
    /// audience: such a token can do more than prove who its pod is.
    pub audience: String,
}

/// The cluster, where the configuration needs one.
pub(super) async fn cluster(
    config: &Config,
    clock: &Clock,
) -> Result<Option<Cluster>, ControlError> {
    if config.attest.kubernetes.is_none() && config.resources.is_none() {
        return Ok(None);
    }
    Ok(Some(Cluster::connect(&config.kubernetes, clock).await?))
}

/// The attestor that the configuration describes.
pub(super) fn attestor(
    config: &Config,
    authority: &Authority,
    tokens: Arc<TokenStore>,
) -> Result<Attestor, ControlError> {
    let foreign = X509Proof::open(&config.attest.x509, &authority.bundle())?;
    let names = DnsNames::new(&config.dns_names, &config.trust_domain)?;
    let attestor = Attestor::new(authority, tokens)?.with_foreign(foreign).with_dns_names(names);
    Ok(match &config.attest.kubernetes {
        None => attestor,
        Some(KubernetesAttest { audience }) => attestor.with_service_accounts(audience),
    })
}

/// Learns what the attestor judges and cannot know by itself.
pub(super) struct Learner(Option<TokenReviewer>);

/// Why a service-account token cannot be judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotLearned {
    /// None is taken.
    #[error(transparent)]
    Refused(#[from] ServiceAccountRefused),
    /// The API server says nothing.
    #[error("service-account token cannot be reviewed")]
    Review(#[from] ReviewError),
}

impl Learner {
    /// Asks `cluster`, which is there when the configuration needs one.
    pub(super) fn new(config: &Config, cluster: Option<&Cluster>, clock: &Clock) -> Self {
        let audience = config.attest.kubernetes.as_ref().map(|kubernetes| &kubernetes.audience);
        let asked = cluster.cloned().zip(audience);
        Self(asked.map(|(cluster, audience)| {
            TokenReviewer::new(cluster, audience, Limits::default(), clock.clone())
        }))
    }

    /// The task that carries questions to their end.
    pub(super) fn questions(&self) -> Option<Questions<Answer>> {
        self.0.as_ref().and_then(TokenReviewer::questions)
    }

    /// Whoever asks the API server. `None`: nobody does.
    pub(super) fn reviewer(&self) -> Option<&TokenReviewer> {
        self.0.as_ref()
    }

    pub(super) async fn learn(&self, token: Zeroizing<String>) -> Result<TokenFacts, NotLearned> {
        let reviewer = self.0.as_ref().ok_or(ServiceAccountRefused::NotTaken)?;
        let reviewed = reviewer.review(token).await?;
        if let Some(error) = &reviewed.error {
            tracing::info!(error, "the API server refuses a service-account token");
        }
        Ok(facts(&reviewed))
    }
}

/// Field by field, so that nothing new is overlooked.
fn facts(reviewed: &Reviewed) -> TokenFacts {
    let Reviewed { authenticated, audiences, account, bound, pod, error: _ } = reviewed;
    TokenFacts {
        authenticated: *authenticated,
        audiences: audiences.clone(),
        account: account.as_ref().map(|Account { namespace, name }| AccountName {
            namespace: namespace.clone(),
            name: name.clone(),
        }),
        bound: bound
            .as_ref()
            .map(|BoundPod { name, uid }| BoundTo { pod: name.clone(), uid: uid.clone() }),
        pod: pod.as_ref().map(|LivePod { uid, service_account, ending }| PodNow {
            uid: uid.clone(),
            service_account: service_account.clone(),
            ending: *ending,
        }),
    }
}
