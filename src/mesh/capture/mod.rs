//! Which connections of a pod go through its gate, as rules for the kernel.
//!
//! Everything that is TCP is captured: incoming to [`INBOUND_PORT`], outgoing to [`OUTBOUND_PORT`]. What is left out
//! stands in [`Exclusions`], beside what the gate itself needs to reach the application and the world. Other protocols
//! are not captured.
//!
//! Both forms of the rules do the same: [`Capture::nft`] for nftables, [`Capture::iptables`] for `iptables-restore`.

mod exclusions;
mod iptables;
mod nft;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

pub use exclusions::{Exclusions, InvalidExclusion, Networks, Ports, Uids};
pub use iptables::{Family, HOOKS, Hook};
pub use nft::{TABLE, remove};

use super::pod::{ENVOY_UID, INBOUND_PORT, OUTBOUND_PORT, OWN_PORTS, SIDECAR_UID};

/// The rules of one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capture {
    exclusions: Exclusions,
}

/// How one chain must look once it is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where packets enter it.
    pub hook: &'static str,
    /// How many rules it has.
    pub rules: usize,
    /// The port that its last rule sends connections to.
    pub port: u16,
}

/// Networks that are nobody's (RFC 5737, RFC 3849): connections to them show whether they are captured, and nobody
/// hears of it where they are not.
const NOBODYS_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(203, 0, 113, 1)];
const NOBODYS_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1),
];
const USUAL_PORTS: [u16; 4] = [9, 80, 443, 8080];

impl Capture {
    /// Rules that leave out `exclusions`.
    #[must_use]
    pub fn new(exclusions: Exclusions) -> Self {
        Self { exclusions }
    }

    /// An address to which a connection of user `uid` is captured, to try the rules with; none where everything of that
    /// family, or of that user, is left out.
    #[must_use]
    pub fn example(&self, family: Family, uid: u32) -> Option<SocketAddr> {
        if self.uids().any(|free| free == uid) {
            return None;
        }
        let addresses: Vec<IpAddr> = match family {
            Family::V4 => NOBODYS_V4.map(IpAddr::V4).to_vec(),
            Family::V6 => NOBODYS_V6.map(IpAddr::V6).to_vec(),
        };
        let is_free = |address: &IpAddr| {
            self.exclusions.outbound_networks.iter().any(|network| network.contains(address))
        };
        let address = addresses.into_iter().find(|address| !is_free(address))?;
        let mut ports = USUAL_PORTS.into_iter().chain(1..=u16::MAX);
        let port = ports.find(|port| !self.exclusions.outbound_ports.contains(*port))?;
        Some(SocketAddr::new(address, port))
    }

    /// The users whose connections are not captured.
    fn uids(&self) -> impl Iterator<Item = u32> {
        let own = [ENVOY_UID, SIDECAR_UID];
        own.into_iter().chain(self.exclusions.uids.iter().filter(move |uid| !own.contains(uid)))
    }

    /// The ports whose incoming connections are not captured.
    fn inbound_ports(&self) -> impl Iterator<Item = u16> {
        OWN_PORTS.into_iter().chain(self.exclusions.inbound_ports.iter())
    }

    fn networks(&self, family: Family) -> impl Iterator<Item = IpNet> {
        self.exclusions.outbound_networks.iter().filter(move |network| match network {
            IpNet::V4(_) => family == Family::V4,
            IpNet::V6(_) => family == Family::V6,
        })
    }
}

fn joined<T: ToString>(items: impl Iterator<Item = T>, separator: &str) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests;
