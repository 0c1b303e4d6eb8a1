//! What a verified token says, and the rules that every token has to keep (RFC 7519, RFC 8725, RFC 9068).
//!
//! The same rules judge what a server answered about an opaque token; there the signature is the server's TLS, and
//! `exp` may be absent because the answer itself is believed only for a while.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::identity::{SpiffeId, TrustDomain};
use crate::policy::{
    Audience, ClaimRules, Confirmation, Groups, IdentityProviderSpec, Question, Quirk, TokenRules,
    UserFacts, UserParts,
};

use super::api_key::ApiKey;
use super::certificate::ProvenClient;
use super::proof::{NoSteps, Rules, Step, Steps, told};
use super::refused::TokenFault;

mod confirmation;
mod mapping;
mod path;
mod time;

pub use confirmation::Cnf;
use mapping::Mapped;
pub(super) use time::Window;
use time::{Ending, Limits};

const SPIFFE: &str = "spiffe://";

/// Whoever a verified credential speaks for. Only a [`super::Verifier`] makes one.
pub struct User {
    facts: UserFacts,
    expires_at: Option<SystemTime>,
    token_id: Option<String>,
    cnf: Option<Cnf>,
    window: Window,
}

/// Whether claims without any audience are for us.
#[derive(Clone, Copy)]
enum NoAudience {
    Refused,
    /// The server answers only about tokens that are for it, and does not repeat for whom.
    Accepted,
}

impl User {
    /// Judges the claims of a token whose signature is proven, and takes from it what policies ask for.
    pub(super) fn from_claims(
        rules: &Rules<'_>,
        claims: Map<String, Value>,
        now: SystemTime,
        steps: &mut impl Steps,
    ) -> Result<Self, TokenFault> {
        let demand =
            Demand { spec: rules.spec, ending: Ending::Required, no_audience: NoAudience::Refused };
        demand.judge(rules.name, claims, now, steps)
    }

    /// Judges claims that a server answered about a credential, and takes from them what policies ask for. `exp` may be
    /// absent; an issuer that is named must be the provider's. Of an introspection the audience is demanded like a
    /// token's; where the other servers name none, theirs is believed to be us.
    ///
    /// # Errors
    /// When the claims break a rule of the provider.
    pub(super) fn from_online(
        provider: &str,
        spec: &IdentityProviderSpec,
        claims: Map<String, Value>,
        now: SystemTime,
    ) -> Result<Self, TokenFault> {
        if let (Some(tokens), Some(issuer)) = (&spec.tokens, text(&claims, "iss")?)
            && !tokens.issuers.iter().any(|ours| ours == issuer)
        {
            return Err(TokenFault::UnknownIssuer);
        }
        let no_audience = match spec.online.as_ref().map(|online| &online.question) {
            Some(Question::Userinfo { .. } | Question::TokenReview { .. }) => NoAudience::Accepted,
            Some(Question::Introspection { .. }) | None => NoAudience::Refused,
        };
        let demand = Demand { spec, ending: Ending::Optional, no_audience };
        demand.judge(provider, claims, now, &mut NoSteps)
    }

    /// Whoever an API key speaks for.
    pub(super) fn of_api_key(provider: &str, key: &ApiKey) -> Self {
        let parts = UserParts {
            roles: key.roles().to_vec(),
            scopes: key.scopes().to_vec(),
            groups: Groups::Known(key.groups().to_vec()),
            tenant: key.tenant().map(str::to_owned),
            email: key.email().map(str::to_owned),
            claims: key.claims().clone(),
            ..UserParts::of(provider, key.subject())
        };
        Self {
            facts: UserFacts::new(parts),
            expires_at: key.expires(),
            token_id: Some(key.id().to_owned()),
            cnf: None,
            window: Window::until(key.expires()),
        }
    }

    /// The client whose certificate this is. The certificate was judged already, and is at every use.
    pub(super) fn of_certificate(proven: &ProvenClient) -> Self {
        let client = &proven.client;
        let parts = UserParts {
            confirmation: Some(Confirmation::Certificate),
            ..UserParts::of(&proven.provider, client.subject())
        };
        Self {
            facts: UserFacts::new(parts),
            expires_at: Some(client.not_after()),
            token_id: Some(client.serial().to_owned()),
            cnf: None,
            window: Window::until(Some(client.not_after())),
        }
    }

    /// What policies are asked about.
    #[must_use]
    pub fn facts(&self) -> &UserFacts {
        &self.facts
    }

    /// The `exp`, without the leeway that it is accepted for. A token always has one; a server's answer may not.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// The token's `jti`.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// The key that the credential is bound to. It counts only with a proof of each that stands there.
    #[must_use]
    pub fn cnf(&self) -> Option<&Cnf> {
        self.cnf.as_ref()
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }
}

/// Shows whose token it was, not what stood in it.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("provider", &self.facts.provider())
            .field("subject", &self.facts.subject())
            .finish_non_exhaustive()
    }
}

/// What claims are held against.
struct Demand<'s> {
    spec: &'s IdentityProviderSpec,
    ending: Ending,
    no_audience: NoAudience,
}

impl Demand<'_> {
    fn judge(
        &self,
        provider: &str,
        claims: Map<String, Value>,
        now: SystemTime,
        steps: &mut impl Steps,
    ) -> Result<User, TokenFault> {
        let ClaimRules { audience, leeway, max_age, require, refuse } = &self.spec.rules;
        let limits = Limits { leeway: *leeway, max_age: *max_age };
        let (window, expires_at) = Window::judge(&claims, limits, self.ending, now, steps)?;
        told(steps, Step::Audience, || check_audience(&claims, audience, self.no_audience))?;
        told(steps, Step::RequiredClaims, || path::require(&claims, require))?;
        told(steps, Step::Kind, || path::refuse(&claims, refuse))?;
        let cnf = told(steps, Step::Confirmation, || Cnf::read(&claims))?;
        let (mapped, token_id) = told(steps, Step::Mapping, || {
            let mapped = Mapped::of(&claims, &self.spec.claims)?;
            check_subject(&claims, self.spec.tokens.as_ref())?;
            Ok((mapped, text(&claims, "jti")?.map(str::to_owned)))
        })?;
        let Mapped { subject, roles, scopes, groups, tenant, email } = mapped;
        let facts = UserFacts::new(UserParts {
            provider: provider.to_owned(),
            subject,
            roles,
            scopes,
            groups,
            tenant,
            email,
            confirmation: cnf.as_ref().map(|cnf| match cnf.jkt() {
                Some(_) => Confirmation::Dpop,
                None => Confirmation::Certificate,
            }),
            claims,
        });
        Ok(User { facts, expires_at, token_id, cnf, window })
    }
}

/// The issuer a payload names. Read before anything is proven, only to find the rules to prove it by. A JWT-SVID may
/// name none: then its trust domain is the issuer.
pub(super) fn issuer(claims: &Map<String, Value>) -> Result<Cow<'_, str>, TokenFault> {
    if let Some(issuer) = text(claims, "iss")? {
        return Ok(Cow::Borrowed(issuer));
    }
    let domain = spiffe_id(claims).ok_or(TokenFault::MissingIssuer)?.trust_domain();
    Ok(Cow::Owned(format!("{SPIFFE}{domain}")))
}

/// The subject of a JWT-SVID is a SPIFFE ID, and of one of the trust domains that the provider stands for, if it says
/// which.
fn check_subject(
    claims: &Map<String, Value>,
    tokens: Option<&TokenRules>,
) -> Result<(), TokenFault> {
    let Some(TokenRules { issuers, quirk: Quirk::JwtSvid, .. }) = tokens else { return Ok(()) };
    let id = spiffe_id(claims).ok_or(TokenFault::SubjectNotAllowed)?;
    let mut domains = issuers.iter().filter_map(|issuer| issuer.strip_prefix(SPIFFE)).peekable();
    let any = domains.peek().is_none();
    let fits = |name: &str| TrustDomain::parse(name).is_ok_and(|domain| id.is_member_of(&domain));
    if any || domains.any(fits) { Ok(()) } else { Err(TokenFault::SubjectNotAllowed) }
}

fn spiffe_id(claims: &Map<String, Value>) -> Option<SpiffeId> {
    SpiffeId::parse(claims.get("sub")?.as_str()?).ok()
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Option<&'c str>, TokenFault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenFault::InvalidClaim(name.to_owned())),
    }
}

/// One of our audiences in one of the claims where it may stand: one text there, or several. All of them are read before
/// one is believed.
fn check_audience(
    claims: &Map<String, Value>,
    rule: &Audience,
    without: NoAudience,
) -> Result<(), TokenFault> {
    let (ours, places) = match rule {
        Audience::Unchecked => return Ok(()),
        Audience::AnyOf { audiences, claims } => (audiences, claims),
    };
    let is_ours = |held: &str| ours.iter().any(|ours| ours == held);
    let (mut there, mut found) = (false, false);
    for place in places {
        let invalid = || TokenFault::InvalidClaim(place.clone());
        match claims.get(place) {
            None => continue,
            Some(Value::String(one)) => found |= is_ours(one),
            Some(Value::Array(several)) => {
                for one in several {
                    found |= is_ours(one.as_str().ok_or_else(invalid)?);
                }
            }
            Some(_) => return Err(invalid()),
        }
        there = true;
    }
    match (found, there, without) {
        (true, _, _) | (false, false, NoAudience::Accepted) => Ok(()),
        (false, true, _) | (false, false, NoAudience::Refused) => Err(TokenFault::WrongAudience),
    }
}

#[cfg(test)]
mod tests;
