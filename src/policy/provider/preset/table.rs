//! What each identity provider really sends, as defaults for the fields that a resource leaves out.
//!
//! One constant per preset, in the words of the resource, to be held against the provider's documentation. A preset never
//! widens silently: an audience stays required, except for `directus`, whose tokens name none (and there a token that
//! names one is refused). What depends on the rest of the resource (a second issuer of the same tenant, roles of an
//! audience) is in [`super`].

use super::super::keys::Algorithm::{
    self, ES256, ES384, ES512, EdDSA, HS256, PS256, PS384, PS512, RS256, RS384, RS512,
};

/// Names of claims, from the outside in. Each is one key, whatever characters it has.
pub(super) type Path = &'static [&'static str];

/// The fields of an `IdentityProvider` that a preset may fill.
pub(super) struct Table {
    /// The `iss` of all its tokens, where there is only one; else the resource says it.
    pub(super) issuer: Option<&'static str>,
    pub(super) other_issuers: &'static [&'static str],
    pub(super) audience: Audience,
    pub(super) audience_claims: &'static [&'static str],
    pub(super) algorithms: &'static [Algorithm],
    pub(super) types: &'static [&'static str],
    pub(super) require: &'static [Demand],
    pub(super) refuse: &'static [Demand],
    pub(super) subject: &'static [Place],
    pub(super) roles: &'static [Place],
    pub(super) groups: &'static [Place],
    pub(super) scopes: &'static [Place],
    pub(super) tenant: &'static [Place],
    pub(super) email: &'static [Place],
    pub(super) groups_unknown_when: &'static [Demand],
    pub(super) keys: Keys,
}

/// Whether a token must name an audience of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Required,
    Off,
}

/// Where keys come from when the resource does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// From the provider's discovery document.
    Discovery,
    /// Nobody can know: the resource must say.
    Written,
}

/// A claim, and what it must be.
pub(super) struct Demand {
    pub(super) path: Path,
    pub(super) values: Values,
}

/// What a claim must be.
pub(super) enum Values {
    /// Something that is not null.
    Any,
    /// One of these texts.
    Texts(&'static [&'static str]),
    /// `true`.
    True,
}

/// Where words stand, and how.
pub(super) enum Place {
    /// A text of words, or a list of texts.
    Usual(Path),
    /// The names of an object's members.
    Keys(Path),
    /// One text, blanks and all.
    Text(Path),
}

use Place::{Keys as keys_of, Text as text, Usual as at};

const fn there(path: Path) -> Demand {
    Demand { path, values: Values::Any }
}

const fn one_of(path: Path, texts: &'static [&'static str]) -> Demand {
    Demand { path, values: Values::Texts(texts) }
}

/// What holds without a preset. The tenant has no claim that all providers agree on.
pub(super) const PLAIN: Table = Table {
    issuer: None,
    other_issuers: &[],
    audience: Audience::Required,
    audience_claims: &["aud"],
    algorithms: &[RS256],
    types: &["none", "JWT", "at+jwt"],
    require: &[],
    refuse: &[],
    subject: &[text(&["sub"])],
    roles: &[at(&["roles"])],
    groups: &[at(&["groups"])],
    scopes: &[at(&["scope"]), at(&["scp"])],
    tenant: &[],
    email: &[text(&["email"])],
    groups_unknown_when: &[],
    keys: Keys::Written,
};

/// Keycloak 17 to 26. Client roles of the audiences are added in [`super`].
pub(super) const KEYCLOAK: Table = Table {
    // Any of them, as the realm or client says; each key of the set is bound to one by `alg`. HS512 signs refresh
    // tokens, with a key that is never published.
    algorithms: &[RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA],
    // `at+jwt` from 26.2 on, if the client says so.
    types: &["JWT", "at+jwt"],
    // The same keys sign ID and logout tokens, and only this tells them apart.
    // `DPoP` is `Bearer` with a key that the caller must prove to have.
    require: &[one_of(&["typ"], &["Bearer", "DPoP"])],
    roles: &[at(&["realm_access", "roles"])],
    scopes: &[at(&["scope"])],
    keys: Keys::Discovery,
    ..PLAIN
};

/// Auth0: APIs with either token profile.
pub(super) const AUTH0: Table = Table {
    // An API may also choose HS256; nobody can verify that without its secret.
    algorithms: &[RS256, PS256],
    types: &["JWT", "at+jwt"],
    // Only ID tokens have them. The audience, an API and never a client, tells the two apart as well.
    refuse: &[there(&["nonce"]), there(&["at_hash"]), there(&["c_hash"])],
    // What the user was assigned; `scope` is what the client asked for and was granted.
    roles: &[at(&["permissions"])],
    scopes: &[at(&["scope"])],
    tenant: &[text(&["org_id"])],
    keys: Keys::Discovery,
    ..PLAIN
};

/// Okta's custom authorization servers.
pub(super) const OKTA: Table = Table {
    // Access and ID tokens have no `typ`.
    types: &["none", "JWT"],
    // The client: in access tokens only.
    require: &[there(&["cid"])],
    // `uid` stays with the user; `sub` is the login name, which may be given to somebody else. Machines have no `uid`.
    subject: &[text(&["uid"]), text(&["sub"])],
    scopes: &[at(&["scp"])],
    keys: Keys::Discovery,
    ..PLAIN
};

/// Amazon Cognito's user pools. The pool's second issuer is added in [`super`].
pub(super) const COGNITO: Table = Table {
    types: &["none", "JWT"],
    // Access tokens have no `aud`, unless the client named a resource.
    audience_claims: &["client_id", "aud"],
    require: &[one_of(&["token_use"], &["access"])],
    groups: &[at(&["cognito:groups"])],
    scopes: &[at(&["scope"])],
    keys: Keys::Discovery,
    ..PLAIN
};

/// Microsoft Entra ID, one tenant. The tenant's other issuer and the demand for its `tid` are added in [`super`].
pub(super) const ENTRA: Table = Table {
    types: &["JWT"],
    // ID tokens have them. A Graph token has its `nonce` in the header, and its signature never verifies.
    refuse: &[there(&["nonce"]), there(&["at_hash"]), there(&["c_hash"])],
    // `sub` is another one in each app.
    subject: &[text(&["oid"])],
    scopes: &[at(&["scp"])],
    tenant: &[text(&["tid"])],
    // Not verified by Entra: an administrator of any tenant can write any address.
    email: &[],
    // More than 200 groups are left out of the token, and then these stand for them.
    groups_unknown_when: &[
        there(&["_claim_names", "groups"]),
        Demand { path: &["hasgroups"], values: Values::True },
    ],
    keys: Keys::Discovery,
    ..PLAIN
};

/// Google's ID tokens: its access tokens are opaque.
pub(super) const GOOGLE: Table = Table {
    issuer: Some("https://accounts.google.com"),
    // Documented as equal.
    other_issuers: &["accounts.google.com"],
    types: &["JWT"],
    roles: &[],
    groups: &[],
    scopes: &[],
    // The Workspace domain. The domain of an address proves nothing.
    tenant: &[text(&["hd"])],
    keys: Keys::Discovery,
    ..PLAIN
};

/// Directus' own tokens, signed with its `SECRET`. The refusal of `aud` is added in [`super`], where none is asked for.
pub(super) const DIRECTUS: Table = Table {
    issuer: Some("directus"),
    // There is no `aud` in its tokens: whoever has the SECRET is trusted with every one of them.
    audience: Audience::Off,
    algorithms: &[HS256],
    types: &["JWT"],
    // The same secret signs password resets, invitations, verifications and the state of a single sign-on; Directus
    // itself tells them apart so. `role` belongs to the three, but is null for users without one.
    require: &[there(&["app_access"]), there(&["admin_access"])],
    // `scope`: resets, invitations and tokens for MCP. `share`: one shared item, not a user.
    refuse: &[there(&["scope"]), there(&["share"])],
    subject: &[text(&["id"])],
    // One ID, or null; `roleAliases` gives it a name.
    roles: &[text(&["role"])],
    groups: &[],
    scopes: &[],
    ..PLAIN
};

/// Zitadel's JWT access tokens. The roles of audiences that are projects are added in [`super`].
pub(super) const ZITADEL: Table = Table {
    // RSA up to version 2; web keys since.
    algorithms: &[RS256, RS384, RS512, ES256, ES384, ES512, EdDSA],
    types: &["JWT", "at+jwt"],
    // ID tokens have the same audiences, but no `jti`.
    require: &[there(&["jti"])],
    refuse: &[there(&["nonce"]), there(&["at_hash"]), there(&["c_hash"])],
    // An object: each role with the organisations that granted it.
    roles: &[keys_of(&["urn:zitadel:iam:org:project:roles"])],
    scopes: &[at(&["scope"])],
    tenant: &[text(&["urn:zitadel:iam:user:resourceowner:id"])],
    keys: Keys::Discovery,
    ..PLAIN
};

/// Ory Hydra's JWT access tokens.
pub(super) const HYDRA: Table = Table {
    algorithms: &[RS256, ES256, EdDSA],
    types: &["JWT", "at+jwt"],
    // ID tokens have none.
    require: &[there(&["client_id"])],
    // Introspection calls a refresh token active too.
    refuse: &[there(&["nonce"]), there(&["at_hash"]), one_of(&["token_use"], &["refresh_token"])],
    // What the consent app adds stands in `ext`, and for names that are configured at the top.
    roles: &[at(&["ext", "roles"]), at(&["roles"])],
    groups: &[at(&["ext", "groups"]), at(&["groups"])],
    scopes: &[at(&["scp"]), at(&["scope"])],
    tenant: &[text(&["ext", "tenant"]), text(&["tenant"])],
    email: &[text(&["ext", "email"]), text(&["email"])],
    keys: Keys::Discovery,
    ..PLAIN
};

/// Dex. Its access and ID tokens cannot be told apart: the audience is the client.
pub(super) const DEX: Table = Table {
    algorithms: &[RS256, ES256],
    types: &["none", "JWT"],
    roles: &[],
    scopes: &[],
    keys: Keys::Discovery,
    ..PLAIN
};

/// Workflow runs of GitHub Actions.
pub(super) const GITHUB_ACTIONS: Table = Table {
    issuer: Some("https://token.actions.githubusercontent.com"),
    types: &["JWT"],
    // The names can be taken by others later, the IDs cannot.
    require: &[there(&["repository_id"]), there(&["repository_owner_id"])],
    roles: &[],
    groups: &[],
    scopes: &[],
    tenant: &[text(&["repository_owner_id"])],
    email: &[],
    keys: Keys::Discovery,
    ..PLAIN
};

/// Projected service-account tokens of a Kubernetes cluster.
pub(super) const KUBERNETES: Table = Table {
    algorithms: &[RS256, ES256, ES384, ES512],
    types: &["none", "JWT"],
    require: &[there(&["kubernetes.io", "serviceaccount", "uid"])],
    // Tokens of old, from Secrets: without an expiry, an audience and a pod.
    refuse: &[there(&["kubernetes.io/serviceaccount/namespace"])],
    roles: &[],
    groups: &[],
    scopes: &[],
    tenant: &[text(&["kubernetes.io", "namespace"])],
    email: &[],
    keys: Keys::Discovery,
    ..PLAIN
};

/// The same tokens, reviewed by the API server: its answer names the user and the groups, and not what stands in the token.
pub(super) const KUBERNETES_REVIEWED: Table = Table {
    require: &[],
    refuse: &[],
    groups: &[at(&["groups"])],
    tenant: &[],
    keys: Keys::Written,
    ..KUBERNETES
};

/// JWT-SVIDs. That `sub` is a SPIFFE ID and the header has nothing else is checked where they are verified.
pub(super) const SPIFFE: Table = Table {
    algorithms: &[RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512],
    types: &["none", "JWT", "JOSE"],
    roles: &[],
    groups: &[],
    scopes: &[],
    email: &[],
    ..PLAIN
};
