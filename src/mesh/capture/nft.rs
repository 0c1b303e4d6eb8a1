//! The rules for `nft -f -`: one table of both families.

use super::iptables::Family;
use super::{Capture, Chain, INBOUND_PORT, OUTBOUND_PORT, joined};
use crate::mesh::pod::{ENVOY_UID, ESCAPE_V4, ESCAPE_V6};

/// The table of the rules, family first.
pub const TABLE: &str = "inet hopgate";

/// What removes the rules, whether they are there or not.
#[must_use]
pub fn remove() -> String {
    // Naming a table makes it where it is missing, so that there is something to delete.
    format!("table {TABLE}\ndelete table {TABLE}\n")
}

impl Capture {
    /// The rules for `nft -f -`. They replace what stood there before in one step, so that no connection slips through
    /// and none is cut.
    #[must_use]
    pub fn nft(&self) -> String {
        let sets = [
            set("in_skip_ports", "type inet_service;", &joined(self.inbound_ports(), ", ")),
            set(
                "out_skip_ports",
                "type inet_service; flags interval;",
                &joined(self.exclusions.outbound_ports.iter(), ", "),
            ),
            set(
                "out_skip4",
                "type ipv4_addr; flags interval;",
                &joined(self.networks(Family::V4), ", "),
            ),
            set(
                "out_skip6",
                "type ipv6_addr; flags interval;",
                &joined(self.networks(Family::V6), ", "),
            ),
            set("mesh_uids", "typeof meta skuid;", &joined(self.uids(), ", ")),
        ];
        let incoming = chain("pre", "prerouting", &incoming());
        let outgoing = chain("out", "output", &outgoing());
        format!("{}table {TABLE} {{\n{}{incoming}{outgoing}}}\n", remove(), sets.concat())
    }

    /// How the chains of [`Capture::nft`] must look in the kernel.
    #[must_use]
    pub fn nft_chains(&self) -> [Chain; 2] {
        [
            Chain { name: "pre", hook: "prerouting", rules: incoming().len(), port: INBOUND_PORT },
            Chain { name: "out", hook: "output", rules: outgoing().len(), port: OUTBOUND_PORT },
        ]
    }
}

/// What comes from other machines. A connection that was open before the rules came is left alone: redirected in its
/// midst it would be reset.
fn incoming() -> Vec<String> {
    vec![
        "iifname \"lo\" return".to_owned(),
        "meta l4proto != tcp return".to_owned(),
        "tcp flags & (fin|syn|rst|ack) != syn return".to_owned(),
        "tcp dport @in_skip_ports return".to_owned(),
        format!("meta l4proto tcp redirect to :{INBOUND_PORT}"),
    ]
}

/// What processes of this pod send. What Envoy sends to the application comes from the escape addresses and passes; what it
/// sends to another address of this pod is a call of the application to itself, which the inbound policy judges too.
fn outgoing() -> Vec<String> {
    vec![
        "meta l4proto != tcp return".to_owned(),
        "tcp flags & (fin|syn|rst|ack) != syn return".to_owned(),
        format!("oifname \"lo\" ip saddr {ESCAPE_V4} return"),
        format!("oifname \"lo\" ip6 saddr {ESCAPE_V6} return"),
        format!(
            "oifname \"lo\" ip daddr != 127.0.0.0/8 meta skuid {ENVOY_UID} tcp dport != @in_skip_ports redirect to :{INBOUND_PORT}"
        ),
        format!(
            "oifname \"lo\" ip6 daddr != ::1 meta skuid {ENVOY_UID} tcp dport != @in_skip_ports redirect to :{INBOUND_PORT}"
        ),
        "meta skuid @mesh_uids return".to_owned(),
        "ip daddr 127.0.0.0/8 return".to_owned(),
        "ip6 daddr ::1 return".to_owned(),
        "tcp dport @out_skip_ports return".to_owned(),
        "ip daddr @out_skip4 return".to_owned(),
        "ip6 daddr @out_skip6 return".to_owned(),
        format!("meta l4proto tcp redirect to :{OUTBOUND_PORT}"),
    ]
}

fn set(name: &str, kind: &str, elements: &str) -> String {
    if elements.is_empty() {
        return format!("  set {name} {{ {kind} }}\n");
    }
    format!("  set {name} {{ {kind} elements = {{ {elements} }} }}\n")
}

fn chain(name: &str, hook: &str, rules: &[String]) -> String {
    let rules = joined(rules.iter().map(|rule| format!("    {rule}\n")), "");
    format!(
        "  chain {name} {{\n    type nat hook {hook} priority -100; policy accept;\n{rules}  }}\n"
    )
}
