//! What is not captured, as people write it: lists with commas between.

use std::collections::BTreeSet;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::mesh::pod::OWN_PORTS;

/// Longer lists are refused: each entry is a hole that somebody has to know of.
const MOST: usize = 64;
/// The system's word for no user at all.
const NO_UID: u32 = u32::MAX;

/// What goes past the gate. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Incoming connections to these ports: in plaintext, for everybody, judged by nobody.
    pub inbound_ports: Ports,
    /// Outgoing connections to these ports.
    pub outbound_ports: Ports,
    /// Outgoing connections to these networks.
    pub outbound_networks: Networks,
    /// Outgoing connections of processes that run as these users.
    pub uids: Uids,
}

/// TCP ports, none of which the gate itself uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports(BTreeSet<u16>);

/// Networks of both families, without overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// Users, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uids(BTreeSet<u32>);

/// A text is no list of what is not captured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExclusion {
    /// Nothing stands between two commas, or nothing at all.
    #[error("{0:?} has an empty entry; write entries with one comma between them")]
    Empty(String),
    /// Too many.
    #[error("{0} entries; at most {MOST} are taken")]
    TooMany(usize),
    /// Not a port.
    #[error("{0:?} is no port; write a number from 1 to 65535")]
    Port(String),
    /// The gate's own.
    #[error("{0} is a port of the gate itself, which is never captured; leave it out")]
    OwnPort(u16),
    /// Not a network.
    #[error("{0:?} is no network; write one such as 10.0.0.0/8, 192.0.2.7/32 or fd00::/8")]
    Network(String),
    /// A network whose address has more bits than its length says.
    #[error("{written} has bits behind its prefix; write {meant}, or the network that is meant")]
    HostBits {
        /// As written.
        written: String,
        /// The network that holds it.
        meant: IpNet,
    },
    /// Not a user.
    #[error("{0:?} is no user; write the number of one, from 0 to 4294967294")]
    Uid(String),
}

impl Exclusions {
    /// True when everything is captured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { inbound_ports, outbound_ports, outbound_networks, uids } = self;
        inbound_ports.0.is_empty()
            && outbound_ports.0.is_empty()
            && outbound_networks.0.is_empty()
            && uids.0.is_empty()
    }
}

impl Exclusions {
    /// What either leaves out.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let Self { inbound_ports, outbound_ports, outbound_networks, uids } = other;
        Self {
            inbound_ports: Ports(&self.inbound_ports.0 | &inbound_ports.0),
            outbound_ports: Ports(&self.outbound_ports.0 | &outbound_ports.0),
            outbound_networks: Networks::of(
                self.outbound_networks.iter().chain(outbound_networks.iter()),
            ),
            uids: Uids(&self.uids.0 | &uids.0),
        }
    }
}

impl Ports {
    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }

    /// Whether `port` is among them.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }
}

impl Networks {
    /// The kernel's sets refuse networks that overlap.
    fn of(networks: impl Iterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        let v4 = Ipv4Net::aggregate(&v4).into_iter().map(IpNet::V4);
        let v6 = Ipv6Net::aggregate(&v6).into_iter().map(IpNet::V6);
        Self(v4.chain(v6).collect())
    }

    /// Those of IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        self.0.iter().copied()
    }
}

impl Uids {
    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

impl FromStr for Ports {
    type Err = InvalidExclusion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = |entry: &str| match number(entry) {
            Some(0) | None => Err(InvalidExclusion::Port(entry.to_owned())),
            Some(port) if OWN_PORTS.contains(&port) => Err(InvalidExclusion::OwnPort(port)),
            Some(port) => Ok(port),
        };
        entries(text)?.into_iter().map(port).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Uids {
    type Err = InvalidExclusion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uid = |entry: &str| match number(entry) {
            Some(NO_UID) | None => Err(InvalidExclusion::Uid(entry.to_owned())),
            Some(uid) => Ok(uid),
        };
        entries(text)?.into_iter().map(uid).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Networks {
    type Err = InvalidExclusion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut networks = Vec::new();
        for entry in entries(text)? {
            let network: IpNet =
                entry.parse().map_err(|_| InvalidExclusion::Network(entry.to_owned()))?;
            if network.trunc() != network {
                let (written, meant) = (entry.to_owned(), network.trunc());
                return Err(InvalidExclusion::HostBits { written, meant });
            }
            networks.push(network);
        }
        Ok(Self::of(networks.into_iter()))
    }
}

/// The entries, without the spaces around them.
fn entries(text: &str) -> Result<Vec<&str>, InvalidExclusion> {
    let entries: Vec<&str> = text.split(',').map(|entry| entry.trim_matches(' ')).collect();
    if entries.iter().any(|entry| entry.is_empty()) {
        return Err(InvalidExclusion::Empty(text.to_owned()));
    }
    if entries.len() > MOST {
        return Err(InvalidExclusion::TooMany(entries.len()));
    }
    Ok(entries)
}

/// A number in its one way of writing: digits only, none too many.
fn number<N: FromStr + ToString>(entry: &str) -> Option<N> {
    entry.parse().ok().filter(|number: &N| number.to_string() == entry)
}

macro_rules! written_with_commas {
    ($($list:ty),*) => {
        $(impl std::fmt::Display for $list {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&super::joined(self.iter(), ","))
            }
        })*
    };
}

written_with_commas!(Ports, Networks, Uids);
