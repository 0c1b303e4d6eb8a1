//! Proves tokens and certificates, and remembers what it proved.
//!
//! A remembered token is believed only under the epoch it was proven in and only within its own time, both checked at
//! every use. Refusals are never remembered.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use moka::Expiry;
use moka::sync::Cache;

use crate::identity::TrustDomain;

use super::claims::{self, User};
use super::peer::{Peer, PeerRefused};
use super::provider::{Epoch, Provider, Providers};
use super::recent::Recent;
use super::refused::{TokenFault, TokenRefused};
use super::token::Unverified;

/// Places in each table in front of the cache, and the longest text it remembers: together at most 2 MiB of texts.
const RECENT: usize = 256;
const LONGEST_RECENT: usize = 4 * 1024;

/// Proves tokens and peers. One per process.
pub struct Verifier {
    recent: Recent<Arc<Proven>>,
    cache: Cache<[u8; 32], Arc<Proven>, foldhash::fast::RandomState>,
    peers: Recent<Arc<Peer>>,
}

/// A token that was proven.
struct Proven {
    user: Arc<User>,
    provider: Arc<str>,
    epoch: Epoch,
    /// How long it may stay, from when it was put in.
    stay: Duration,
    weight: u32,
}

impl Verifier {
    /// Remembers about `capacity` tokens of up to 1 KiB; a longer token takes the place of several.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, proven: &Arc<Proven>| proven.weight)
            .expire_after(ByItself)
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self {
            recent: Recent::new(RECENT, LONGEST_RECENT),
            cache,
            peers: Recent::new(RECENT, LONGEST_RECENT),
        }
    }

    /// Proves a token and says whom it speaks for.
    ///
    /// # Errors
    /// When any rule of RFC 7519, RFC 8725 or of its provider is broken.
    pub fn user(
        &self,
        token: &str,
        providers: &Providers,
        now: SystemTime,
    ) -> Result<Arc<User>, TokenRefused> {
        if let Some(proven) = self.recent.find(token.as_bytes())
            && let Some(known) = proven.judge(providers, now)
        {
            return known;
        }
        // Hashing what is too long to be read would be work for nothing.
        if token.len() > super::MAX_TOKEN_LENGTH {
            return Err(TokenFault::TooLong.into());
        }
        let digest = super::digest(token.as_bytes());
        if let Some(proven) = self.cache.get(&digest)
            && let Some(known) = proven.judge(providers, now)
        {
            if known.is_ok() {
                self.recent.put(token.as_bytes(), proven);
            }
            return known;
        }
        let proven = Arc::new(prove(token, providers, now)?);
        let user = Arc::clone(&proven.user);
        self.cache.insert(digest, Arc::clone(&proven));
        self.recent.put(token.as_bytes(), proven);
        Ok(user)
    }

    /// Proves that a certificate, as Envoy sends it, is that of a workload of `domain` and says which.
    ///
    /// # Errors
    /// When either part is missing, they disagree, or the certificate breaks a rule.
    pub fn peer(
        &self,
        principal: &str,
        certificate: &str,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Arc<Peer>, PeerRefused> {
        if principal.is_empty() {
            return Err(PeerRefused::PrincipalMissing);
        }
        if certificate.is_empty() {
            return Err(PeerRefused::CertificateMissing);
        }
        if let Some(peer) = self.peers.find(certificate.as_bytes()) {
            peer.judge(principal, domain, now)?;
            return Ok(peer);
        }
        let peer = Arc::new(Peer::read(certificate)?);
        peer.judge(principal, domain, now)?;
        self.peers.put(certificate.as_bytes(), Arc::clone(&peer));
        Ok(peer)
    }
}

impl Proven {
    /// What a remembered proof is worth now; nothing when it has to be made again.
    fn judge(
        &self,
        providers: &Providers,
        now: SystemTime,
    ) -> Option<Result<Arc<User>, TokenRefused>> {
        if self.epoch != *providers.epoch() {
            return None;
        }
        let window = self.user.window();
        if now >= window.until {
            return Some(Err(TokenRefused::by(&self.provider, TokenFault::Expired)));
        }
        // Before its time only if the clock went back: let the full check say what is wrong.
        (now >= window.from).then(|| Ok(Arc::clone(&self.user)))
    }
}

/// The whole proof: form, header, issuer, algorithm, signature, claims.
fn prove(token: &str, providers: &Providers, now: SystemTime) -> Result<Proven, TokenRefused> {
    let unverified = Unverified::read(token)?;
    let claims = unverified.claims()?;
    let provider =
        providers.by_issuer(claims::issuer(&claims)?).ok_or(TokenFault::UnknownIssuer)?;
    let refused = |fault| TokenRefused::by(&provider.name, fault);
    signed_by(provider, &unverified).map_err(refused)?;
    let user =
        User::from_claims(&provider.name, &provider.rules.spec, claims, now).map_err(refused)?;
    Ok(Proven {
        stay: user.window().until.duration_since(now).unwrap_or(Duration::ZERO),
        weight: u32::try_from(token.len() / 1024).unwrap_or(u32::MAX).saturating_add(1),
        user: Arc::new(user),
        provider: Arc::clone(&provider.name),
        epoch: providers.epoch().clone(),
    })
}

fn signed_by(provider: &Provider, token: &Unverified<'_>) -> Result<(), TokenFault> {
    if !provider.rules.spec.algorithms.contains(&token.algorithm) {
        return Err(TokenFault::Algorithm);
    }
    provider.keys.as_ref().ok_or(TokenFault::KeysUnavailable)?.verify(token)
}

/// Lets go of each token when its own time is over.
struct ByItself;

impl Expiry<[u8; 32], Arc<Proven>> for ByItself {
    fn expire_after_create(
        &self,
        _: &[u8; 32],
        proven: &Arc<Proven>,
        _: Instant,
    ) -> Option<Duration> {
        Some(proven.stay)
    }

    fn expire_after_update(
        &self,
        _: &[u8; 32],
        proven: &Arc<Proven>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(proven.stay)
    }
}
