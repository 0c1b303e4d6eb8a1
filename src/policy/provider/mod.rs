//! `IdentityProvider`: whose credentials count, where they stand in a request, and how they are proven.

mod claims;
mod demand;
mod file;
mod http;
mod keys;
mod online;
mod place;
mod preset;
mod proof;
mod raw;
mod raw_path;
mod tokens;
mod value;

pub use claims::{ClaimMapping, ClaimPath, ClaimTest, Shape};
pub use demand::{Audience, ClaimRules};
pub use file::FileRef;
pub use http::Http;
pub use keys::{Algorithm, KeyLife, Keys};
pub use online::{ClientAuth, Online, Question, When};
pub use place::{Choose, Csrf, Place, Places};
pub use preset::Preset;
pub use proof::{ApiKeyFile, CertificateSubject, Certificates, ConfirmationRules, Demand, Nonce};
pub(super) use raw::{RawHttp, RawIdentityProvider};
pub use tokens::{AbsentType, HeaderTypes, Quirk, TokenRules};
pub(super) use value::{check_uri, duration, duration_or};

use demand::Vouched;
use raw::RawPrincipal;

use super::field::FieldPath;
use super::problem::Problem;
use super::resource::{Checked, Metadata};

/// Whose credentials are trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityProvider {
    /// Its name.
    pub metadata: Metadata,
    /// What is trusted, and how.
    pub spec: IdentityProviderSpec,
}

/// What a credential must be to count. At least one of `tokens`, `online`, `api_keys` and `certificates` is there.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityProviderSpec {
    /// The known provider it was written for.
    pub preset: Option<Preset>,
    /// Whose credentials they are.
    pub principal: PrincipalKind,
    /// Where they stand in a request.
    pub places: Places,
    /// JWTs of an issuer.
    pub tokens: Option<TokenRules>,
    /// A server that judges credentials.
    pub online: Option<Online>,
    /// What claims must say, whoever vouches for them.
    pub rules: ClaimRules,
    /// API keys.
    pub api_keys: Option<ApiKeyFile>,
    /// Client certificates.
    pub certificates: Option<Certificates>,
    /// Whether tokens must be bound to a key.
    pub confirmation: ConfirmationRules,
    /// Which claims hold what policies ask for.
    pub claims: ClaimMapping,
    /// How its servers are reached.
    pub http: Http,
}

/// Whose credential it is. A request may carry both, in different places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// The user's.
    User,
    /// That of the client program which calls for the user.
    Client,
}

impl IdentityProvider {
    pub(super) fn check(
        metadata: Metadata,
        mut raw: RawIdentityProvider,
        source: &str,
    ) -> Checked<Self> {
        if let Some(preset) = raw.preset {
            preset.fill(&mut raw)?;
        }
        let at = FieldPath::root().field("spec");
        Ok(Self { metadata, spec: IdentityProviderSpec::check(raw, &at, source)? })
    }
}

impl IdentityProviderSpec {
    /// JWTs of a user in `Authorization: Bearer`, with the default of everything else.
    #[must_use]
    pub fn for_tokens(tokens: TokenRules, rules: ClaimRules) -> Self {
        Self {
            preset: None,
            principal: PrincipalKind::User,
            places: Places::bearer(),
            tokens: Some(tokens),
            online: None,
            rules,
            api_keys: None,
            certificates: None,
            confirmation: ConfirmationRules::accepted(),
            claims: ClaimMapping::default(),
            http: Http::default(),
        }
    }

    fn check(mut raw: RawIdentityProvider, at: &FieldPath, source: &str) -> Checked<Self> {
        let tokens = TokenRules::check(&mut raw, at, source)?;
        let online = Online::check(&mut raw, at, source)?;
        let vouched = match (&tokens, &online) {
            (Some(_), _) => Vouched::BySignature,
            (None, Some(_)) => Vouched::ByServer,
            (None, None) => Vouched::Here,
        };
        let rules = ClaimRules::check(&mut raw, vouched, at)?;
        let api_keys = raw
            .api_keys
            .take()
            .map(|raw| ApiKeyFile::check(raw, &at.field("apiKeys"), source))
            .transpose()?;
        let certificates = raw
            .certificates
            .take()
            .map(|raw| Certificates::check(raw, &at.field("certificates"), source))
            .transpose()?;
        let principal = match (raw.principal, &certificates, &api_keys) {
            (Some(RawPrincipal::User), _, _) => PrincipalKind::User,
            (Some(RawPrincipal::Client), _, _) => PrincipalKind::Client,
            // A certificate is a program's.
            (None, Some(_), _) => PrincipalKind::Client,
            (None, None, _) => PrincipalKind::User,
        };
        let places = if certificates.is_some() && raw.from.is_none() {
            Places::connection()
        } else {
            Places::check(raw.from.take(), raw.choose, at)?
        };
        let spec = Self {
            preset: raw.preset,
            principal,
            places,
            tokens,
            online,
            rules,
            api_keys,
            certificates,
            confirmation: ConfirmationRules::check(raw.confirmation, &at.field("confirmation"))?,
            claims: ClaimMapping::check(raw.claims, &at.field("claims"))?,
            http: Http::check(raw.http, &at.field("http"), source)?,
        };
        spec.check_together(at)?;
        Ok(spec)
    }

    /// What no field can say alone.
    fn check_together(&self, at: &FieldPath) -> Checked<()> {
        let problem = |message: &str| Problem::new(at.clone(), message);
        let alone = |what: &str| {
            problem(&format!("`{what}` stands with another kind of credential"))
                .hint("write one IdentityProvider for each")
        };
        match (&self.tokens, &self.online, &self.api_keys, &self.certificates) {
            (None, None, None, None) => {
                return Err(problem("says no way to prove a credential").hint(
                    "write `issuer` and `keys`, or one of `introspection`, `userinfo`, `tokenReview`, `apiKeys`, `certificates`",
                ));
            }
            (None, None, Some(_), None) | (_, _, None, None) => {}
            (None, None, None, Some(_)) if self.places.list.is_empty() => {}
            (None, None, None, Some(_)) => {
                return Err(Problem::new(
                    at.field("from"),
                    "a client certificate stands in no place of a request",
                ));
            }
            (_, _, Some(_), _) => return Err(alone("apiKeys")),
            (_, _, None, Some(_)) => return Err(alone("certificates")),
        }
        if let Some(tokens) = &self.tokens {
            self.check_keys(tokens, at)?;
        }
        let discovers = matches!(
            self.tokens.as_ref().and_then(|tokens| tokens.keys.as_ref()),
            Some(Keys::Discovery { .. })
        );
        if self.online.as_ref().is_some_and(Online::needs_discovery) && !discovers {
            return Err(problem("the field `url` of the server to ask is missing")
                .hint("it may be left out only with `keys: { discovery: {} }`"));
        }
        self.check_servers(at)
    }

    /// That every server which is named may be asked.
    fn check_servers(&self, at: &FieldPath) -> Checked<()> {
        let keys_at = at.field("keys");
        if let Some(tokens) = &self.tokens {
            match &tokens.keys {
                Some(Keys::Discovery { url, jwks_uri, life: _ }) => {
                    let discovery = keys_at.field("discovery");
                    match (url, tokens.issuers.first()) {
                        (Some(url), _) => self.http.admits(url, &discovery.field("url"))?,
                        (None, Some(issuer)) => self.http.admits(issuer, &at.field("issuer"))?,
                        (None, None) => {}
                    }
                    if let Some(uri) = jwks_uri {
                        self.http.admits(uri, &discovery.field("jwksUri"))?;
                    }
                }
                Some(Keys::JwksUri { uri, life: _ }) => {
                    self.http.admits(uri, &keys_at.field("jwksUri"))?;
                }
                Some(
                    Keys::Inline(_)
                    | Keys::Pem(_)
                    | Keys::PemFile(_)
                    | Keys::SecretFile(_)
                    | Keys::BundleFile(_),
                )
                | None => {}
            }
        }
        match self.online.as_ref().map(|online| &online.question) {
            Some(Question::Introspection { url: Some(url), .. }) => {
                self.http.admits(url, &at.field("introspection").field("url"))
            }
            Some(Question::Userinfo { url: Some(url), .. }) => {
                self.http.admits(url, &at.field("userinfo").field("url"))
            }
            Some(Question::TokenReview { url, .. }) => {
                self.http.admits(url, &at.field("tokenReview").field("url"))
            }
            Some(Question::Introspection { .. } | Question::Userinfo { .. }) | None => Ok(()),
        }
    }

    fn check_keys(&self, tokens: &TokenRules, at: &FieldPath) -> Checked<()> {
        let always = self.online.as_ref().is_some_and(|online| online.when == When::Always);
        if tokens.keys.is_none() && !always {
            return Err(Problem::new(at.clone(), "the field `keys` is missing")
                .hint("for example keys: { discovery: {} }"));
        }
        Ok(())
    }

    /// Every file it names, each once.
    #[must_use]
    pub fn files(&self) -> Vec<&FileRef> {
        let mut files: Vec<&FileRef> = Vec::new();
        files.extend(self.tokens.as_ref().and_then(TokenRules::files));
        files.extend(self.online.iter().flat_map(Online::files));
        files.extend(self.api_keys.iter().map(|keys| &keys.file));
        files.extend(self.certificates.iter().flat_map(Certificates::files));
        files.extend(&self.http.ca);
        files.sort();
        files.dedup();
        files
    }
}
