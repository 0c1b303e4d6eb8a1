//! What the parts of this module promise together.

mod conditions;
mod cost;
mod engines;
mod fields;
mod index;
mod linear;
mod modes;
mod names;
mod native;
mod refused;
mod request_fields;
mod seen;
mod times;
mod values;
mod walk;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::identity::{SpiffeId, TrustDomain};

pub(super) const NOW: Duration = Duration::from_secs(1_700_000_000);

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

pub(super) fn workload() -> Workload {
    Workload {
        trust_domain: TrustDomain::parse("demo.mesh").unwrap(),
        namespace: "shop".into(),
        labels: [("app".to_owned(), "orders".to_owned())].into(),
    }
}

/// A policy document with these rules, each a line of flow YAML.
pub(super) fn policy_text<S: AsRef<str>>(rules: &[S]) -> String {
    let mut text = String::from(
        "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: orders, namespace: shop }\nspec:\n  rules:\n",
    );
    for rule in rules {
        text.push_str("    - ");
        text.push_str(rule.as_ref());
        text.push('\n');
    }
    text
}

pub(super) fn policies(text: &str) -> Vec<AccessPolicy> {
    parse("test.yaml", text)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .into_iter()
        .filter_map(|resource| match resource {
            Resource::AccessPolicy(policy) => Some(policy),
            Resource::IdentityProvider(_) | Resource::MeshPolicy(_) | Resource::PolicyEngine(_) => {
                None
            }
        })
        .collect()
}

pub(super) fn compile<S: AsRef<str>>(rules: &[S]) -> PolicySet {
    compile_policies(&policies(&policy_text(rules)))
}

pub(super) fn compile_policies(policies: &[AccessPolicy]) -> PolicySet {
    let around = Surroundings {
        workload: &workload(),
        mesh: &MeshPolicySpec {
            aliases: vec![TrustDomain::parse("old.mesh").unwrap()],
            ..MeshPolicySpec::absent()
        },
        providers: &["sso".to_owned(), "partner".to_owned()],
        engines: &["opa".to_owned(), "casbin".to_owned()],
    };
    PolicySet::compile(policies, &around).unwrap()
}

pub(super) fn peer(account: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://demo.mesh/ns/shop/sa/{account}")).unwrap()
}

pub(super) fn user(roles: &[&str], scopes: &[&str], claims: serde_json::Value) -> UserFacts {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let serde_json::Value::Object(claims) = claims else { panic!("claims are an object") };
    let (roles, scopes) = (own(roles), own(scopes));
    UserFacts::new(UserParts { roles, scopes, claims, ..UserParts::of("sso", "alice") })
}

#[derive(Default)]
pub(super) struct TestHeaders(pub(super) HashMap<&'static str, Vec<&'static [u8]>>);

impl Headers for TestHeaders {
    fn value(&self, name: &str) -> HeaderValue<'_> {
        match self.0.get(name).map(Vec::as_slice) {
            None | Some([]) => HeaderValue::Absent,
            Some([one]) => HeaderValue::One(one),
            Some(_) => HeaderValue::Many,
        }
    }
}

/// A request, and everything its facts borrow.
pub(super) struct Request {
    method: String,
    path: String,
    segments: Vec<Cow<'static, str>>,
    headers: TestHeaders,
}

impl Request {
    pub(super) fn new(method: &str, path: &str) -> Self {
        let segments =
            path.strip_prefix('/').unwrap().split('/').map(|s| Cow::Owned(s.to_owned())).collect();
        Self { method: method.into(), path: path.into(), segments, headers: TestHeaders::default() }
    }

    pub(super) fn header(mut self, name: &'static str, values: &[&'static str]) -> Self {
        self.headers.0.insert(name, values.iter().map(|value| value.as_bytes()).collect());
        self
    }

    pub(super) fn facts<'a>(
        &'a self,
        peer: Option<&'a SpiffeId>,
        user: Option<&'a UserFacts>,
    ) -> Facts<'a> {
        let request = RequestFacts {
            method: &self.method,
            host: "orders.shop",
            path: &self.path,
            segments: &self.segments,
            query: Some("page=2"),
            headers: &self.headers,
            body: &NoBody,
        };
        Facts { peer, user, request: Some(request), ..Facts::at(now()) }
    }
}

/// Counts what is looked at, as the hot path does it.
#[derive(Default)]
pub(super) struct Counter(pub(super) usize);

impl Recorder for Counter {
    const EVERY: bool = false;

    fn candidate(&mut self, _: &RuleName, _: Effect, _: &Fate) {
        self.0 += 1;
    }
}

/// Keeps what became of every candidate.
#[derive(Default)]
pub(super) struct Everything(pub(super) Vec<(String, Fate)>);

impl Recorder for Everything {
    const EVERY: bool = true;

    fn candidate(&mut self, rule: &RuleName, _: Effect, fate: &Fate) {
        self.0.push((rule.rule().to_owned(), fate.clone()));
    }
}

#[test]
fn a_set_is_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&compile(&["{ name: r, deny: {} }"]));
    shared(&user(&[], &[], serde_json::json!({})));
}

#[test]
fn a_rule_is_named_by_policy_and_name() {
    let set = compile(&["{ name: r.1, deny: {} }"]);
    let request = Request::new("GET", "/");
    let decision = set.decide(&request.facts(None, None));
    let Decision::Deny(rule) = decision else { panic!("{decision:?}") };
    assert_eq!((rule.policy(), rule.rule()), ("shop/orders", "r.1"));
    assert_eq!(rule.to_string(), "shop/orders#r.1");
}

#[test]
fn a_provider_is_read_with_its_defaults() {
    let text = "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\nmetadata: { name: sso, namespace: shop }\n\
                spec: { issuer: https://idp.example, audiences: [orders], keys: { jwksUri: https://idp.example/keys } }\n";
    let Resource::IdentityProvider(provider) = parse("p.yaml", text).unwrap().remove(0) else {
        panic!("another kind")
    };
    let life = KeyLife {
        refresh_interval: Duration::from_secs(300),
        max_stale: Duration::from_secs(24 * 60 * 60),
    };
    let keys = Keys::JwksUri { uri: "https://idp.example/keys".to_owned(), life };
    let tokens = TokenRules::new("https://idp.example", vec![Algorithm::RS256], keys);
    let rules = ClaimRules::for_audiences(vec!["orders".to_owned()]);
    assert_eq!(rules.leeway, Duration::from_secs(30));
    assert_eq!(provider.spec, IdentityProviderSpec::for_tokens(tokens, rules));
    assert_eq!(provider.spec.claims.scopes, [["scope"], ["scp"]].map(|p| ClaimPath::of(&p)));
}

#[test]
fn a_provider_is_read_with_all_it_can_say() {
    let text = "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\nmetadata: { name: sso, namespace: shop }\nspec:\n  \
                issuer: https://idp.example\n  audiences: [orders, shop]\n  algorithms: [ES256, EdDSA]\n  leeway: 0s\n  \
                keys:\n    inline:\n      keys: [{ kty: RSA, kid: 0123, n: no, e: AQAB }]\n  \
                claims: { roles: [[realm_access, roles], [roles]], scopes: [[scope]] }\n";
    let Resource::IdentityProvider(provider) = parse("p.yaml", text).unwrap().remove(0) else {
        panic!("another kind")
    };
    let spec = provider.spec;
    assert_eq!(spec.rules.leeway, Duration::ZERO);
    let tokens = spec.tokens.unwrap();
    assert_eq!(tokens.algorithms, [Algorithm::ES256, Algorithm::EdDSA]);
    // What looks like a number or a truth stays text inside inline keys too.
    let key = serde_json::json!({ "kty": "RSA", "kid": "0123", "n": "no", "e": "AQAB" });
    assert_eq!(tokens.keys, Some(Keys::Inline(serde_json::json!({ "keys": [key] }))));
    assert_eq!(
        spec.claims.roles,
        [ClaimPath::of(&["realm_access", "roles"]), ClaimPath::of(&["roles"])]
    );
}
