//! Who may hold a bare connection that was admitted before.
//!
//! Envoy asks once for a connection and never tells of its end. So it is remembered who asked: when that peer is revoked
//! later, its connection may still be open.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::identity::SpiffeId;

/// The most peers that are remembered.
const MAX_PEERS: usize = 10_000;

/// Peers that asked for a bare connection, each with the last time.
pub(super) struct Connections(Mutex<Seen>);

struct Seen {
    /// What was before is not known.
    since: SystemTime,
    /// By the path of the SPIFFE ID, because a mesh may go by several names.
    peers: HashMap<Box<str>, SystemTime>,
}

impl Connections {
    /// Remembers from now on.
    pub(super) fn new(now: SystemTime) -> Self {
        Self(Mutex::new(Seen { since: now, peers: HashMap::new() }))
    }

    /// This peer asks for a connection. Said before it is judged: whoever is revoked meanwhile is either judged by the
    /// new list or remembered when the list comes.
    pub(super) fn note(&self, peer: &SpiffeId, now: SystemTime) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = seen.peers.get_mut(peer.path()) {
            *last = now;
            return;
        }
        if seen.peers.len() >= MAX_PEERS {
            // Whoever was forgotten may hold one.
            *seen = Seen { since: now, peers: HashMap::new() };
        }
        seen.peers.insert(peer.path().into(), now);
    }

    /// Whether the peer may hold a connection, if none lives longer than `longest`. What is not known may be so.
    pub(super) fn may_hold(&self, peer: &SpiffeId, longest: Duration, now: SystemTime) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes everything recent.
        let recent = |at: SystemTime| now.duration_since(at).map_or(true, |age| age <= longest);
        recent(seen.since) || seen.peers.get(peer.path()).is_some_and(|last| recent(*last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
    }

    fn peer(name: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://mesh.example/ns/a/sa/{name}")).unwrap()
    }

    #[test]
    fn who_asked_within_the_longest_life_may_hold_one() {
        let connections = Connections::new(at(0));
        // At first anybody may: connections may be older than this process.
        assert!(connections.may_hold(&peer("a"), HOUR, at(3600)));
        assert!(!connections.may_hold(&peer("a"), HOUR, at(3601)));
        connections.note(&peer("a"), at(4000));
        assert!(connections.may_hold(&peer("a"), HOUR, at(7600)));
        assert!(!connections.may_hold(&peer("a"), HOUR, at(7601)));
        assert!(!connections.may_hold(&peer("b"), HOUR, at(4000)));
        // A clock that was set back.
        assert!(connections.may_hold(&peer("b"), HOUR, SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn when_too_many_ask_whoever_is_forgotten_may_hold_one() {
        let connections = Connections::new(at(0));
        for n in 0..MAX_PEERS {
            connections.note(&peer(&format!("w{n}")), at(10_000));
        }
        assert!(!connections.may_hold(&peer("x"), HOUR, at(10_001)));
        connections.note(&peer("one-more"), at(10_001));
        assert!(connections.may_hold(&peer("x"), HOUR, at(10_002)));
        assert!(connections.may_hold(&peer("w1"), HOUR, at(10_002)));
    }
}
