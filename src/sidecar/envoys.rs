//! What the workload's Envoys have of its secrets, stream by stream.
//!
//! Each secret that an Envoy's configuration names has a stream of its own, so "Envoy has it" is only true when every
//! open stream that asks for it has taken it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::xds::StreamId;

/// All open secret discovery streams.
#[derive(Debug)]
pub struct Envoys {
    streams: Mutex<Streams>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Streams {
    next: StreamId,
    open: BTreeMap<StreamId, EnvoyStream>,
}

/// One stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvoyStream {
    /// The names it asks for.
    pub asks: BTreeSet<String>,
    /// The version it took last, by name.
    pub has: BTreeMap<String, String>,
    /// The version it refused last, and why, by name; gone when it takes another.
    pub refused: BTreeMap<String, (String, String)>,
}

/// What the Envoys say of certain versions of certain secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvoyWord {
    /// No stream asks for any of them.
    NobodyAsks,
    /// A stream has not said yes or no yet.
    Waits,
    /// Every stream that asks for one has it.
    Has,
    /// A stream refused one, in these words.
    Refused(String),
}

impl Default for Envoys {
    fn default() -> Self {
        Self { streams: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Envoys {
    /// Says that something changed. The number means nothing but that.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All open streams.
    #[must_use]
    pub fn streams(&self) -> Vec<EnvoyStream> {
        self.lock().open.values().cloned().collect()
    }

    /// What the open streams say of these versions, by name.
    #[must_use]
    pub fn word(&self, versions: &BTreeMap<String, String>) -> EnvoyWord {
        word(self.lock().open.values(), versions)
    }

    pub(super) fn opened(&self) -> StreamId {
        let mut streams = self.lock();
        let stream = streams.next;
        streams.next = stream.wrapping_add(1);
        streams.open.insert(stream, EnvoyStream::default());
        drop(streams);
        self.changed();
        stream
    }

    pub(super) fn closed(&self, stream: StreamId) {
        self.lock().open.remove(&stream);
        self.changed();
    }

    pub(super) fn asked(&self, stream: StreamId, names: Vec<String>) {
        self.update(stream, |stream| {
            stream.asks = names.into_iter().collect();
            let EnvoyStream { asks, has, refused } = stream;
            has.retain(|name, _| asks.contains(name));
            refused.retain(|name, _| asks.contains(name));
        });
    }

    pub(super) fn acked(&self, stream: StreamId, name: &str, version: &str) {
        self.update(stream, |stream| {
            stream.has.insert(name.to_owned(), version.to_owned());
            stream.refused.remove(name);
        });
    }

    pub(super) fn nacked(&self, stream: StreamId, resource: Option<(&str, &str)>, reason: &str) {
        let Some((name, version)) = resource else { return };
        self.update(stream, |stream| {
            stream.refused.insert(name.to_owned(), (version.to_owned(), reason.to_owned()));
        });
    }

    fn update(&self, stream: StreamId, change: impl FnOnce(&mut EnvoyStream)) {
        let changed = self.lock().open.get_mut(&stream).is_some_and(|stream| {
            let before = stream.clone();
            change(stream);
            *stream != before
        });
        if changed {
            self.changed();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// A refusal weighs more than a stream that waits, which weighs more than those that have it.
fn word<'a>(
    streams: impl Iterator<Item = &'a EnvoyStream>,
    versions: &BTreeMap<String, String>,
) -> EnvoyWord {
    let mut heard = EnvoyWord::NobodyAsks;
    for stream in streams {
        for (name, version) in versions.iter().filter(|(name, _)| stream.asks.contains(*name)) {
            let refused = stream.refused.get(name).filter(|(refused, _)| refused == version);
            if let Some((_, reason)) = refused {
                return EnvoyWord::Refused(reason.clone());
            }
            let has = stream.has.get(name) == Some(version);
            heard = match (heard, has) {
                (EnvoyWord::Waits, _) | (_, false) => EnvoyWord::Waits,
                (_, true) => EnvoyWord::Has,
            };
        }
    }
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(version: &str) -> BTreeMap<String, String> {
        let names = ["ROOTCA", "ALL"];
        names.map(|name| (name.to_owned(), version.to_owned())).into()
    }

    #[test]
    fn all_streams_that_ask_for_roots_must_have_them() {
        let envoys = Envoys::default();
        assert_eq!(envoys.word(&versions("2")), EnvoyWord::NobodyAsks);
        let certificate = envoys.opened();
        envoys.asked(certificate, vec!["default".to_owned()]);
        envoys.acked(certificate, "default", "1");
        assert_eq!(envoys.word(&versions("2")), EnvoyWord::NobodyAsks, "it asks for no roots");
        let (one, two) = (envoys.opened(), envoys.opened());
        envoys.asked(one, vec!["ROOTCA".to_owned()]);
        envoys.asked(two, vec!["ALL".to_owned()]);
        assert_eq!(envoys.word(&versions("2")), EnvoyWord::Waits);
        envoys.acked(one, "ROOTCA", "2");
        assert_eq!(envoys.word(&versions("2")), EnvoyWord::Waits, "one of two");
        envoys.acked(two, "ALL", "1");
        assert_eq!(envoys.word(&versions("2")), EnvoyWord::Waits, "another version");
        envoys.acked(two, "ALL", "2");
        assert_eq!(envoys.word(&versions("2")), EnvoyWord::Has);
        assert_eq!(envoys.word(&versions("1")), EnvoyWord::Waits);
    }

    #[test]
    fn a_refusal_counts_for_its_version_while_the_stream_is_open() {
        let envoys = Envoys::default();
        let stream = envoys.opened();
        envoys.asked(stream, vec!["ROOTCA".to_owned()]);
        envoys.acked(stream, "ROOTCA", "1");
        envoys.nacked(stream, Some(("ROOTCA", "2")), "garbage");
        assert_eq!(envoys.word(&versions("2")), EnvoyWord::Refused("garbage".to_owned()));
        assert_eq!(envoys.word(&versions("1")), EnvoyWord::Has, "it keeps what it had");
        envoys.nacked(stream, None, "who knows what");
        envoys.acked(stream, "ROOTCA", "3");
        assert_eq!(envoys.word(&versions("2")), EnvoyWord::Waits);
        envoys.closed(stream);
        assert_eq!(envoys.word(&versions("2")), EnvoyWord::NobodyAsks);
    }

    #[test]
    fn who_watches_hears_of_each_change_once() {
        let envoys = Envoys::default();
        let mut changes = envoys.changes();
        let stream = envoys.opened();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        envoys.asked(stream, vec!["ROOTCA".to_owned()]);
        changes.mark_unchanged();
        envoys.asked(stream, vec!["ROOTCA".to_owned()]);
        assert!(!changes.has_changed().unwrap(), "nothing new");
    }
}
