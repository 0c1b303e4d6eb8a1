//! Presets: what an operator need not write for a provider that is known.
//!
//! A preset fills fields that are left out, before anything is checked. What is written always wins, field by field: a
//! list is replaced. Only tests of claims add up (`require`, `refuse`, `groupsUnknownWhen`), claim by claim: whoever asks
//! for one claim more does not mean to let ID tokens in. A written test replaces the preset's of the same claim.
//!
//! [`table`] holds what is the same for everybody; here is what follows from the rest of the resource. Nothing is fetched,
//! guessed or tried: the same resource always means the same.

mod table;

use serde::Deserialize;

use super::raw::{
    RawAudienceCheck, RawClaimPath, RawClaimTest, RawDiscovery, RawIdentityProvider, RawKeys,
    RawPath, RawShape,
};
use crate::policy::access::ClaimValue;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::Checked;
use table::{Audience, Demand, Keys, Place, Table, Values};

/// A known provider.
#[expect(missing_docs, reason = "the names are those of the products")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    Keycloak,
    Auth0,
    Okta,
    Cognito,
    Entra,
    Google,
    Directus,
    Zitadel,
    Hydra,
    Dex,
    GithubActions,
    Kubernetes,
    Spiffe,
}

impl Preset {
    /// Fills what is left out.
    ///
    /// # Errors
    /// When an issuer is written that no token of this provider has.
    pub(super) fn fill(self, raw: &mut RawIdentityProvider) -> Checked<()> {
        let table = match self {
            Self::Kubernetes if raw.token_review.is_some() => &table::KUBERNETES_REVIEWED,
            _ => self.table(),
        };
        fill_issuers(raw, table);
        match self {
            Self::Cognito => cognito(raw),
            Self::Entra => entra(raw)?,
            Self::Kubernetes => kubernetes(raw)?,
            Self::Keycloak => client_roles(raw),
            Self::Zitadel => project_roles(raw),
            Self::Directus => directus(raw),
            Self::Auth0
            | Self::Okta
            | Self::Google
            | Self::Hydra
            | Self::Dex
            | Self::GithubActions
            | Self::Spiffe => {}
        }
        table.fill(raw);
        Ok(())
    }

    fn table(self) -> &'static Table {
        match self {
            Self::Keycloak => &table::KEYCLOAK,
            Self::Auth0 => &table::AUTH0,
            Self::Okta => &table::OKTA,
            Self::Cognito => &table::COGNITO,
            Self::Entra => &table::ENTRA,
            Self::Google => &table::GOOGLE,
            Self::Directus => &table::DIRECTUS,
            Self::Zitadel => &table::ZITADEL,
            Self::Hydra => &table::HYDRA,
            Self::Dex => &table::DEX,
            Self::GithubActions => &table::GITHUB_ACTIONS,
            Self::Kubernetes => &table::KUBERNETES,
            Self::Spiffe => &table::SPIFFE,
        }
    }
}

impl Table {
    /// What does not depend on what is written.
    fn fill(&self, raw: &mut RawIdentityProvider) {
        let Self {
            issuer: _,
            other_issuers: _,
            audience,
            audience_claims,
            algorithms,
            types,
            require,
            refuse,
            subject,
            roles,
            groups,
            scopes,
            tenant,
            email,
            groups_unknown_when,
            keys,
        } = self;
        if *audience == Audience::Off && raw.audiences.is_none() && raw.audience_check.is_none() {
            raw.audience_check = Some(RawAudienceCheck::Off);
        }
        if raw.audiences.is_some() {
            raw.audience_claims.get_or_insert_with(|| owned(audience_claims));
        }
        raw.algorithms.get_or_insert_with(|| algorithms.to_vec());
        raw.types.get_or_insert_with(|| owned(types));
        add_tests(&mut raw.require, require.iter().map(Demand::raw));
        add_tests(&mut raw.refuse, refuse.iter().map(Demand::raw));
        let claims = raw.claims.get_or_insert_default();
        fill_paths(&mut claims.subject, subject);
        fill_paths(&mut claims.roles, roles);
        fill_paths(&mut claims.groups, groups);
        fill_paths(&mut claims.scopes, scopes);
        fill_paths(&mut claims.tenant, tenant);
        fill_paths(&mut claims.email, email);
        add_tests(&mut claims.groups_unknown_when, groups_unknown_when.iter().map(Demand::raw));
        // The API server that reviews every token needs no keys here.
        if *keys == Keys::Discovery && raw.keys.is_none() && raw.token_review.is_none() {
            raw.keys =
                Some(RawKeys { discovery: Some(RawDiscovery::default()), ..RawKeys::default() });
        }
    }
}

/// The issuer that all tokens of the provider have, and its other spellings; those only beside it.
fn fill_issuers(raw: &mut RawIdentityProvider, table: &Table) {
    let Some(usual) = table.issuer else { return };
    let own = raw.issuer.get_or_insert_with(|| usual.to_owned()).clone();
    let known: Vec<&str> = table.other_issuers.iter().copied().chain([usual]).collect();
    if known.contains(&own.as_str()) {
        let others = known.into_iter().filter(|other| *other != own);
        other_issuers(raw, others.map(str::to_owned).collect());
    }
}

/// A pool may use either issuer, with the same keys (its setting; changed at any time).
fn cognito(raw: &mut RawIdentityProvider) {
    const OLD: &str = "https://cognito-idp.";
    const NEW: &str = "https://issuer-cognito-idp.";
    let Some(issuer) = &raw.issuer else { return };
    let other = match (issuer.strip_prefix(OLD), issuer.strip_prefix(NEW)) {
        (Some(pool), _) => format!("{NEW}{pool}"),
        (None, Some(pool)) => format!("{OLD}{pool}"),
        (None, None) => return,
    };
    other_issuers(raw, vec![other]);
}

/// The API's manifest decides whether tokens are of version 1 or 2, so both issuers of the tenant count; and whichever it
/// is, `tid` must say the same tenant.
fn entra(raw: &mut RawIdentityProvider) -> Checked<()> {
    const V1: &str = "https://sts.windows.net/";
    const V2: &str = "https://login.microsoftonline.com/";
    let Some(issuer) = raw.issuer.clone() else { return Ok(()) };
    let at = FieldPath::root().field("spec").field("issuer");
    let v1 = issuer.strip_prefix(V1).and_then(|rest| rest.strip_suffix('/'));
    let v2 = issuer.strip_prefix(V2).and_then(|rest| rest.strip_suffix("/v2.0"));
    let Some(tenant) = v1.or(v2) else {
        if issuer.starts_with(V1) || issuer.starts_with(V2) {
            return Err(Problem::new(at, format!("`{issuer}` is no issuer of Entra"))
                .hint(format!("expected {V2}<tenant id>/v2.0 or {V1}<tenant id>/")));
        }
        // Another cloud or a customer tenant: its second issuer is not known here.
        return Ok(());
    };
    if ["common", "organizations", "consumers", "{tenantid}"].contains(&tenant) {
        return Err(Problem::new(at, format!("no token has the issuer of `{tenant}`"))
            .hint("write the tenant's ID, and one IdentityProvider for each tenant"));
    }
    let same = Some(vec![ClaimValue::Text(tenant.to_owned())]);
    add_tests(&mut raw.require, [test(&["tid"], same)]);
    if v1.is_some() {
        // The metadata of version 1 does not stand below its issuer.
        let keys = raw.keys.get_or_insert_with(|| RawKeys {
            discovery: Some(RawDiscovery::default()),
            ..RawKeys::default()
        });
        if let Some(discovery) = &mut keys.discovery {
            discovery
                .url
                .get_or_insert_with(|| format!("{V2}{tenant}/.well-known/openid-configuration"));
        }
    }
    let other = if v1.is_some() { format!("{V2}{tenant}/v2.0") } else { format!("{V1}{tenant}/") };
    other_issuers(raw, vec![other]);
    Ok(())
}

/// Tokens of old have one issuer in all clusters, and nothing that bounds them.
fn kubernetes(raw: &RawIdentityProvider) -> Checked<()> {
    if raw.issuer.as_deref() != Some("kubernetes/serviceaccount") {
        return Ok(());
    }
    let at = FieldPath::root().field("spec").field("issuer");
    Err(Problem::new(at, "is that of tokens from Secrets, which never expire and are for anybody")
        .hint("use projected tokens, and the cluster's own issuer"))
}

/// The realm's roles, and those of the clients that are our audiences.
fn client_roles(raw: &mut RawIdentityProvider) {
    let of_client = |client: &String| RawClaimPath {
        path: vec!["resource_access".to_owned(), client.clone(), "roles".to_owned()],
        shape: None,
    };
    add_roles(raw, &table::KEYCLOAK, of_client);
}

/// The roles in the client's own project, and those in the projects that are our audiences. An audience may also be a client,
/// and then nothing stands there.
fn project_roles(raw: &mut RawIdentityProvider) {
    let of_project = |project: &String| RawClaimPath {
        path: vec![format!("urn:zitadel:iam:org:project:{project}:roles")],
        shape: Some(RawShape::Keys),
    };
    add_roles(raw, &table::ZITADEL, of_project);
}

fn add_roles(raw: &mut RawIdentityProvider, table: &Table, of: impl Fn(&String) -> RawClaimPath) {
    let more: Vec<RawClaimPath> = raw.audiences.iter().flatten().map(of).collect();
    let claims = raw.claims.get_or_insert_default();
    claims.roles.get_or_insert_with(|| table.roles.iter().map(Place::raw).chain(more).collect());
}

/// Directus names no audience. A token that does is meant for something else (its MCP server), unless an extension puts
/// one in for us, which shows in the resource.
fn directus(raw: &mut RawIdentityProvider) {
    if raw.audiences.is_some() || raw.audience_check.is_some() {
        return;
    }
    add_tests(&mut raw.refuse, [test(&["aud"], None)]);
}

fn other_issuers(raw: &mut RawIdentityProvider, others: Vec<String>) {
    // An empty list cannot be written.
    if !others.is_empty() {
        raw.other_issuers.get_or_insert(others);
    }
}

/// Those of claims that are not tested already.
fn add_tests(field: &mut Option<Vec<RawClaimTest>>, tests: impl IntoIterator<Item = RawClaimTest>) {
    for test in tests {
        let list = field.get_or_insert_default();
        if !list.iter().any(|other| other.claim.0 == test.claim.0) {
            list.push(test);
        }
    }
}

fn fill_paths(field: &mut Option<Vec<RawClaimPath>>, places: &[Place]) {
    field.get_or_insert_with(|| places.iter().map(Place::raw).collect());
}

impl Demand {
    fn raw(&self) -> RawClaimTest {
        let values = match self.values {
            Values::Any => None,
            Values::True => Some(vec![ClaimValue::Boolean(true)]),
            Values::Texts(texts) => {
                Some(texts.iter().map(|text| ClaimValue::Text((*text).to_owned())).collect())
            }
        };
        test(self.path, values)
    }
}

impl Place {
    fn raw(&self) -> RawClaimPath {
        let (path, shape) = match self {
            Self::Usual(path) => (path, None),
            Self::Keys(path) => (path, Some(RawShape::Keys)),
            Self::Text(path) => (path, Some(RawShape::Text)),
        };
        RawClaimPath { path: owned(path), shape }
    }
}

fn test(path: &[&str], values: Option<Vec<ClaimValue>>) -> RawClaimTest {
    RawClaimTest { claim: RawPath(owned(path)), values }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
