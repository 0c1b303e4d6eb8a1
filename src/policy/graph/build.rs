//! From policies to parties and rules.

use super::manifest::RealWorkload;
use super::model::{EdgeStyle, Graph, NodeId, NodeKind};
use crate::policy::access::{AccessPolicy, Mode, UserPattern};
use crate::policy::explain::wording;
use crate::policy::rule::{Effect, PeerPattern, Rule};

impl Graph {
    /// Draws these policies. With workloads, those are drawn instead of the labels that select them, and service accounts
    /// as the workloads that run under them.
    #[must_use]
    pub fn of(policies: &[AccessPolicy], workloads: &[RealWorkload]) -> Self {
        let mut graph = Self::default();
        let mut policies: Vec<&AccessPolicy> = policies.iter().collect();
        policies.sort_by_key(|policy| &policy.metadata);
        let mut guarded = vec![false; workloads.len()];
        for policy in policies {
            let targets = graph.targets(policy, workloads, &mut guarded);
            for rule in &policy.spec.rules {
                for target in &targets {
                    graph.rule(policy, rule, (*target, workloads));
                }
            }
        }
        for (workload, _) in workloads.iter().zip(guarded).filter(|(_, guarded)| !guarded) {
            let mut lines = real(workload);
            lines.push("no policy: refuses everybody".to_owned());
            graph.node(NodeKind::Workload, lines);
        }
        graph
    }

    /// The nodes of what a policy selects.
    fn targets(
        &mut self,
        policy: &AccessPolicy,
        workloads: &[RealWorkload],
        guarded: &mut [bool],
    ) -> Vec<NodeId> {
        let mut targets = Vec::new();
        for (workload, guarded) in workloads.iter().zip(guarded) {
            let labels = policy.spec.selector.as_ref();
            let selected = policy.metadata.namespace == workload.namespace
                && labels.is_none_or(|labels| {
                    labels.iter().all(|(name, value)| workload.labels.get(name) == Some(value))
                });
            if selected {
                *guarded = true;
                targets.push(self.node(NodeKind::Workload, real(workload)));
            }
        }
        if targets.is_empty() {
            let mut lines = match &policy.spec.selector {
                Some(labels) => {
                    labels.iter().map(|(name, value)| format!("{name}={value}")).collect()
                }
                None => vec!["every workload".to_owned()],
            };
            lines.push(format!("namespace {}", policy.metadata.namespace));
            if !workloads.is_empty() {
                lines.push("selects nothing".to_owned());
            }
            targets.push(self.node(NodeKind::Workload, lines));
        }
        targets
    }

    fn rule(
        &mut self,
        policy: &AccessPolicy,
        rule: &Rule,
        (target, workloads): (NodeId, &[RealWorkload]),
    ) {
        let style = match rule.effect {
            Effect::Allow => EdgeStyle::Allow,
            Effect::Deny => EdgeStyle::Deny,
        };
        let label = match policy.spec.mode {
            Mode::Enforce => rule.name.clone(),
            Mode::Audit => format!("{} (audit)", rule.name),
        };
        let mut parties = Vec::new();
        for peer in rule.peers.iter().flatten() {
            parties.extend(self.peers(peer, (target, workloads)));
        }
        for (word, pattern) in [("user", &rule.users), ("client", &rule.clients)] {
            if let Some(pattern) = pattern {
                parties.push(self.user(word, pattern));
            }
        }
        if parties.is_empty() {
            parties.push(match &rule.except.peers {
                None => self.node(NodeKind::Anyone, vec!["anyone".to_owned()]),
                Some(peers) => {
                    let lines = vec!["everyone but".to_owned(), wording::peers(peers)];
                    self.node(NodeKind::Anyone, lines)
                }
            });
        }
        for party in parties {
            self.edge((party, target), style, label.clone());
        }
    }

    /// A node for each workload that runs under a service account, or one for the account.
    fn peers(
        &mut self,
        peer: &PeerPattern,
        (target, workloads): (NodeId, &[RealWorkload]),
    ) -> Vec<NodeId> {
        let lines = match peer {
            PeerPattern::Any => vec!["any workload".to_owned(), "of the mesh".to_owned()],
            PeerPattern::Nobody => {
                let lines = vec!["callers without".to_owned(), "a certificate".to_owned()];
                return vec![self.node(NodeKind::Anyone, lines)];
            }
            PeerPattern::ServiceAccount { namespace, account } => {
                let runs = |workload: &&RealWorkload| {
                    workload.namespace == *namespace && workload.service_account == *account
                };
                let nodes: Vec<NodeId> = workloads
                    .iter()
                    .filter(runs)
                    .map(|workload| self.node(NodeKind::Workload, real(workload)))
                    // A line from a workload to itself says less than its account.
                    .filter(|node| *node != target)
                    .collect();
                if !nodes.is_empty() {
                    return nodes;
                }
                vec![account.clone(), format!("namespace {namespace}")]
            }
            PeerPattern::Namespace(namespace) => {
                vec!["every workload".to_owned(), format!("of namespace {namespace}")]
            }
            PeerPattern::TrustDomain(domain) => {
                vec!["every workload".to_owned(), format!("of {}", domain.as_str())]
            }
            PeerPattern::Id(id) => match id.service_account() {
                Some((namespace, account)) => vec![
                    account.to_owned(),
                    format!("namespace {namespace}"),
                    format!("of {}", id.trust_domain().as_str()),
                ],
                None => vec![id.as_str().to_owned()],
            },
        };
        vec![self.node(NodeKind::Peer, lines)]
    }

    fn user(&mut self, word: &str, pattern: &UserPattern) -> NodeId {
        let mut lines = Vec::new();
        match pattern {
            UserPattern::Anonymous => lines.push("nobody signed in".to_owned()),
            UserPattern::Verified(users) => {
                lines.push(format!("{word}s"));
                lines.extend(wording::users(users).split(", ").map(str::to_owned));
            }
        }
        self.node(NodeKind::User, lines)
    }
}

fn real(workload: &RealWorkload) -> Vec<String> {
    vec![workload.name.clone(), format!("namespace {}", workload.namespace)]
}
