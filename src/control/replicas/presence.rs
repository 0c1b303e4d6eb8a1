//! The names and contents of the leases: one for whoever leads, one for each replica.

use std::time::SystemTime;

use aws_lc_rs::rand;

use crate::kube::{NewLease, ObjectName, is_name};

use super::report::Report;
use super::{SILENCE, leader};

/// The label of the leases of replicas.
pub(super) const LABEL: &str = "hopgate.dev/replica-of";
/// The annotation with what a replica says.
pub(super) const REPORT: &str = "hopgate.dev/fleet";
/// The longest part of a host's name in the name of a lease.
const MAX_HOST: usize = 63;

/// The names of one replica.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// This process, which is no other that ever was.
    pub(super) me: String,
    /// The lease of whoever leads.
    pub(super) leader: String,
    /// The lease of this process.
    pub(super) own: String,
    /// By what the leases of all replicas are found.
    pub(super) label: (String, String),
}

impl Names {
    /// For the replicas of the authority that is kept in `beside`. `host` is the name of the pod.
    pub(super) fn new(beside: &ObjectName, host: &str) -> Self {
        let mut mark = [0_u8; 4];
        // Without random numbers nothing else works either.
        if rand::fill(&mut mark).is_err() {
            mark = std::process::id().to_be_bytes();
        }
        let mark: String = mark.iter().map(|byte| format!("{byte:02x}")).collect();
        let host: String = host.to_ascii_lowercase().chars().take(MAX_HOST).collect();
        let host = if is_name(&host) && !host.contains('.') { host } else { "replica".to_owned() };
        let me = format!("{host}-{mark}");
        Self {
            leader: beside.name.clone(),
            own: format!("{}.{me}", beside.name),
            label: (LABEL.to_owned(), beside.name.clone()),
            me,
        }
    }

    pub(super) fn leading(&self, renewed: SystemTime, transitions: i32) -> NewLease {
        NewLease {
            holder: Some(self.me.clone()),
            term: leader::TERM,
            transitions,
            renewed,
            label: None,
            annotation: None,
        }
    }

    pub(super) fn given_back(&self, renewed: SystemTime, transitions: i32) -> NewLease {
        NewLease { holder: None, ..self.leading(renewed, transitions) }
    }

    pub(super) fn present(&self, renewed: SystemTime, report: &Report) -> NewLease {
        NewLease {
            holder: Some(self.me.clone()),
            term: SILENCE,
            transitions: 0,
            renewed,
            label: Some(self.label.clone()),
            annotation: Some((REPORT.to_owned(), report.to_text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_whatever_the_host_is_called() {
        let beside = ObjectName { namespace: None, name: "hopgate-ca".to_owned() };
        for host in ["control-7d9f-abcde", "My_Host", "", "a.b", &"x".repeat(300), "-"] {
            let (one, two) = (Names::new(&beside, host), Names::new(&beside, host));
            assert!(is_name(&one.own), "{}", one.own);
            assert!(one.own.starts_with("hopgate-ca."));
            assert_ne!(one.me, two.me, "two processes of one host");
        }
        assert!(Names::new(&beside, "control-1").me.starts_with("control-1-"));
    }
}
