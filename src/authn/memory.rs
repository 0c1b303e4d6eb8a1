//! What was proven, and what was refused, a moment ago.
//!
//! A remembered credential is believed only under the epoch it was proven in and only within its own time, both checked
//! at every use. A refusal is remembered for seconds, so that a bad token that comes again and again costs one
//! verification; both have rooms of their own, so that no flood of bad tokens drives the good ones out.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use moka::Expiry;
use moka::sync::Cache;

use super::claims::User;
use super::provider::{Epoch, Providers};
use super::recent::Recent;
use super::refresh::Freshness;
use super::refused::{TokenFault, TokenRefused};

/// Places in the table in front of the cache, and the longest text it remembers: together at most 1 MiB of texts.
const RECENT: usize = 256;
const LONGEST_RECENT: usize = 4 * 1024;
/// Refusals remembered, at most, and for how long.
const MAX_REFUSED: u64 = 20_000;
const REFUSED_STAYS: Duration = Duration::from_secs(10);

type Digest = [u8; 32];

/// Remembers proofs and refusals. Bounded, whatever strangers send.
pub(super) struct Memory {
    recent: Recent<Arc<Proven>>,
    proven: Cache<Digest, Arc<Proven>, foldhash::fast::RandomState>,
    refused: Cache<(Digest, Where), Arc<Refusal>, foldhash::fast::RandomState>,
}

/// Where a credential stood. Who may take it depends on that, so a refusal counts for its place only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Where {
    /// Nowhere in particular: any provider may take it.
    Anywhere,
    /// In this slot, by its number among all of the epoch.
    Slot(usize),
}

/// A credential that was proven.
pub(super) struct Proven {
    pub(super) user: Arc<User>,
    /// The provider, by its place among all of the epoch.
    pub(super) provider: usize,
    name: Arc<str>,
    epoch: Epoch,
    freshness: Option<Freshness>,
    /// Until when a server's word is believed; nothing where no server was asked.
    believed: Option<SystemTime>,
    /// How long it may stay, from when it was put in.
    stay: Duration,
    weight: u32,
}

/// A token that was refused.
struct Refusal {
    refused: TokenRefused,
    epoch: Epoch,
    until: SystemTime,
}

/// What a remembered proof is worth now.
enum Worth {
    Good,
    Over(TokenRefused),
    /// It has to be made again.
    Nothing,
}

impl Proven {
    /// A proof of this moment. `length` is that of the credential.
    pub(super) fn new(
        user: Arc<User>,
        (provider, name, freshness): (usize, &Arc<str>, Option<Freshness>),
        (providers, believed, now): (&Providers, Option<SystemTime>, SystemTime),
        length: usize,
    ) -> Self {
        let until = user.window().until;
        let end = believed.map_or(until, |believed| believed.min(until));
        Self {
            user,
            provider,
            name: Arc::clone(name),
            epoch: providers.epoch().clone(),
            freshness,
            believed,
            stay: end.duration_since(now).unwrap_or(Duration::ZERO),
            weight: u32::try_from(length / 1024).unwrap_or(u32::MAX).saturating_add(1),
        }
    }

    fn worth(&self, providers: &Providers, now: SystemTime) -> Worth {
        if self.epoch != *providers.epoch() {
            return Worth::Nothing;
        }
        let window = self.user.window();
        if now >= window.until {
            return Worth::Over(TokenRefused::by(&self.name, window.over()));
        }
        if self.freshness.as_ref().is_some_and(|freshness| freshness.stale(now)) {
            return Worth::Over(TokenRefused::by(&self.name, TokenFault::KeysStale));
        }
        // Before its time only if the clock went back: let the full check say what is wrong.
        if now < window.from || self.believed.is_some_and(|until| now >= until) {
            return Worth::Nothing;
        }
        Worth::Good
    }
}

impl Memory {
    /// Remembers about `capacity` credentials of up to 1 KiB; a longer one takes the place of several.
    pub(super) fn new(capacity: u64) -> Self {
        let proven = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, proven: &Arc<Proven>| proven.weight)
            .expire_after(ByItself)
            .build_with_hasher(foldhash::fast::RandomState::default());
        let refused = Cache::builder()
            .max_capacity(MAX_REFUSED)
            .time_to_live(REFUSED_STAYS)
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self { recent: Recent::new(RECENT, LONGEST_RECENT), proven, refused }
    }

    /// What is known of exactly this text, found without hashing it for good.
    pub(super) fn at_once(
        &self,
        text: &str,
        providers: &Providers,
        now: SystemTime,
    ) -> Option<Result<Arc<Proven>, TokenRefused>> {
        let proven = self.recent.find(text.as_bytes())?;
        match proven.worth(providers, now) {
            Worth::Good => Some(Ok(proven)),
            Worth::Over(refused) => Some(Err(refused)),
            Worth::Nothing => None,
        }
    }

    /// What is known of this text in this place, which takes the credentials of some providers only.
    pub(super) fn find(
        &self,
        (text, digest): (&str, &Digest),
        (place, takes): (Where, impl Fn(usize) -> bool),
        (providers, now): (&Providers, SystemTime),
    ) -> Option<Result<Arc<Proven>, TokenRefused>> {
        if let Some(proven) = self.proven.get(digest).filter(|proven| takes(proven.provider)) {
            match proven.worth(providers, now) {
                Worth::Good => {
                    self.recent.put(text.as_bytes(), Arc::clone(&proven));
                    return Some(Ok(proven));
                }
                Worth::Over(refused) => return Some(Err(refused)),
                Worth::Nothing => {}
            }
        }
        let refusal = self.refused.get(&(*digest, place))?;
        let holds = refusal.epoch == *providers.epoch() && now < refusal.until;
        holds.then(|| Err(refusal.refused.clone()))
    }

    /// Remembers a proof.
    pub(super) fn proven(&self, text: &str, digest: Digest, proven: Arc<Proven>) {
        self.recent.put(text.as_bytes(), Arc::clone(&proven));
        self.proven.insert(digest, proven);
    }

    /// Remembers a refusal in this place, unless time or news could undo it.
    pub(super) fn refused(
        &self,
        (digest, place): (Digest, Where),
        refused: &TokenRefused,
        (providers, now): (&Providers, SystemTime),
    ) {
        if !refused.fault().is_lasting() {
            return;
        }
        let (refused, epoch) = (refused.clone(), providers.epoch().clone());
        let until = now + REFUSED_STAYS;
        self.refused.insert((digest, place), Arc::new(Refusal { refused, epoch, until }));
    }
}

/// Lets go of each proof when its own time is over.
struct ByItself;

impl Expiry<Digest, Arc<Proven>> for ByItself {
    fn expire_after_create(
        &self,
        _: &Digest,
        proven: &Arc<Proven>,
        _: Instant,
    ) -> Option<Duration> {
        Some(proven.stay)
    }

    fn expire_after_update(
        &self,
        _: &Digest,
        proven: &Arc<Proven>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(proven.stay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::Files;

    fn providers() -> Providers {
        Providers::new(&[], &Files::none()).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
    }

    #[test]
    fn a_bad_token_is_refused_from_memory_for_a_moment() {
        let (memory, here, changed) = (Memory::new(10), providers(), providers());
        let bad = TokenRefused::from(TokenFault::BadSignature);
        memory.refused(([7; 32], Where::Slot(1)), &bad, (&here, at(0)));
        let found = |digest: u8, place, providers: &Providers, now| {
            let known =
                memory.find(("token", &[digest; 32]), (place, |_| true), (providers, at(now)));
            known.map(|known| known.map(drop))
        };
        let there = Where::Slot(1);
        assert_eq!(found(7, there, &here, 9), Some(Err(bad)));
        assert_eq!(found(8, there, &here, 9), None, "another token");
        assert_eq!(found(7, Where::Slot(2), &here, 9), None, "another place, others may take it");
        assert_eq!(found(7, Where::Anywhere, &here, 9), None, "others may take it");
        assert_eq!(found(7, there, &here, 10), None, "only for a moment");
        assert_eq!(found(7, there, &changed, 9), None, "new keys or rules may take it");
    }

    #[test]
    fn what_time_or_news_could_undo_is_not_remembered() {
        let (memory, here) = (Memory::new(10), providers());
        for fault in [
            TokenFault::UnknownKey,
            TokenFault::KeysUnavailable,
            TokenFault::KeysStale,
            TokenFault::NotYetValid,
            TokenFault::IssuedInFuture,
        ] {
            memory.refused(([1; 32], Where::Anywhere), &fault.into(), (&here, at(0)));
            let anywhere = (Where::Anywhere, |_| true);
            assert!(memory.find(("token", &[1; 32]), anywhere, (&here, at(0))).is_none());
        }
    }
}
