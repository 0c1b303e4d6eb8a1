//! What to look at when a token is refused: here both sides can be shown, which a gate must not do.

use serde_json::{Map, Value};

use super::keys_of;
use crate::authn::{TokenFault, TokenRefused};
use crate::policy::{Audience, IdentityProvider, Keys};

/// What is known of a refused token and of those who could vouch for it.
pub(super) struct View<'s> {
    pub(super) header: Option<Map<String, Value>>,
    pub(super) claims: Option<Map<String, Value>>,
    pub(super) specs: &'s [IdentityProvider],
}

impl View<'_> {
    /// True when some provider has a server, or a file, that judges what is no JWT.
    pub(super) fn asks_servers(&self) -> bool {
        self.specs.iter().any(|spec| spec.spec.online.is_some() || spec.spec.api_keys.is_some())
    }

    pub(super) fn hint(&self, refused: &TokenRefused) -> Option<String> {
        let spec = self.specs.iter().find(|s| Some(s.metadata.name.as_str()) == refused.provider());
        self.own(refused.fault(), spec).or_else(|| refused.hint().map(str::to_owned))
    }

    fn own(&self, fault: &TokenFault, spec: Option<&IdentityProvider>) -> Option<String> {
        match fault {
            TokenFault::Opaque => Some(
                "give its provider `introspection` or `userinfo`, or have it issue JWTs".to_owned(),
            ),
            TokenFault::Encrypted => {
                Some("five parts are a JWE: at Auth0, ask for a token with an audience".to_owned())
            }
            TokenFault::UnknownIssuer => self.issuer(),
            TokenFault::WrongAudience => audience(self.claims.as_ref()?, spec?),
            TokenFault::Algorithm => {
                let allowed = &spec?.spec.tokens.as_ref()?.algorithms;
                Some(format!("it says {}; {allowed:?} are allowed", self.header_text("alg")?))
            }
            TokenFault::Type => {
                let types = &spec?.spec.tokens.as_ref()?.types;
                let said = self.header_text("typ").unwrap_or("nothing");
                Some(format!("it says {said}; allowed is {}", types.named.join(", ")))
            }
            TokenFault::UnknownKey => Some(match self.header_text("kid") {
                Some(kid) => format!(
                    "the token names the key {kid}, and the provider has none of this name that fits"
                ),
                None => {
                    "the token names no key, and none of the provider fits its algorithm".to_owned()
                }
            }),
            TokenFault::BadSignature if matches!(keys_of(spec?), Some(Keys::SecretFile(_))) => {
                Some("is the file the issuer's secret, byte for byte?".to_owned())
            }
            TokenFault::RequiredClaimOther(_)
            | TokenFault::RequiredClaimMissing(_)
            | TokenFault::RefusedClaim(_) => Some(
                "is it an access token? ID and refresh tokens are refused by such claims"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    fn header_text(&self, name: &str) -> Option<&str> {
        self.header.as_ref()?.get(name)?.as_str()
    }

    /// Issuers are compared byte by byte, and most mistakes are one byte.
    fn issuer(&self) -> Option<String> {
        let said = self.claims.as_ref()?.get("iss")?.as_str()?;
        let ours: Vec<&String> = self
            .specs
            .iter()
            .filter_map(|spec| spec.spec.tokens.as_ref())
            .flat_map(|tokens| &tokens.issuers)
            .collect();
        let bare = |issuer: &str| issuer.trim_end_matches('/').to_ascii_lowercase();
        match ours.iter().find(|issuer| bare(issuer) == bare(said)) {
            Some(near) => Some(format!(
                "the token says `{said}`, the provider `{near}`: not one character may differ, not even the last slash"
            )),
            None => {
                let ours: Vec<&str> = ours.iter().map(|issuer| issuer.as_str()).collect();
                Some(format!("the token says `{said}`; known are {}", ours.join(", ")))
            }
        }
    }
}

fn audience(claims: &Map<String, Value>, spec: &IdentityProvider) -> Option<String> {
    let Audience::AnyOf { audiences, claims: names } = &spec.spec.rules.audience else {
        return None;
    };
    let said: Vec<String> = names
        .iter()
        .map(|name| match claims.get(name) {
            Some(value) => format!("{name} {value}"),
            None => format!("no {name}"),
        })
        .collect();
    Some(format!("the token has {}; it must name one of {}", said.join(", "), audiences.join(", ")))
}
