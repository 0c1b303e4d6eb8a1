//! `/inject`: a pod that is being made gets its gate.

use serde_json::Value;

use super::notices::Notices;
use super::trust::ConfigMaps;
use crate::kube::inject::{Outcome, ProbeKey, Refused, Settings, Skip, inject};
use crate::kube::{Admission, Namespaces, NotDone, Notice, NoticeWeight, Review, Subject};
use crate::runtime::{random, with_causes};

/// What becomes of each.
pub(super) struct Injecting {
    settings: Settings,
    namespaces: Namespaces,
    notices: Notices,
    config_maps: ConfigMaps,
}

/// What became of one, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Injected,
    Skipped,
    Refused,
    Failed,
}

impl Injecting {
    pub(super) fn new(
        settings: Settings,
        namespaces: Namespaces,
        notices: Notices,
        config_maps: ConfigMaps,
    ) -> Self {
        Self { settings, namespaces, notices, config_maps }
    }

    /// Total: what goes wrong here is a no, in words.
    pub(super) async fn answer(&self, review: &Review) -> (Admission, Fate) {
        let failed = |why: &str| {
            let message = format!(
                "hopgate: {why}; the pod is refused, because it would run without its gate"
            );
            (Admission::Denied { code: 500, message }, Fate::Failed)
        };
        if !review.makes_a_pod() {
            return failed(
                "/inject judges pods that are made, and was asked about something else (see the rules of the webhook's configuration)",
            );
        }
        let Some(namespace) = &review.namespace else {
            return failed("a pod without a namespace");
        };
        let labels = match self.namespaces.labels(namespace).await {
            Ok(labels) => labels,
            Err(error) => {
                let told: &NotDone = &error;
                tracing::error!(error = with_causes(told), namespace, "a pod cannot be judged");
                return failed("the namespace's labels are not known");
            }
        };
        let Some(key) = random().map(ProbeKey::from) else {
            return failed("the system gives no random numbers");
        };
        let known = crate::kube::inject::Namespace { labels };
        match inject(&review.object, &known, &self.settings, &key) {
            Ok(Outcome::Injected { pod, remarks }) => self.injected(namespace, pod, &remarks),
            Ok(Outcome::Skipped(skip)) => self.skipped(review, namespace, &skip),
            Err(refused) => Self::refused(&refused),
        }
    }

    fn injected(&self, namespace: &str, pod: Value, remarks: &[String]) -> (Admission, Fate) {
        self.config_maps.wanted_in(namespace);
        let warnings = remarks.iter().map(|remark| format!("hopgate: {remark}")).collect();
        (Admission::Allowed { changed: Some(pod), warnings }, Fate::Injected)
    }

    fn skipped(&self, review: &Review, namespace: &str, skip: &Skip) -> (Admission, Fate) {
        if !review.dry_run {
            self.tell(&review.object, namespace, skip);
        }
        let warnings = if skip.is_unguarded() {
            vec![format!("hopgate: the pod runs without a gate: {skip}")]
        } else {
            Vec::new()
        };
        (Admission::Allowed { changed: None, warnings }, Fate::Skipped)
    }

    fn refused(refused: &Refused) -> (Admission, Fate) {
        (Admission::Denied { code: 422, message: format!("hopgate: {refused}") }, Fate::Refused)
    }

    /// Where nobody wanted a gate of ours, there is nothing to tell.
    fn tell(&self, pod: &Value, namespace: &str, skip: &Skip) {
        let weight = match skip {
            Skip::NotAsked | Skip::OtherRevision { .. } => return,
            Skip::OptedOut(_) | Skip::AlreadyInjected => NoticeWeight::Normal,
            Skip::HostNetwork | Skip::GateUser { .. } | Skip::Windows | Skip::NoServiceAccount => {
                NoticeWeight::Warning
            }
        };
        let Some(subject) = Subject::of_pod(pod, namespace) else { return };
        let message = format!("{}: {skip}", skip.reason());
        self.notices.tell(Notice { subject, reason: "NotInjected", message, weight });
    }
}
