//! The `WWW-Authenticate` challenges of refusals (RFC 9110, section 11.6.1).
//!
//! A challenge names only schemes by which a credential could come here, and of what is wrong only what the scheme's own
//! specification has a word for.

use std::time::Duration;

use crate::authn::{AuthScheme, DPOP_ALGORITHMS};

const REALM: &str = "realm=\"hopgate\"";

/// Which challenge a refusal carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// None is due.
    None,
    /// A credential is missing: realms only.
    Missing,
    /// A credential was sent and is no good: `error="invalid_token"` (RFC 6750, section 3.1; RFC 9449, section 7.1).
    Invalid,
    /// A token that is bound to a key came under another scheme than `DPoP`.
    Scheme,
    /// The proof that the sender holds the key of the token is missing or no good: `error="invalid_dpop_proof"`.
    Proof,
    /// The user must sign in more strongly or more recently: `error="insufficient_user_authentication"` (RFC 9470).
    /// Holds the error and what would be enough.
    StepUp(String),
    /// The proof needs this nonce: `error="use_dpop_nonce"` (RFC 9449, section 9).
    Nonce(String),
}

/// The challenges of one snapshot, written once.
#[derive(Debug)]
pub(super) struct Challenges {
    schemes: Vec<AuthScheme>,
    missing: String,
    invalid: String,
}

impl Challenge {
    /// Asks for a sign-in with one of these `acr`, if any, and not longer ago than this (RFC 9470, section 3).
    pub(super) fn step_up(acr_values: &[String], max_age: Option<Duration>) -> Self {
        let mut error = "insufficient_user_authentication".to_owned();
        if !acr_values.is_empty() {
            let values = acr_values.join(" ").replace('\\', "\\\\").replace('"', "\\\"");
            error.push_str(&format!("\", acr_values=\"{values}"));
        }
        if let Some(seconds) = max_age.map(|age| age.as_secs()) {
            error.push_str(&format!("\", max_age=\"{seconds}"));
        }
        Self::StepUp(error)
    }

    /// True where a person who signs in anew brings what is missing. A proof of a key is for programs to make.
    pub(super) fn is_met_by_signing_in(&self) -> bool {
        match self {
            Self::None | Self::Missing | Self::Invalid => true,
            // The page would have to be told how to sign in, or the browser comes back with the same.
            Self::StepUp(_) => false,
            Self::Scheme | Self::Proof | Self::Nonce(_) => false,
        }
    }
}

impl Challenges {
    pub(super) fn new(schemes: &[AuthScheme]) -> Self {
        let (missing, invalid) = (each(schemes, None), each(schemes, Some("invalid_token")));
        Self { schemes: schemes.to_vec(), missing, invalid }
    }

    /// The value of `WWW-Authenticate`; nothing where no challenge is due.
    pub(super) fn value(&self, challenge: &Challenge) -> Option<String> {
        let dpop = |error| Some(one(&AuthScheme::Dpop, Some(error)));
        match challenge {
            Challenge::None => None,
            Challenge::Missing => Some(self.missing.clone()),
            Challenge::Invalid => Some(self.invalid.clone()),
            Challenge::Scheme => dpop("invalid_token"),
            Challenge::Proof => dpop("invalid_dpop_proof"),
            Challenge::Nonce(_) => dpop("use_dpop_nonce"),
            Challenge::StepUp(error) => Some(each(&self.schemes, Some(error))),
        }
    }
}

fn each(schemes: &[AuthScheme], error: Option<&str>) -> String {
    let each: Vec<String> = schemes.iter().map(|scheme| one(scheme, error)).collect();
    each.join(", ")
}

fn one(scheme: &AuthScheme, error: Option<&str>) -> String {
    let error = error.map(|error| format!(", error=\"{error}\"")).unwrap_or_default();
    match scheme {
        AuthScheme::Bearer => format!("Bearer {REALM}{error}"),
        AuthScheme::Dpop => {
            format!("DPoP {REALM}{error}, algs=\"{DPOP_ALGORITHMS}\"")
        }
        // What else may stand in a challenge of theirs is not ours to say.
        AuthScheme::Other(name) => format!("{name} {REALM}"),
        AuthScheme::ApiKey => format!("ApiKey {REALM}"),
        AuthScheme::Cookie => format!("Cookie {REALM}"),
        AuthScheme::Certificate => format!("Certificate {REALM}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stronger_sign_in_is_asked_for_as_rfc_9470_says() {
        let challenges = Challenges::new(&[AuthScheme::Bearer, AuthScheme::Cookie]);
        let asked = |acr: &[&str], max_age| {
            let acr: Vec<String> = acr.iter().map(|value| (*value).to_owned()).collect();
            challenges.value(&Challenge::step_up(&acr, max_age)).unwrap()
        };
        assert_eq!(
            asked(&["urn:mace:silver", "a\"b"], Some(Duration::from_secs(300))),
            "Bearer realm=\"hopgate\", error=\"insufficient_user_authentication\", \
             acr_values=\"urn:mace:silver a\\\"b\", max_age=\"300\", Cookie realm=\"hopgate\""
        );
        assert_eq!(
            asked(&[], None),
            "Bearer realm=\"hopgate\", error=\"insufficient_user_authentication\", Cookie realm=\"hopgate\""
        );
    }
}
