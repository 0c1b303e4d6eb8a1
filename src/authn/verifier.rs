//! Proves credentials and certificates, and remembers what it proved.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::identity::{Members, TrustDomain};
use crate::policy::When;

use super::brake::BrakeKey;
use super::brakes::{Brakes, BrakesRules};
use super::claims::User;
use super::dpop::{DpopGuard, NoRandomness};
use super::evidence::PeerEvidence;
use super::learned::{Learned, Need};
use super::memory::{Memory, Proven, Where};
use super::online::{Known, Online};
use super::peer::{OnTheWire, Peer, PeerRefused, Peers, WireEvidence, WireRules};
use super::place::Slot;
use super::proof::{self, NoSteps, Proof, Rules};
use super::provider::{Provider, Providers};
use super::refused::{TokenFault, TokenRefused};
use super::unproven::{Unauthenticated, Unproven};

/// DPoP proofs remembered, at most: 17 bytes each.
const DPOP_PROOFS: usize = 200_000;

/// Proves credentials and peers. One per process.
pub struct Verifier {
    memory: Memory,
    peers: Peers,
    online: Arc<Online>,
    dpop: DpopGuard,
    brakes: Brakes,
}

/// What one credential is judged with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) providers: &'a Providers,
    pub(super) learned: &'a Learned,
    /// Where it comes from; nothing where that says nothing about who sent it.
    pub(super) source: Option<IpAddr>,
    pub(super) now: SystemTime,
}

/// A credential, with what it is found by.
#[derive(Clone, Copy)]
struct Presented<'a> {
    text: &'a str,
    digest: &'a [u8; 32],
    slot: &'a Slot,
}

impl Verifier {
    /// Remembers about `capacity` credentials of up to 1 KiB; a longer one takes the place of several.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(capacity: u64) -> Result<Self, NoRandomness> {
        Ok(Self {
            memory: Memory::new(capacity),
            peers: Peers::new(),
            online: Arc::new(Online::default()),
            dpop: DpopGuard::new(DPOP_PROOFS)?,
            brakes: Brakes::new(BrakesRules::usual()),
        })
    }

    /// With other brakes on bad credentials.
    #[must_use]
    pub fn with_brakes(mut self, rules: BrakesRules) -> Self {
        self.brakes = Brakes::new(rules);
        self
    }

    /// Proves a JWT of any of these providers, wherever it stood, and says whom it speaks for.
    ///
    /// # Errors
    /// When any rule of RFC 7519, RFC 8725 or of its provider is broken.
    pub fn user(
        &self,
        token: &str,
        providers: &Providers,
        now: SystemTime,
    ) -> Result<Arc<User>, TokenRefused> {
        if let Some(known) = self.memory.at_once(token, providers, now) {
            return known.map(|proven| Arc::clone(&proven.user));
        }
        if token.len() > super::MAX_TOKEN_LENGTH {
            return Err(TokenFault::TooLong.into());
        }
        let digest = super::digest(token.as_bytes());
        let anywhere = (Where::Anywhere, |_| true);
        if let Some(known) = self.memory.find((token, &digest), anywhere, (providers, now)) {
            return known.map(|proven| Arc::clone(&proven.user));
        }
        let among = providers.all().iter().filter_map(Rules::of);
        match proof::prove(token, among, now, &mut NoSteps) {
            Ok(Proof { provider, user }) => {
                let user = Arc::new(user);
                let proven = remembered(&user, provider, (providers, None, now), token.len());
                self.memory.proven(token, digest, Arc::new(proven));
                Ok(user)
            }
            Err(refused) => {
                self.memory.refused((digest, Where::Anywhere), &refused, (providers, now));
                Err(refused)
            }
        }
    }

    /// Proves a credential that stood in this place.
    pub(super) fn credential(
        &self,
        text: &str,
        slot: &Slot,
        context: &Context<'_>,
    ) -> Result<Arc<Proven>, Unproven> {
        let Context { providers, now, .. } = *context;
        if let Some(Ok(proven)) = self.memory.at_once(text, providers, now)
            && slot.takes(proven.provider)
        {
            return Ok(proven);
        }
        // Hashing what is too long to be read would be work for nothing.
        if text.len() > super::MAX_TOKEN_LENGTH {
            return Err(TokenRefused::from(TokenFault::TooLong).into());
        }
        let digest = super::digest(text.as_bytes());
        let place = (Where::Slot(slot.number), |provider| slot.takes(provider));
        match self.memory.find((text, &digest), place, (providers, now)) {
            Some(Ok(proven)) => return Ok(proven),
            // Newer keys may be had for the asking.
            Some(Err(refused)) if *refused.fault() == TokenFault::KeysStale => {}
            Some(Err(refused)) => return Err(self.counted(text, refused.into(), context)),
            None => {}
        }
        // Behind the memory: whoever is known already passes while strangers at the same address are held.
        self.held(text, context)?;
        let presented = Presented { text, digest: &digest, slot };
        match self.prove(presented, context) {
            Ok(proven) => {
                let proven = Arc::new(proven);
                self.memory.proven(text, digest, Arc::clone(&proven));
                Ok(proven)
            }
            Err(Unproven::Refused(refused)) => {
                if let Unauthenticated::Token(refused) = &refused {
                    let here = (digest, Where::Slot(slot.number));
                    self.memory.refused(here, refused, (providers, now));
                }
                Err(self.counted(text, refused, context))
            }
            Err(unknown @ Unproven::Unknown(_)) => Err(unknown),
        }
    }

    /// Who is asked about credentials that only a server can judge.
    pub(super) fn online(&self) -> &Arc<Online> {
        &self.online
    }

    /// Judges proofs of possession.
    pub(super) fn dpop(&self) -> &DpopGuard {
        &self.dpop
    }

    fn held(&self, text: &str, context: &Context<'_>) -> Result<(), Unproven> {
        let Brakes { addresses, credentials } = &self.brakes;
        let address = context.source.map(BrakeKey::Address);
        let address = address.and_then(|key| addresses.held(key, context.now));
        let credential = credentials.held(BrakeKey::Credential(text), context.now);
        match address.max(credential) {
            Some(pause) => Err(Unauthenticated::Braked(pause).into()),
            None => Ok(()),
        }
    }

    fn counted(&self, text: &str, refused: Unauthenticated, context: &Context<'_>) -> Unproven {
        if refused.is_guess() {
            if let Some(address) = context.source {
                self.brakes.addresses.failed(BrakeKey::Address(address), context.now);
            }
            self.brakes.credentials.failed(BrakeKey::Credential(text), context.now);
        }
        refused.into()
    }

    /// Finds who can prove it, and has it proven.
    fn prove(&self, it: Presented<'_>, context: &Context<'_>) -> Result<Proven, Unproven> {
        let slot = it.slot;
        let prefixed = slot.prefixed.iter().find(|(prefix, _)| it.text.starts_with(prefix));
        if let Some((_, provider)) = prefixed {
            return self.elsewhere(*provider, it, context);
        }
        if let (true, Some(provider)) = (slot.tokens.is_empty(), slot.anything) {
            return self.elsewhere(provider, it, context);
        }
        let refused = match self.jwt(it, context) {
            Err(Unproven::Refused(Unauthenticated::Token(refused))) => refused,
            other => return other,
        };
        // What is no JWT at all may be an opaque credential; what is one, of an issuer that is none of ours, may only be
        // something for whoever takes anything.
        let provider = match refused.fault() {
            TokenFault::Opaque | TokenFault::Malformed(_) | TokenFault::Encrypted => {
                slot.opaque.or(slot.anything)
            }
            TokenFault::UnknownIssuer | TokenFault::MissingIssuer => slot.anything,
            _of_a_provider => None,
        };
        match provider {
            Some(provider) => self.elsewhere(provider, it, context),
            None => Err(refused.into()),
        }
    }

    fn jwt(&self, it: Presented<'_>, context: &Context<'_>) -> Result<Proven, Unproven> {
        let Context { providers, learned, now, .. } = *context;
        let among = it.slot.tokens.iter().filter_map(|index| providers.all().get(*index));
        if let Some(index) = keyless(it, providers) {
            return self.judged(index, it, context);
        }
        match proof::prove(it.text, among.filter_map(Rules::of), now, &mut NoSteps) {
            Ok(Proof { provider, user }) => {
                let user = Arc::new(user);
                let believed = match providers.named(provider) {
                    Some((index, rules)) if rules.asks(When::Always) => {
                        Some(self.active(index, it, context)?.1)
                    }
                    Some(_) | None => None,
                };
                Ok(remembered(&user, provider, (providers, believed, now), it.text.len()))
            }
            Err(refused) => {
                let name = refused.provider_name().filter(|name| {
                    let fetched = providers.named(name).is_some_and(|(_, p)| p.fetched.is_some());
                    fetched && learned.may_ask_keys(name)
                });
                match (refused.fault(), name) {
                    (
                        TokenFault::UnknownKey
                        | TokenFault::KeysUnavailable
                        | TokenFault::KeysStale,
                        Some(name),
                    ) => Err(Unproven::Unknown(vec![Need::Keys(Arc::clone(name))])),
                    _ => Err(refused.into()),
                }
            }
        }
    }

    /// By a provider that is not told by an issuer.
    fn elsewhere(
        &self,
        index: usize,
        it: Presented<'_>,
        context: &Context<'_>,
    ) -> Result<Proven, Unproven> {
        let Context { providers, now, .. } = *context;
        let keys = providers.all().get(index).and_then(|p| Some((p, p.api_keys.as_ref()?)));
        let Some((provider, keys)) = keys else { return self.judged(index, it, context) };
        let key = keys.find(it.text, now).map_err(|refused| Unauthenticated::ApiKey {
            provider: Arc::clone(&provider.name),
            refused,
        })?;
        let user = Arc::new(User::of_api_key(&provider.name, key));
        Ok(remembered(&user, &provider.name, (providers, None, now), it.text.len()))
    }

    /// By a server alone.
    fn judged(
        &self,
        index: usize,
        it: Presented<'_>,
        context: &Context<'_>,
    ) -> Result<Proven, Unproven> {
        let Context { providers, now, .. } = *context;
        let (claims, believed) = self.active(index, it, context)?;
        let provider = providers.all().get(index).ok_or(TokenRefused::from(TokenFault::Opaque))?;
        let user = User::from_online(&provider.name, &provider.rules.spec, claims, now)
            .map_err(|fault| TokenRefused::by(&provider.name, fault))?;
        let user = Arc::new(user);
        Ok(remembered(&user, &provider.name, (providers, Some(believed), now), it.text.len()))
    }

    /// What the server of a provider says of a credential that it calls active, and until when that is believed.
    fn active(
        &self,
        index: usize,
        it: Presented<'_>,
        context: &Context<'_>,
    ) -> Result<(serde_json::Map<String, serde_json::Value>, SystemTime), Unproven> {
        let Context { providers, learned, now, .. } = *context;
        let asked = providers.all().get(index).and_then(|p| Some((p, p.online.as_ref()?)));
        let Some((provider, asked)) = asked else {
            return Err(TokenRefused::from(TokenFault::Opaque).into());
        };
        let name = || Arc::clone(&provider.name);
        let known = learned.known(asked, it.digest).cloned();
        match known.or_else(|| self.online.known(asked, it.digest, now)) {
            Some(Known::Active { claims, until }) => Ok(((*claims).clone(), until)),
            Some(Known::Inactive) => Err(Unauthenticated::Inactive(name()).into()),
            Some(Known::Unavailable(fault)) => {
                Err(Unauthenticated::NotJudged { provider: name(), fault }.into())
            }
            None if learned.may_ask() => Err(Unproven::Unknown(vec![Need::Online {
                asked: Arc::clone(asked),
                digest: *it.digest,
                token: Zeroizing::new(it.text.to_owned()),
            }])),
            None => {
                let fault = super::online::OnlineFault::NotAsked;
                Err(Unauthenticated::NotJudged { provider: name(), fault }.into())
            }
        }
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
        let evidence = PeerEvidence { principal, certificate };
        self.peers.workload(evidence, Members::of(domain), now)
    }

    /// Proves whoever is on the wire: a workload, a client of a provider, or either by the word of a named proxy.
    /// Nobody without any evidence of a connection's certificate, whatever the headers say.
    ///
    /// # Errors
    /// When there is evidence that proves nobody.
    pub fn on_the_wire(
        &self,
        evidence: &WireEvidence<'_>,
        rules: &WireRules<'_>,
        now: SystemTime,
    ) -> Result<Option<OnTheWire>, PeerRefused> {
        self.peers.on_the_wire(evidence, rules, now)
    }
}

fn remembered(
    user: &Arc<User>,
    name: &Arc<str>,
    (providers, believed, now): (&Providers, Option<SystemTime>, SystemTime),
    length: usize,
) -> Proven {
    let (index, freshness) = match providers.named(name) {
        Some((index, provider)) => (index, provider.freshness()),
        // Cannot be: the proof came from among them. Then the place of none, which no slot takes.
        None => (usize::MAX, None),
    };
    Proven::new(Arc::clone(user), (index, name, freshness), (providers, believed, now), length)
}

/// The provider whose token this says it is, if a server alone judges its tokens.
fn keyless(it: Presented<'_>, providers: &Providers) -> Option<usize> {
    let is_keyless = |provider: &Provider| {
        provider.rules.spec.tokens.as_ref().is_some_and(|tokens| tokens.keys.is_none())
    };
    let of = |index: &&usize| providers.all().get(**index).is_some_and(is_keyless);
    if !it.slot.tokens.iter().any(|index| of(&index)) {
        return None;
    }
    let issuer = proof::claimed_issuer(it.text)?;
    it.slot.tokens.iter().filter(of).copied().find(|index| {
        let tokens = providers.all().get(*index).and_then(|p| p.rules.spec.tokens.as_ref());
        tokens.is_some_and(|tokens| tokens.issuers.contains(&issuer))
    })
}
