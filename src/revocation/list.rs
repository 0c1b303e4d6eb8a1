//! The list that decisions ask: immutable, bounded, one look-up by hash.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::entry::Revocation;
use super::subject::{RevokedWorkload, Serial, Subject};
use crate::identity::{Members, SpiffeId};

/// The most revocations of a list.
pub const MAX_REVOCATIONS: usize = 10_000;

/// What is revoked. Never changed: a new one takes its place.
#[derive(Clone, Default)]
pub struct RevocationList {
    /// In the order of their subjects.
    entries: Vec<Arc<Revocation>>,
    /// By the path of the SPIFFE ID, because a mesh may go by several names.
    workloads: HashMap<Box<str>, Vec<OfWorkload>>,
}

/// What is known of the certificate by which a workload is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate<'a> {
    /// Its serial number in lower-case hexadecimal.
    Serial(&'a str),
    /// It cannot be seen: a token alone speaks for the workload.
    Unseen,
    /// None is needed, because something else proves the workload, such as a join token. Only a revocation of the whole
    /// workload counts.
    Unneeded,
}

/// There are more revocations than a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are more than {MAX_REVOCATIONS} revocations: lift some, or give them an end (`--until`)"
)]
pub struct TooMany;

#[derive(Clone)]
struct OfWorkload {
    id: SpiffeId,
    whole: Option<Arc<Revocation>>,
    serials: HashMap<Serial, Arc<Revocation>>,
    /// The one of `serials` that holds longest.
    longest: Option<Arc<Revocation>>,
}

impl RevocationList {
    /// Takes revocations in any order. Of two that revoke the same, the one that holds longer counts.
    ///
    /// # Errors
    /// When there are more than [`MAX_REVOCATIONS`]. None is ever left out.
    pub fn new(revocations: impl IntoIterator<Item = Revocation>) -> Result<Self, TooMany> {
        let mut by_subject: HashMap<Subject, Revocation> = HashMap::new();
        for revocation in revocations {
            let revocation = match by_subject.remove(&revocation.subject) {
                Some(other) => other.longer(revocation),
                None => revocation,
            };
            by_subject.insert(revocation.subject.clone(), revocation);
            if by_subject.len() > MAX_REVOCATIONS {
                return Err(TooMany);
            }
        }
        let mut entries: Vec<_> = by_subject.into_values().map(Arc::new).collect();
        entries.sort_by(|a, b| a.subject.cmp(&b.subject));
        let mut list = Self { entries: Vec::new(), workloads: HashMap::new() };
        for entry in &entries {
            match &entry.subject {
                Subject::Workload(workload) => list.add(workload, entry),
            }
        }
        list.entries = entries;
        Ok(list)
    }

    /// Nothing is revoked.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// True when nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there are, those that have ended included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them, in the order of their subjects.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Arc<Revocation>> {
        self.entries.iter()
    }

    /// The revocation that refuses this workload now. `id` is its SPIFFE ID; what is no SPIFFE ID is not found.
    ///
    /// All names of one mesh are one: whoever is revoked under one is under every other. A revocation of one certificate
    /// refuses that certificate, and whoever speaks for the workload without showing one: it cannot be told by which
    /// certificate the token was got.
    #[must_use]
    pub fn find(
        &self,
        id: &str,
        certificate: Certificate<'_>,
        members: Members<'_>,
        now: SystemTime,
    ) -> Option<&Arc<Revocation>> {
        if self.workloads.is_empty() {
            return None;
        }
        let (domain, path) = parts(id)?;
        let same = |of: &&OfWorkload| {
            let (other, _) = parts(of.id.as_str()).unwrap_or_default();
            other == domain || (members.include_domain(other) && members.include_domain(domain))
        };
        let among = self.workloads.get(path)?.iter();
        among.filter(same).find_map(|of| of.refuses(certificate, now))
    }

    fn add(&mut self, workload: &RevokedWorkload, entry: &Arc<Revocation>) {
        let RevokedWorkload { id, serial } = workload;
        let all = self.workloads.entry(id.path().into()).or_default();
        let at = match all.iter().position(|of| of.id == *id) {
            Some(at) => at,
            None => {
                all.push(OfWorkload::nothing(id.clone()));
                all.len() - 1
            }
        };
        if let Some(of) = all.get_mut(at) {
            of.add(serial.as_ref(), entry);
        }
    }
}

impl OfWorkload {
    fn nothing(id: SpiffeId) -> Self {
        Self { id, whole: None, serials: HashMap::new(), longest: None }
    }

    fn add(&mut self, serial: Option<&Serial>, entry: &Arc<Revocation>) {
        let Some(serial) = serial else {
            self.whole = Some(Arc::clone(entry));
            return;
        };
        self.serials.insert(serial.clone(), Arc::clone(entry));
        if self.longest.as_ref().is_none_or(|longest| longest.until < entry.until) {
            self.longest = Some(Arc::clone(entry));
        }
    }

    fn refuses(&self, certificate: Certificate<'_>, now: SystemTime) -> Option<&Arc<Revocation>> {
        let of_certificate = || match certificate {
            Certificate::Serial(_) if self.serials.is_empty() => None,
            Certificate::Serial(digits) => self.serials.get(Serial::plain(digits)),
            Certificate::Unseen => self.longest.as_ref(),
            Certificate::Unneeded => None,
        };
        let holds = |entry: &&Arc<Revocation>| entry.is_in_force(now);
        self.whole.as_ref().filter(holds).or_else(|| of_certificate().filter(holds))
    }
}

/// Trust domain and path of a SPIFFE ID; the path has its leading slash.
fn parts(id: &str) -> Option<(&str, &str)> {
    let rest = id.strip_prefix("spiffe://")?;
    rest.find('/').and_then(|slash| rest.split_at_checked(slash))
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.subject)).finish()
    }
}

/// Equal when they revoke the same.
impl PartialEq for RevocationList {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

#[cfg(test)]
mod tests;
