//! The authentication schemes by which credentials may come, for challenges.

use super::provider::Providers;
use crate::policy::{ConfirmationRules, Demand, IdentityProvider, Place};

/// A way to authenticate that a challenge may name (RFC 9110, section 11.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthScheme {
    /// `Bearer` (RFC 6750).
    Bearer,
    /// `DPoP` (RFC 9449). Named only where it is demanded or a place of its own: elsewhere a client that can do no more
    /// than Bearer would take it for a demand.
    Dpop,
    /// Another one of a provider, in `Authorization`.
    Other(String),
    /// A header of its own: no scheme is registered for that, and the header's name is not told to strangers.
    ApiKey,
    /// A cookie: no scheme is registered for that either.
    Cookie,
    /// A client certificate; neither here.
    Certificate,
}

impl Providers {
    /// The schemes of all places, each once. Those that no registry knows are there only where there is no other: a
    /// refusal for want of credentials must name one.
    #[must_use]
    pub fn schemes(&self) -> Vec<AuthScheme> {
        let all = self.all().iter().flat_map(|provider| of(&provider.rules));
        let mut known: Vec<AuthScheme> = Vec::with_capacity(2);
        let mut unregistered: Vec<AuthScheme> = Vec::new();
        for scheme in all {
            let list = match &scheme {
                AuthScheme::Bearer | AuthScheme::Dpop | AuthScheme::Other(_) => &mut known,
                AuthScheme::ApiKey | AuthScheme::Cookie | AuthScheme::Certificate => {
                    &mut unregistered
                }
            };
            if !list.contains(&scheme) {
                list.push(scheme);
            }
        }
        if !known.is_empty() {
            return known;
        }
        // Without any provider `Authorization: Bearer` is what is looked at.
        if unregistered.is_empty() { vec![AuthScheme::Bearer] } else { unregistered }
    }
}

fn of(provider: &IdentityProvider) -> Vec<AuthScheme> {
    let spec = &provider.spec;
    let mut schemes: Vec<AuthScheme> = Vec::new();
    for place in &spec.places.list {
        match place {
            Place::Header { name, scheme: Some(scheme) } if name == "authorization" => {
                if scheme.eq_ignore_ascii_case("Bearer") {
                    schemes.extend(bearer(&spec.confirmation));
                } else if scheme.eq_ignore_ascii_case("DPoP") {
                    schemes.push(AuthScheme::Dpop);
                } else {
                    schemes.push(AuthScheme::Other(scheme.clone()));
                }
            }
            // RFC 6750, section 2.3.
            Place::Query { name } if name == "access_token" => {
                schemes.extend(bearer(&spec.confirmation));
            }
            Place::Header { .. } | Place::Query { .. } => schemes.push(AuthScheme::ApiKey),
            Place::Cookie { .. } => schemes.push(AuthScheme::Cookie),
        }
    }
    if spec.certificates.is_some() {
        schemes.push(AuthScheme::Certificate);
    }
    schemes
}

/// What a client must say where `Bearer` is written.
fn bearer(rules: &ConfirmationRules) -> Vec<AuthScheme> {
    match (rules.dpop, rules.certificate) {
        (Demand::Accepted, _) => vec![AuthScheme::Bearer],
        (Demand::Required, Demand::Accepted) => vec![AuthScheme::Dpop],
        // Either proof does, and one that is bound to a certificate comes as Bearer.
        (Demand::Required, Demand::Required) => vec![AuthScheme::Dpop, AuthScheme::Bearer],
    }
}
