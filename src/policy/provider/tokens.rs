//! What a JWT of a provider must be, before its claims are looked at.

use super::file::FileRef;
use super::keys::{Algorithm, Keys};
use super::preset::Preset;
use super::raw::RawIdentityProvider;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list, check_text};

/// What a JWT of this provider must be to count (RFC 7519, RFC 8725, RFC 9068).
#[derive(Debug, Clone, PartialEq)]
pub struct TokenRules {
    /// The `iss` claim, compared exactly: one of these. The first is the provider's own; never empty.
    pub issuers: Vec<String>,
    /// The signature algorithms that count. Never empty.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys are; nothing where a server judges every token.
    pub keys: Option<Keys>,
    /// What the header may say of the token's kind.
    pub types: HeaderTypes,
    /// What this provider is known to do.
    pub quirk: Quirk,
}

/// The `typ` header member, compared without case and without `application/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTypes {
    /// Those that may stand there, in lower case.
    pub named: Vec<String>,
    /// Whether it may be absent.
    pub absent: AbsentType,
}

/// Whether a token may leave its kind unsaid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbsentType {
    /// It may.
    Accepted,
    /// It may not.
    Refused,
}

/// What a provider is known to do, where a refusal can say what to do about it or a rule is the provider's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// Nothing.
    None,
    /// A header member `nonce` marks a token for Microsoft Graph, whose signature never verifies.
    EntraGraph,
    /// The issuer without a path is Okta's organization server, whose tokens nobody else can verify.
    OktaOrganization,
    /// JWT-SVID: no header member but `alg`, `kid` and `typ`; the subject is a SPIFFE ID (SPIFFE JWT-SVID, section 2).
    JwtSvid,
}

impl TokenRules {
    /// Rules with the defaults of everything that is not given: `typ` absent, `JWT` or `at+jwt`.
    #[must_use]
    pub fn new(issuer: &str, algorithms: Vec<Algorithm>, keys: Keys) -> Self {
        Self {
            issuers: vec![issuer.to_owned()],
            algorithms,
            keys: Some(keys),
            types: HeaderTypes::usual(),
            quirk: Quirk::None,
        }
    }

    /// Reads what is written about JWTs; nothing where no issuer is.
    pub(super) fn check(
        raw: &mut RawIdentityProvider,
        at: &FieldPath,
        source: &str,
    ) -> Checked<Option<Self>> {
        let Some(issuer) = raw.issuer.take() else {
            refuse_without_issuer(raw, at)?;
            return Ok(None);
        };
        let issuers = issuers(issuer, raw.other_issuers.take(), at)?;
        let keys = raw.keys.take().map(|raw| Keys::check(raw, &at.field("keys"), source));
        let keys = keys.transpose()?;
        let algorithms = algorithms(raw.algorithms.take(), keys.as_ref(), at)?;
        let types = match raw.types.take() {
            Some(list) => HeaderTypes::check(list, &at.field("types"))?,
            None => HeaderTypes::usual(),
        };
        Ok(Some(Self { issuers, algorithms, keys, types, quirk: Quirk::of(raw.preset) }))
    }

    /// The provider's own issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.issuers.first().map(String::as_str).unwrap_or_default()
    }

    pub(super) fn files(&self) -> Option<&FileRef> {
        self.keys.as_ref().and_then(Keys::file)
    }
}

impl HeaderTypes {
    /// Absent, `JWT`, or `at+jwt` (RFC 9068).
    #[must_use]
    pub fn usual() -> Self {
        Self { named: vec!["jwt".to_owned(), "at+jwt".to_owned()], absent: AbsentType::Accepted }
    }

    fn check(list: Vec<String>, at: &FieldPath) -> Checked<Self> {
        let list = check_list(list, at)?;
        let absent = if list.iter().any(|name| name == "none") {
            AbsentType::Accepted
        } else {
            AbsentType::Refused
        };
        let mut named = Vec::new();
        for (place, name) in list.into_iter().enumerate().filter(|(_, name)| name != "none") {
            let name = check_text(name, at.item(place))?.to_ascii_lowercase();
            named.push(name.strip_prefix("application/").map_or(name.clone(), str::to_owned));
        }
        Ok(Self { named, absent })
    }

    /// Whether a header member `typ` with this value may stand there.
    #[must_use]
    pub fn allow(&self, typ: Option<&str>) -> bool {
        const PREFIX: &str = "application/";
        let Some(typ) = typ else { return self.absent == AbsentType::Accepted };
        let bare = match typ.split_at_checked(PREFIX.len()) {
            Some((prefix, bare)) if prefix.eq_ignore_ascii_case(PREFIX) => bare,
            Some(_) | None => typ,
        };
        self.named.iter().any(|name| name.eq_ignore_ascii_case(bare))
    }
}

impl Quirk {
    fn of(preset: Option<Preset>) -> Self {
        match preset {
            Some(Preset::Entra) => Self::EntraGraph,
            Some(Preset::Okta) => Self::OktaOrganization,
            Some(Preset::Spiffe) => Self::JwtSvid,
            Some(
                Preset::Keycloak
                | Preset::Auth0
                | Preset::Cognito
                | Preset::Google
                | Preset::Directus
                | Preset::Zitadel
                | Preset::Hydra
                | Preset::Dex
                | Preset::GithubActions
                | Preset::Kubernetes,
            )
            | None => Self::None,
        }
    }
}

fn issuers(own: String, others: Option<Vec<String>>, at: &FieldPath) -> Checked<Vec<String>> {
    let mut issuers = vec![check_text(own, at.field("issuer"))?];
    if let Some(list) = others {
        let at = at.field("otherIssuers");
        for (place, issuer) in check_list(list, &at)?.into_iter().enumerate() {
            let issuer = check_text(issuer, at.item(place))?;
            if issuers.contains(&issuer) {
                return Err(Problem::new(at.item(place), "is the `issuer` already"));
            }
            issuers.push(issuer);
        }
    }
    Ok(issuers)
}

/// A secret verifies HS algorithms and nothing else does.
fn algorithms(
    raw: Option<Vec<Algorithm>>,
    keys: Option<&Keys>,
    at: &FieldPath,
) -> Checked<Vec<Algorithm>> {
    let at = at.field("algorithms");
    let by_secret = matches!(keys, Some(Keys::SecretFile(_)));
    let Some(list) = raw else {
        return Ok(vec![if by_secret { Algorithm::HS256 } else { Algorithm::RS256 }]);
    };
    let list = check_list(list, &at)?;
    for (place, algorithm) in list.iter().enumerate() {
        let problem = |message: String| Err(Problem::new(at.item(place), message));
        match (algorithm.is_symmetric(), by_secret) {
            (true, false) => {
                return problem(format!("{algorithm:?} needs a shared secret: `keys.secretFile`"));
            }
            (false, true) => {
                return problem(format!(
                    "{algorithm:?} is not for a shared secret, expected HS256, HS384 or HS512"
                ));
            }
            (true, true) | (false, false) => {}
        }
    }
    Ok(list)
}

/// Without an issuer there are no JWT rules, so none may be written: they would say nothing.
fn refuse_without_issuer(raw: &RawIdentityProvider, at: &FieldPath) -> Checked<()> {
    let written = [
        ("otherIssuers", raw.other_issuers.is_some()),
        ("algorithms", raw.algorithms.is_some()),
        ("types", raw.types.is_some()),
        ("keys", raw.keys.is_some()),
    ];
    let only_by_preset = raw.preset.is_some();
    match written.iter().find(|(_, there)| *there) {
        Some((field, _)) if !only_by_preset => {
            Err(Problem::new(at.field(field), "is for JWTs, and there is no `issuer`")
                .hint("whose tokens are they? Write `issuer`"))
        }
        Some(_) => Err(Problem::new(at.clone(), "the field `issuer` is missing")),
        None => Ok(()),
    }
}
