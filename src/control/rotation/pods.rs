//! What became of the pods of sidecars that went away, as the API server says when it is asked.
//!
//! That a pod is over is certain and stays so: no UID comes twice. Whatever else is the case, and whatever is not answered,
//! leaves its sidecar waited for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ca::rotation::PodState;
use crate::kube::{self, ObjectError, PodId, PodLife};
use crate::runtime::{Drain, with_causes};

/// How often it is looked whether there is something to ask.
const TICK: Duration = Duration::from_secs(1);
/// How long what was answered of a pod that is there is good for.
const AGAIN: Duration = Duration::from_secs(5);
/// So many are asked about per tick, those first that were never asked about, or longest ago.
const AT_ONCE: usize = 64;

/// The pods that matter, and what is known of them.
pub(super) struct Pods {
    /// Who is asked; `None` where there is nobody, and so no pod is known either.
    server: Option<kube::Pods>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By UID, as are the answers.
    asked: BTreeMap<String, PodId>,
    answers: BTreeMap<String, Answer>,
}

struct Answer {
    state: PodState,
    at: Instant,
}

impl Pods {
    pub(super) fn new(server: Option<kube::Pods>) -> Self {
        Self { server, known: Mutex::default() }
    }

    /// From now on these are asked about, and no others.
    pub(super) fn ask_about(&self, pods: impl Iterator<Item = PodId>) {
        self.lock().ask_about(pods);
    }

    /// What is known of this one.
    pub(super) fn state(&self, pod: Option<&PodId>) -> PodState {
        pod.map_or(PodState::NotKnown, |pod| self.lock().state(pod))
    }

    /// Asks until the drain begins, and wakes whoever waits when a pod turns out to be over.
    pub(super) async fn run(&self, drain: Drain, wake: &Notify) -> Result<(), Infallible> {
        let Some(server) = &self.server else {
            drain.begun().await;
            return Ok(());
        };
        let mut complained = false;
        loop {
            tokio::select! {
                () = drain.begun() => return Ok(()),
                () = tokio::time::sleep(TICK) => {}
            }
            let due = self.lock().due(Instant::now());
            for pod in due {
                let answer = tokio::select! {
                    () = drain.begun() => return Ok(()),
                    answer = server.look(&pod) => answer,
                };
                let silent = matches!(answer, Err(ObjectError::Silent { .. }));
                match &answer {
                    Ok(_) => complained = false,
                    Err(error) if complained => {
                        tracing::debug!(error = with_causes(error), "still not told of pods");
                    }
                    Err(error) => {
                        complained = true;
                        tracing::warn!(
                            error = with_causes(error),
                            "whether pods of absent sidecars are there is not known; they are waited for"
                        );
                    }
                }
                let state = self.lock().hear(&pod, answer.ok(), Instant::now());
                if state == PodState::Over {
                    tracing::info!(
                        pod = format!("{}/{}", pod.namespace, pod.name),
                        pod.uid = pod.uid,
                        "the pod of an absent sidecar is over; it is not waited for"
                    );
                    wake.notify_one();
                }
                if silent {
                    self.lock().doubt();
                    break;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn ask_about(&mut self, pods: impl Iterator<Item = PodId>) {
        self.asked = pods.map(|pod| (pod.uid.clone(), pod)).collect();
        let asked = &self.asked;
        self.answers.retain(|uid, _| asked.contains_key(uid));
    }

    fn state(&self, pod: &PodId) -> PodState {
        self.answers.get(&pod.uid).map_or(PodState::NotKnown, |answer| answer.state)
    }

    fn due(&self, now: Instant) -> Vec<PodId> {
        let mut due: Vec<(Option<Instant>, &PodId)> = Vec::new();
        for (uid, pod) in &self.asked {
            match self.answers.get(uid) {
                None => due.push((None, pod)),
                Some(Answer { state: PodState::Over, at: _ }) => {}
                Some(Answer { state: PodState::There | PodState::NotKnown, at }) => {
                    if now.saturating_duration_since(*at) >= AGAIN {
                        due.push((Some(*at), pod));
                    }
                }
            }
        }
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().take(AT_ONCE).map(|(_, pod)| pod.clone()).collect()
    }

    /// Nobody answers: what was there may be over by now.
    fn doubt(&mut self) {
        for answer in self.answers.values_mut() {
            if answer.state == PodState::There {
                answer.state = PodState::NotKnown;
            }
        }
    }

    /// `None`: there was no answer.
    fn hear(&mut self, pod: &PodId, life: Option<PodLife>, at: Instant) -> PodState {
        let state = match life {
            Some(PodLife::Over) => PodState::Over,
            Some(PodLife::There) => PodState::There,
            None => PodState::NotKnown,
        };
        // Nobody may ask any more by now.
        if self.asked.contains_key(&pod.uid) {
            self.answers.insert(pod.uid.clone(), Answer { state, at });
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodId {
        PodId { namespace: "shop".to_owned(), name: "orders-0".to_owned(), uid: uid.to_owned() }
    }

    fn uids(pods: &[PodId]) -> Vec<&str> {
        pods.iter().map(|pod| &*pod.uid).collect()
    }

    #[test]
    fn a_pod_is_over_once_that_is_heard_and_everything_else_is_asked_again() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.ask_about(["a", "b", "c"].map(pod).into_iter());
        assert_eq!(uids(&known.due(now)), ["a", "b", "c"]);
        assert_eq!(known.state(&pod("a")), PodState::NotKnown, "nothing was heard yet");
        for (uid, life, state) in [
            ("a", Some(PodLife::Over), PodState::Over),
            ("b", Some(PodLife::There), PodState::There),
            ("c", None, PodState::NotKnown),
        ] {
            assert_eq!(known.hear(&pod(uid), life, now), state);
            assert_eq!(known.state(&pod(uid)), state);
        }
        assert!(known.due(now + AGAIN - Duration::from_millis(1)).is_empty());
        assert_eq!(uids(&known.due(now + AGAIN)), ["b", "c"]);
        // One that was there and of which nothing is heard now is no better known than any other.
        known.hear(&pod("b"), None, now + AGAIN);
        assert_eq!(known.state(&pod("b")), PodState::NotKnown);
        assert_eq!(known.state(&pod("d")), PodState::NotKnown, "the same name, another pod");
        known.hear(&pod("c"), Some(PodLife::There), now + AGAIN);
        known.doubt();
        assert_eq!(known.state(&pod("c")), PodState::NotKnown);
        assert_eq!(known.state(&pod("a")), PodState::Over, "that does not change");
    }

    #[test]
    fn nobody_is_asked_about_more_than_matters_or_than_a_few_at_once() {
        let (mut known, now) = (Known::default(), Instant::now());
        let all = || (0..200).map(|n| pod(&format!("{n:03}")));
        known.ask_about(all());
        let first = known.due(now);
        assert_eq!(first.len(), AT_ONCE);
        for pod in &first {
            known.hear(pod, Some(PodLife::There), now);
        }
        let second = known.due(now + AGAIN);
        assert!(second.iter().all(|pod| !first.contains(pod)), "each has its turn");
        known.ask_about(all().skip(199));
        assert_eq!(uids(&known.due(now + AGAIN)), ["199"]);
        assert!(known.answers.is_empty());
        known.hear(&first[0], Some(PodLife::Over), now);
        assert!(known.answers.is_empty(), "an answer that comes too late");
    }

    #[tokio::test]
    async fn without_anybody_to_ask_nothing_is_known() {
        let pods = Pods::new(None);
        pods.ask_about([pod("a")].into_iter());
        assert_eq!(pods.state(Some(&pod("a"))), PodState::NotKnown);
        assert_eq!(pods.state(None), PodState::NotKnown);
    }
}
