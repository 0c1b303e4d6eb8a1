//! The whole proof of one JWT, step by step: form, issuer, header, key, signature, times, claims.
//!
//! Production and `hopgate token inspect` run this same code. Each check is a [`Step`] that a [`Steps`] is told of; the
//! one of production does nothing and costs nothing. The first failure ends the proof, so what comes after it is not
//! reached.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::policy::{IdentityProviderSpec, Quirk, TokenRules};

use super::claims::{self, User};
use super::keys::KeySet;
use super::provider::{Provider, Providers};
use super::refused::{OtherApi, TokenFault, TokenRefused};
use super::token::Unverified;

/// One check of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Three canonical parts, strict JSON, and nothing in the header that changes what a token is.
    Form,
    /// A provider has its issuer.
    Issuer,
    /// The header says the right kind, and nothing it may not say.
    HeaderType,
    /// The provider allows its algorithm.
    Algorithm,
    /// A key of the provider fits.
    Key,
    /// That key made its signature.
    Signature,
    /// `exp` is there and to come.
    Expiry,
    /// `nbf` has passed.
    NotBefore,
    /// `iat` has passed, and not too long ago.
    IssuedAt,
    /// It was made for us.
    Audience,
    /// The required claims are there.
    RequiredClaims,
    /// The refused claims are not: it is no ID, refresh or reset token.
    Kind,
    /// Its `cnf`, if it has one, is of a known kind. Whether the sender has that key is not part of the token.
    Confirmation,
    /// It says who it speaks for, and roles, scopes and groups can be read.
    Mapping,
}

/// Is told of each check.
pub trait Steps {
    /// A check passed, or failed and ended the proof.
    fn tell(&mut self, step: Step, outcome: Result<(), &TokenFault>);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoSteps;

/// Remembers every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldSteps {
    told: Vec<(Step, Result<(), TokenFault>)>,
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'s> {
    /// It passed.
    Passed,
    /// It failed.
    Failed(&'s TokenFault),
    /// A check before it failed.
    NotReached,
}

/// A proven token.
pub(super) struct Proof<'p> {
    /// The name of the provider.
    pub(super) provider: &'p Arc<str>,
    pub(super) user: User,
}

/// What a token is held against: the rules and keys of one provider.
#[derive(Clone, Copy)]
pub(super) struct Rules<'p> {
    pub(super) name: &'p Arc<str>,
    pub(super) spec: &'p IdentityProviderSpec,
    pub(super) tokens: &'p TokenRules,
    /// Nothing before they were ever fetched.
    pub(super) keys: Option<&'p KeySet>,
    provider: &'p Provider,
}

impl Step {
    /// Every step, in the order of the proof.
    pub const ALL: [Self; 14] = [
        Self::Form,
        Self::Issuer,
        Self::HeaderType,
        Self::Algorithm,
        Self::Key,
        Self::Signature,
        Self::Expiry,
        Self::NotBefore,
        Self::IssuedAt,
        Self::Audience,
        Self::RequiredClaims,
        Self::Kind,
        Self::Confirmation,
        Self::Mapping,
    ];

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Issuer => "issuer",
            Self::HeaderType => "header type",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Expiry => "expiry",
            Self::NotBefore => "not before",
            Self::IssuedAt => "issued at",
            Self::Audience => "audience",
            Self::RequiredClaims => "required claims",
            Self::Kind => "kind",
            Self::Confirmation => "confirmation",
            Self::Mapping => "mapping",
        }
    }
}

impl Steps for NoSteps {
    fn tell(&mut self, _: Step, _: Result<(), &TokenFault>) {}
}

impl ToldSteps {
    /// Nothing told yet.
    #[must_use]
    pub fn new() -> Self {
        Self { told: Vec::with_capacity(Step::ALL.len()) }
    }

    /// Every step with what became of it, in the order of the proof.
    pub fn outcomes(&self) -> impl Iterator<Item = (Step, Outcome<'_>)> {
        Step::ALL.into_iter().map(|step| {
            let told = self.told.iter().find(|(told, _)| *told == step);
            let outcome = match told {
                None => Outcome::NotReached,
                Some((_, Ok(()))) => Outcome::Passed,
                Some((_, Err(fault))) => Outcome::Failed(fault),
            };
            (step, outcome)
        })
    }
}

impl Default for ToldSteps {
    fn default() -> Self {
        Self::new()
    }
}

impl Steps for ToldSteps {
    fn tell(&mut self, step: Step, outcome: Result<(), &TokenFault>) {
        self.told.push((step, outcome.map_err(Clone::clone)));
    }
}

/// Makes a check and tells what came of it.
pub(super) fn told<T>(
    steps: &mut impl Steps,
    step: Step,
    check: impl FnOnce() -> Result<T, TokenFault>,
) -> Result<T, TokenFault> {
    let outcome = check();
    steps.tell(step, outcome.as_ref().map(|_| ()));
    outcome
}

/// Proves a token as production does, telling each check, and remembers nothing.
///
/// # Errors
/// When any rule of RFC 7519, RFC 8725 or of its provider is broken.
pub fn inspect(
    token: &str,
    providers: &Providers,
    now: SystemTime,
    steps: &mut impl Steps,
) -> Result<User, TokenRefused> {
    let among = providers.all().iter().filter_map(Rules::of);
    prove(token, among, now, steps).map(|proof| proof.user)
}

/// The issuer that a token names, before anything is proven: only to find who judges it.
pub(super) fn claimed_issuer(token: &str) -> Option<String> {
    let claims = Unverified::read(token).ok()?.claims().ok()?;
    claims::issuer(&claims).ok().map(std::borrow::Cow::into_owned)
}

/// The whole proof, among the providers whose tokens may stand where this one stood.
pub(super) fn prove<'p>(
    token: &str,
    among: impl Iterator<Item = Rules<'p>> + Clone,
    now: SystemTime,
    steps: &mut impl Steps,
) -> Result<Proof<'p>, TokenRefused> {
    let (unverified, claims) = told(steps, Step::Form, || {
        let unverified = Unverified::read(token)?;
        let claims = unverified.claims()?;
        Ok((unverified, claims))
    })?;
    let rules = told(steps, Step::Issuer, || find(&claims, among))?;
    match rules.judge(&unverified, claims, now, steps) {
        Ok(user) => Ok(Proof { provider: rules.name, user }),
        Err(fault) => Err(TokenRefused::by(rules.name, fault)),
    }
}

/// The provider that has the token's issuer. Nothing is proven yet: the issuer only chooses the keys to prove it by.
fn find<'p>(
    claims: &Map<String, Value>,
    among: impl Iterator<Item = Rules<'p>> + Clone,
) -> Result<Rules<'p>, TokenFault> {
    let issuer = claims::issuer(claims)?;
    let has = |rules: &Rules<'_>| rules.tokens.issuers.iter().any(|ours| *ours == *issuer);
    if let Some(rules) = among.clone().find(has) {
        // Without `iss` only a trust domain can be the issuer.
        return match (claims.contains_key("iss"), rules.tokens.quirk) {
            (true, _) | (false, Quirk::JwtSvid) => Ok(rules),
            (false, Quirk::None | Quirk::EntraGraph | Quirk::OktaOrganization) => {
                Err(TokenFault::MissingIssuer)
            }
        };
    }
    // Okta's own server stands at the host of a custom one, without its path.
    let beside = |ours: &String| {
        ours.strip_prefix(&*issuer).is_some_and(|path| path.starts_with("/oauth2/"))
    };
    let okta = among
        .filter(|rules| rules.tokens.quirk == Quirk::OktaOrganization)
        .any(|rules| rules.tokens.issuers.iter().any(beside));
    Err(if okta {
        TokenFault::AnotherApi(OtherApi::OktaOrganization)
    } else if claims.contains_key("iss") {
        TokenFault::UnknownIssuer
    } else {
        TokenFault::MissingIssuer
    })
}

impl<'p> Rules<'p> {
    /// Nothing where the provider has no JWTs.
    pub(super) fn of(provider: &'p Provider) -> Option<Self> {
        let spec = &provider.rules.spec;
        let tokens = spec.tokens.as_ref()?;
        Some(Self { name: &provider.name, spec, tokens, keys: provider.keys.as_deref(), provider })
    }
}

impl Rules<'_> {
    fn judge(
        &self,
        token: &Unverified<'_>,
        claims: Map<String, Value>,
        now: SystemTime,
        steps: &mut impl Steps,
    ) -> Result<User, TokenFault> {
        told(steps, Step::HeaderType, || self.header(token))?;
        told(steps, Step::Algorithm, || {
            let allowed = self.tokens.algorithms.contains(&token.algorithm()?);
            if allowed { Ok(()) } else { Err(TokenFault::Algorithm) }
        })?;
        let fitting = told(steps, Step::Key, || {
            let keys = self.keys.ok_or(TokenFault::KeysUnavailable)?;
            if self.provider.stale(now) {
                return Err(TokenFault::KeysStale);
            }
            keys.fitting(token)
        })?;
        told(steps, Step::Signature, || {
            fitting.verify(token).map_err(|fault| self.hint(fault, &claims))
        })?;
        User::from_claims(self, claims, now, steps)
    }

    fn header(&self, token: &Unverified<'_>) -> Result<(), TokenFault> {
        match self.tokens.quirk {
            Quirk::JwtSvid if !token.has_only(&["alg", "kid", "typ"]) => {
                return Err(TokenFault::HeaderMember);
            }
            // Microsoft signs with the hash of this nonce in its place, so the signature never fits.
            Quirk::EntraGraph if token.has("nonce") => {
                return Err(TokenFault::AnotherApi(OtherApi::MicrosoftGraph));
            }
            Quirk::None | Quirk::EntraGraph | Quirk::OktaOrganization | Quirk::JwtSvid => {}
        }
        if self.tokens.types.allow(token.typ()) { Ok(()) } else { Err(TokenFault::Type) }
    }

    /// A signature that cannot fit, where the provider is known for it. An unknown key stays one: it may be new.
    fn hint(&self, fault: TokenFault, claims: &Map<String, Value>) -> TokenFault {
        let organization = self.tokens.quirk == Quirk::OktaOrganization
            && claims
                .get("iss")
                .and_then(Value::as_str)
                .is_some_and(|iss| !iss.contains("/oauth2/"));
        match fault {
            TokenFault::BadSignature if organization => {
                TokenFault::AnotherApi(OtherApi::OktaOrganization)
            }
            other => other,
        }
    }
}
