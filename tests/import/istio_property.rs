//! For policies and calls at random: what the translation admits, Istio admits too.

use std::borrow::Cow;
use std::cell::Cell;
use std::time::SystemTime;

use hopgate::identity::{SpiffeId, TrustDomain};
use hopgate::policy::import::{Options, System, import};
use hopgate::policy::{
    AccessPolicy, Connection, Decision, Facts, Forwarded, HeaderValue, Headers, NoBody, NoEngines,
    RequestFacts, Resource, UserFacts, UserParts, Workload, parse,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use super::istio_reference::{
    Call, Condition, From, Http, Operation, Policy, Rule, Source, To, User, admits,
};
use crate::support::policies::compile;

const ISSUER: &str = "https://sso.example";

/// At most two of these, mostly none.
fn some(pool: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let two = subsequence(pool.to_vec(), 0..=2)
        .prop_map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
    prop_oneof![3 => Just(Vec::new()), 1 => two]
}

const PRINCIPALS: &[&str] = &[
    "cluster.local/ns/shop/sa/web",
    "mesh.example/ns/ops/*",
    "*/ns/shop/sa/web",
    "other.example/ns/shop/sa/web",
    "cluster.local/*",
    "cluster.local/ns/s*",
    "*/web",
    "*",
];
const USERS: &[&str] = &[
    "https://sso.example/alice",
    "https://sso.example/*",
    "https://other.example/alice",
    "*/bob",
    "*",
];
const NAMESPACES: &[&str] = &["shop", "ops", "*", "o*"];
const BLOCKS: &[&str] = &["10.0.0.0/8", "10.1.2.3", "192.168.0.0/16"];
const HOSTS: &[&str] = &["shop.example", "*.shop.example", "shop.*", "*"];
const PORTS: &[&str] = &["8080", "9090"];
const METHODS: &[&str] = &["GET", "POST", "*", "P*"];
const PATHS: &[&str] = &[
    "/a",
    "/a/*",
    "/a*",
    "*/b",
    "/",
    "/*",
    "*",
    "/a/{*}/c",
    "/x/{**}",
    "/a/*/c",
    "/a/",
    "/x/{**}/z",
];

fn source() -> impl Strategy<Value = Source> {
    (
        some(PRINCIPALS),
        some(PRINCIPALS),
        some(USERS),
        some(USERS),
        some(NAMESPACES),
        some(NAMESPACES),
        some(BLOCKS),
        some(BLOCKS),
    )
        .prop_map(|lists| Source {
            principals: lists.0,
            not_principals: lists.1,
            request_principals: lists.2,
            not_request_principals: lists.3,
            namespaces: lists.4,
            not_namespaces: lists.5,
            ip_blocks: lists.6,
            not_ip_blocks: lists.7,
        })
        .prop_filter("says nothing", |source| *source != Source::default())
}

fn operation() -> impl Strategy<Value = Operation> {
    (
        some(HOSTS),
        some(HOSTS),
        some(PORTS),
        some(PORTS),
        some(METHODS),
        some(METHODS),
        some(PATHS),
        some(PATHS),
    )
        .prop_map(|lists| Operation {
            hosts: lists.0,
            not_hosts: lists.1,
            ports: lists.2,
            not_ports: lists.3,
            methods: lists.4,
            not_methods: lists.5,
            paths: lists.6,
            not_paths: lists.7,
        })
        .prop_filter("says nothing", |operation| *operation != Operation::default())
}

fn condition() -> impl Strategy<Value = Condition> {
    let of = |key: &'static str, pool: &'static [&'static str]| {
        (some(pool), some(pool)).prop_map(move |(values, not_values)| Condition {
            key,
            values,
            not_values,
        })
    };
    prop_oneof![
        of("source.ip", BLOCKS),
        of("source.namespace", &["shop", "ops"]),
        of("destination.port", PORTS),
        of("request.headers[x-env]", &["prod", "dev", "p*"]),
        of("request.auth.claims[group]", &["staff", "guests", "s*"]),
        of("request.auth.claims[realm][roles]", &["admin", "editor"]),
    ]
    .prop_filter("says nothing", |one| !one.values.is_empty() || !one.not_values.is_empty())
}

fn policy() -> impl Strategy<Value = Policy> {
    let rule = (
        proptest::collection::vec(source().prop_map(|source| From { source }), 0..=2),
        proptest::collection::vec(operation().prop_map(|operation| To { operation }), 0..=2),
        proptest::collection::vec(condition(), 0..=1),
    )
        .prop_map(|(from, to, when)| Rule { from, to, when });
    (select(vec!["ALLOW", "ALLOW", "DENY"]), proptest::collection::vec(rule, 1..=2))
        .prop_map(|(action, rules)| Policy { action, rules })
}

fn call() -> impl Strategy<Value = Call> {
    let user = |subject, group, roles| User { issuer: ISSUER, subject, group, roles };
    let users = vec![
        None,
        Some(user("alice", "staff", vec!["admin"])),
        Some(user("bob", "guests", vec!["editor", "viewer"])),
    ];
    let principals = vec![
        None,
        Some("mesh.example/ns/shop/sa/web"),
        Some("mesh.example/ns/ops/sa/ci"),
        Some("other.example/ns/shop/sa/web"),
    ];
    let http = (
        select(vec!["shop.example", "api.shop.example", "other.example"]),
        select(vec!["GET", "POST", "PUT"]),
        select(vec![
            "/", "/a", "/a/", "/a/b", "/ab", "/a/x/c", "/x", "/x/", "/x/y/z", "/b", "/q/b", "/a/c",
        ]),
        select(vec![None, Some("prod"), Some("dev")]),
    )
        .prop_map(|(host, method, path, env)| Http { host, method, path, env });
    (
        select(principals),
        select(users),
        select(vec!["10.1.2.3", "10.9.9.9", "192.168.1.1", "8.8.8.8"]),
        select(vec![8080, 9090]),
        prop_oneof![6 => http.prop_map(Some), 1 => Just(None)],
    )
        .prop_map(|(principal, user, source, port, http)| Call {
            principal,
            user: user.filter(|_| http.is_some()),
            source: source.parse().unwrap(),
            port,
            http,
        })
}

/// The translated policies.
fn translated(policies: &[Policy]) -> Vec<AccessPolicy> {
    let mut text = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{ name: sso, namespace: shop }}\n\
         spec: {{ jwtRules: [ {{ issuer: \"{ISSUER}\", audiences: [shop], jwksUri: \"{ISSUER}/keys\" }} ] }}\n"
    );
    for (number, policy) in policies.iter().enumerate() {
        let document = json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": { "name": format!("p{number}"), "namespace": "shop" },
            "spec": policy,
        });
        text.push_str(&format!("---\n{document}\n"));
    }
    let options = Options {
        trust_domain: "mesh.example".to_owned(),
        root_namespace: "istio-system".to_owned(),
        namespaces: Vec::new(),
    };
    let translation = import(System::Istio, &[("p.yaml".to_owned(), text)], &options)
        .unwrap_or_else(|error| panic!("{error}"));
    let resources = parse("translated.yaml", &translation.yaml().unwrap()).unwrap();
    resources
        .into_iter()
        .filter_map(|resource| match resource {
            Resource::AccessPolicy(policy) => Some(policy),
            _ => None,
        })
        .collect()
}

struct Env(Option<&'static str>);

impl Headers for Env {
    fn value(&self, name: &str) -> HeaderValue<'_> {
        match (name, self.0) {
            ("x-env", Some(env)) => HeaderValue::One(env.as_bytes()),
            _ => HeaderValue::Absent,
        }
    }
}

fn admitted(set: &hopgate::policy::PolicySet, call: &Call) -> bool {
    let peer = call.principal.map(|text| SpiffeId::parse(&format!("spiffe://{text}")).unwrap());
    let user = call.user.as_ref().map(|user| {
        let claims = json!({
            "iss": user.issuer,
            "sub": user.subject,
            "group": user.group,
            "realm": { "roles": user.roles },
        });
        let claims = claims.as_object().unwrap().clone();
        UserFacts::new(UserParts { claims, ..UserParts::of("sso", user.subject) })
    });
    let env = Env(call.http.as_ref().and_then(|http| http.env));
    let segments: Vec<Cow<'_, str>> = call
        .http
        .iter()
        .flat_map(|http| http.path.strip_prefix('/').unwrap().split('/'))
        .map(Cow::Borrowed)
        .collect();
    let facts = Facts {
        peer: peer.as_ref(),
        user: user.as_ref(),
        client: None,
        request: call.http.as_ref().map(|http| RequestFacts {
            method: http.method,
            host: http.host,
            path: http.path,
            segments: &segments,
            query: None,
            headers: &env,
            body: &NoBody,
        }),
        connection: Connection {
            source: Some(call.source),
            forwarded: Forwarded::Unknown,
            port: Some(call.port),
            sni: None,
        },
        engines: &NoEngines,
        now: SystemTime::UNIX_EPOCH,
    };
    matches!(set.decide(&facts), Decision::Allow(_))
}

#[test]
fn a_translation_admits_nothing_that_istio_refuses() {
    let workload = Workload {
        trust_domain: TrustDomain::parse("mesh.example").unwrap(),
        namespace: "shop".to_owned(),
        labels: [("app".to_owned(), "orders".to_owned())].into(),
    };
    let (there, here) = (Cell::new(0_u32), Cell::new(0_u32));
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let strategy =
        (proptest::collection::vec(policy(), 1..=3), proptest::collection::vec(call(), 60));
    // The same policies at each run, but where there is time for a search.
    let mut runner = match std::env::var_os("HOPGATE_LONG") {
        Some(_) => TestRunner::new(config),
        None => {
            let seeded = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, seeded)
        }
    };
    let outcome = runner.run(&strategy, |(policies, calls)| {
        let set = compile(&translated(&policies), &["sso"], &workload);
        let guarded = policies.iter().any(|policy| policy.action == "ALLOW");
        for call in &calls {
            let (admits, admitted) = (admits(&policies, call), admitted(&set, call));
            prop_assert!(admits || !admitted, "{call:?}");
            if guarded {
                there.set(there.get() + u32::from(admits));
                here.set(here.get() + u32::from(admitted));
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // What refuses everything would hold the promise too.
    let (there, here) = (there.get(), here.get());
    assert!(there > 500 && here * 2 > there, "{here} of {there} are admitted");
}
