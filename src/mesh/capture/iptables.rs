//! The rules for `iptables-restore --noflush`, where only that is there. The same behaviour as with nftables, in two steps:
//! the chains are replaced in one, the jumps to them are put in place once.

use std::fmt;

use super::{Capture, INBOUND_PORT, OUTBOUND_PORT, joined};
use crate::mesh::pod::{ENVOY_UID, ESCAPE_V4, ESCAPE_V6};

/// A family of addresses, each with rules of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A chain of the kernel that jumps to one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// The kernel's.
    pub from: &'static str,
    /// Ours.
    pub to: &'static str,
}

/// The jumps, in the table `nat`.
pub const HOOKS: [Hook; 2] =
    [Hook { from: "PREROUTING", to: "HOPGATE_IN" }, Hook { from: "OUTPUT", to: "HOPGATE_OUT" }];

/// More ports the kernel does not take in one rule.
const MULTIPORT: usize = 15;

impl Capture {
    /// The rules of one family for `iptables-restore --noflush` or `ip6tables-restore --noflush`.
    #[must_use]
    pub fn iptables(&self, family: Family) -> String {
        let mut text = "*nat\n:HOPGATE_IN - [0:0]\n:HOPGATE_OUT - [0:0]\n".to_owned();
        for rule in self.iptables_rules(family) {
            text += &rule;
            text.push('\n');
        }
        text + "COMMIT\n"
    }

    /// The rules, each as `-A CHAIN ..`.
    #[must_use]
    pub fn iptables_rules(&self, family: Family) -> Vec<String> {
        let (escape, loopback) = match family {
            Family::V4 => (format!("{ESCAPE_V4}/32"), "127.0.0.0/8"),
            Family::V6 => (format!("{ESCAPE_V6}/128"), "::1/128"),
        };
        let mut incoming =
            vec!["-i lo -j RETURN".to_owned(), "-p tcp ! --syn -j RETURN".to_owned()];
        let inbound: Vec<u16> = self.inbound_ports().collect();
        incoming.extend(multiport(&inbound, ""));
        incoming.push(format!("-p tcp -j REDIRECT --to-ports {INBOUND_PORT}"));

        let own = format!("-o lo ! -d {loopback} ");
        let envoy = format!("-m owner --uid-owner {ENVOY_UID} ");
        let mut outgoing =
            vec!["-p tcp ! --syn -j RETURN".to_owned(), format!("-o lo -s {escape} -j RETURN")];
        // Split over several rules, a port that is left out cannot be said by `!`.
        outgoing.extend(multiport(&inbound, &format!("{own}{envoy}")));
        outgoing.push(format!("{own}-p tcp {envoy}-j REDIRECT --to-ports {INBOUND_PORT}"));
        outgoing.extend(self.uids().map(|uid| format!("-m owner --uid-owner {uid} -j RETURN")));
        outgoing.push(format!("-d {loopback} -j RETURN"));
        let ports: Vec<u16> = self.exclusions.outbound_ports.iter().collect();
        outgoing.extend(multiport(&ports, ""));
        outgoing.extend(self.networks(family).map(|network| format!("-d {network} -j RETURN")));
        outgoing.push(format!("-p tcp -j REDIRECT --to-ports {OUTBOUND_PORT}"));

        let named = |chain: &'static str| move |rule: String| format!("-A {chain} {rule}");
        let incoming = incoming.into_iter().map(named("HOPGATE_IN"));
        incoming.chain(outgoing.into_iter().map(named("HOPGATE_OUT"))).collect()
    }
}

fn multiport(ports: &[u16], condition: &str) -> Vec<String> {
    ports
        .chunks(MULTIPORT)
        .map(|ports| {
            let list = joined(ports.iter(), ",");
            format!("{condition}-p tcp -m multiport --dports {list} -j RETURN")
        })
        .collect()
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}
