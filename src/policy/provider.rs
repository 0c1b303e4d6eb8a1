//! `IdentityProvider`: whose tokens count, and how to read them.

use std::time::Duration;

use serde_json::Value;

use super::field::FieldPath;
use super::problem::Problem;
use super::raw::{RawAlgorithm, RawClaimMapping, RawIdentityProvider, RawKeys};
use super::resource::{Checked, Metadata, check_list, check_text};

const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const MAX_LEEWAY: Duration = Duration::from_secs(5 * 60);
const DEFAULT_REFRESH: Duration = Duration::from_secs(5 * 60);
const MIN_REFRESH: Duration = Duration::from_secs(10);
const MAX_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// An issuer of tokens that is trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityProvider {
    /// Its name.
    pub metadata: Metadata,
    /// What is trusted, and how.
    pub spec: IdentityProviderSpec,
}

/// What a token must be to count.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityProviderSpec {
    /// The `iss` claim, compared exactly.
    pub issuer: String,
    /// The `aud` claim must hold one of these. Never empty.
    pub audiences: Vec<String>,
    /// The signature algorithms that count. Never empty.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are.
    pub keys: Keys,
    /// How far its clock may differ from ours.
    pub leeway: Duration,
    /// Which claims hold roles and scopes.
    pub claims: ClaimMapping,
}

/// A signature algorithm. None that is symmetric can be written, and not `none`.
#[expect(missing_docs, reason = "the names are those of RFC 7518 and RFC 8037")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// Where the keys of a provider are.
#[derive(Debug, Clone, PartialEq)]
pub enum Keys {
    /// Fetched in the background.
    JwksUri {
        /// An `http` or `https` URL.
        uri: String,
        /// How often it is fetched.
        refresh_interval: Duration,
    },
    /// Written in the resource: `{"keys": [..]}`.
    Inline(Value),
}

/// Which claims hold roles and scopes: each a path of keys, the first that is there counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMapping {
    /// Paths of the roles.
    pub roles: Vec<Vec<String>>,
    /// Paths of the scopes.
    pub scopes: Vec<Vec<String>>,
}

impl IdentityProvider {
    pub(super) fn check(metadata: Metadata, raw: RawIdentityProvider) -> Checked<Self> {
        let RawIdentityProvider { issuer, audiences, algorithms, keys, leeway, claims } = raw;
        let at = FieldPath::root().field("spec");
        let algorithms = match algorithms {
            Some(list) => check_list(
                list.into_iter().map(Algorithm::from).collect(),
                &at.field("algorithms"),
            )?,
            None => vec![Algorithm::RS256],
        };
        let audiences_at = at.field("audiences");
        let audiences = check_list(audiences, &audiences_at)?
            .into_iter()
            .enumerate()
            .map(|(place, text)| check_text(text, audiences_at.item(place)))
            .collect::<Checked<_>>()?;
        let leeway = match leeway {
            Some(text) => duration(&text, &at.field("leeway"), (Duration::ZERO, MAX_LEEWAY))?,
            None => DEFAULT_LEEWAY,
        };
        let spec = IdentityProviderSpec {
            issuer: check_text(issuer, at.field("issuer"))?,
            audiences,
            algorithms,
            keys: Keys::check(keys, &at.field("keys"))?,
            leeway,
            claims: ClaimMapping::check(claims, &at.field("claims"))?,
        };
        Ok(Self { metadata, spec })
    }
}

impl Keys {
    fn check(raw: RawKeys, at: &FieldPath) -> Checked<Self> {
        let RawKeys { jwks_uri, refresh_interval, inline } = raw;
        match (jwks_uri, inline) {
            (Some(uri), None) => {
                check_uri(&uri, &at.field("jwksUri"))?;
                let refresh_interval = match refresh_interval {
                    Some(text) => {
                        duration(&text, &at.field("refreshInterval"), (MIN_REFRESH, MAX_REFRESH))?
                    }
                    None => DEFAULT_REFRESH,
                };
                Ok(Self::JwksUri { uri, refresh_interval })
            }
            (None, Some(inline)) => {
                if refresh_interval.is_some() {
                    let message = "inline keys are not fetched: leave `refreshInterval` out";
                    return Err(Problem::new(at.field("refreshInterval"), message));
                }
                check_inline(&inline, &at.field("inline"))?;
                Ok(Self::Inline(inline))
            }
            (Some(_), Some(_)) => {
                Err(Problem::new(at.clone(), "has both `jwksUri` and `inline`: write one of them"))
            }
            (None, None) => Err(Problem::new(at.clone(), "needs `jwksUri` or `inline`")),
        }
    }
}

impl ClaimMapping {
    fn check(raw: Option<RawClaimMapping>, at: &FieldPath) -> Checked<Self> {
        let RawClaimMapping { roles, scopes } =
            raw.unwrap_or(RawClaimMapping { roles: None, scopes: None });
        let default = |names: &[&str]| names.iter().map(|name| vec![(*name).to_owned()]).collect();
        Ok(Self {
            roles: match roles {
                Some(paths) => check_paths(paths, &at.field("roles"))?,
                None => default(&["roles"]),
            },
            scopes: match scopes {
                Some(paths) => check_paths(paths, &at.field("scopes"))?,
                None => default(&["scope", "scp"]),
            },
        })
    }
}

/// Every member of a key is text or a list of texts: a key ID that YAML took for a number must be quoted, or it would
/// not be the key ID any more.
fn check_inline(inline: &Value, at: &FieldPath) -> Checked<()> {
    let at_keys = at.field("keys");
    let keys = match inline.get("keys").and_then(Value::as_array) {
        Some(keys) if !keys.is_empty() => keys,
        Some(_) | None => {
            let message = "is no key set: expected `keys: [..]` with at least one key";
            return Err(Problem::new(at.clone(), message));
        }
    };
    for (place, key) in keys.iter().enumerate() {
        let at = at_keys.item(place);
        let Some(members) = key.as_object() else {
            return Err(Problem::new(at, "is no key: expected `kty: ..` and what belongs to it"));
        };
        for (name, value) in members {
            if matches!(value, Value::Number(_) | Value::Null | Value::Bool(_)) {
                return Err(Problem::new(at.field(name), format!("is {value}, expected text"))
                    .hint("quote it"));
            }
        }
    }
    Ok(())
}

fn check_paths(paths: Vec<Vec<String>>, at: &FieldPath) -> Checked<Vec<Vec<String>>> {
    let paths = check_list(paths, at)?;
    for (place, path) in paths.iter().enumerate() {
        if path.is_empty() || path.iter().any(String::is_empty) {
            return Err(Problem::new(at.item(place), "is no path of claim names")
                .hint("for example [realm_access, roles]"));
        }
    }
    Ok(paths)
}

fn check_uri(text: &str, at: &FieldPath) -> Checked<()> {
    let problem = |message: &str| {
        Problem::new(at.clone(), format!("{message}: `{text}`"))
            .hint("for example https://idp.example/keys")
    };
    let uri: http::Uri = text.parse().map_err(|_| problem("is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(problem("is no http or https URL"));
    }
    let authority = uri.authority().ok_or_else(|| problem("names no host"))?;
    if authority.host().is_empty() {
        return Err(problem("names no host"));
    }
    if authority.as_str().contains('@') {
        // The text is not repeated: it may hold a password.
        return Err(Problem::new(at.clone(), "holds a user or a password; it must not"));
    }
    Ok(())
}

fn duration(text: &str, at: &FieldPath, bounds: (Duration, Duration)) -> Checked<Duration> {
    use humantime_serde::re::humantime::{format_duration, parse_duration};
    let parsed = parse_duration(text).map_err(|error| {
        Problem::new(at.clone(), format!("`{text}` is no duration: {error}"))
            .hint("for example 30s, 5m or 1h")
    })?;
    let (least, most) = bounds;
    if parsed < least || parsed > most {
        let message = format!(
            "`{text}` is out of bounds, expected {} to {}",
            format_duration(least),
            format_duration(most)
        );
        return Err(Problem::new(at.clone(), message));
    }
    Ok(parsed)
}

impl From<RawAlgorithm> for Algorithm {
    fn from(raw: RawAlgorithm) -> Self {
        match raw {
            RawAlgorithm::RS256 => Self::RS256,
            RawAlgorithm::RS384 => Self::RS384,
            RawAlgorithm::RS512 => Self::RS512,
            RawAlgorithm::PS256 => Self::PS256,
            RawAlgorithm::PS384 => Self::PS384,
            RawAlgorithm::PS512 => Self::PS512,
            RawAlgorithm::ES256 => Self::ES256,
            RawAlgorithm::ES384 => Self::ES384,
            RawAlgorithm::EdDSA => Self::EdDSA,
        }
    }
}
