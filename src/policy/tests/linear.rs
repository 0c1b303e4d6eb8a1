//! The index decides what a walk over all rules decides, for rules and facts at random.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::*;
use crate::policy::users::whole;

const SEGMENTS: [&str; 4] = ["a", "b", "c", ""];
const METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
const ACCOUNTS: [&str; 3] = ["web", "api", "job"];
const NAMES: [&str; 3] = ["x", "y", "z"];

/// A rule as data, from which both the YAML and the expected outcome come.
#[derive(Debug, Clone)]
struct Model {
    deny: bool,
    peers: Option<Vec<&'static str>>,
    users: Option<ModelUsers>,
    requests: Option<Vec<ModelRequest>>,
    when: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct ModelUsers {
    providers: Option<Vec<&'static str>>,
    roles: Option<Vec<&'static str>>,
    scopes: Option<Vec<&'static str>>,
    claims: Option<(&'static str, Vec<Value>)>,
}

#[derive(Debug, Clone)]
struct ModelRequest {
    methods: Option<Vec<&'static str>>,
    paths: Option<Vec<Vec<&'static str>>>,
}

/// Provider, roles, scopes, claims.
type ModelUser = (&'static str, Vec<&'static str>, Vec<&'static str>, Vec<(&'static str, Value)>);

#[derive(Debug, Clone)]
struct ModelFacts {
    peer: Option<&'static str>,
    user: Option<ModelUser>,
    request: Option<(&'static str, Vec<&'static str>)>,
}

/// Conditions with the outcome that each must have for some facts.
const CONDITIONS: [&str; 6] = [
    "true",
    "false",
    "user.sub == 'alice'",
    "request.method == 'GET'",
    "peer.serviceAccount == 'web'",
    "user.claims.x == 'v'",
];

fn condition(text: &str, facts: &ModelFacts) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        "user.sub == 'alice'" => facts.user.as_ref().map(|_| true),
        "request.method == 'GET'" => facts.request.as_ref().map(|(method, _)| *method == "GET"),
        "peer.serviceAccount == 'web'" => facts.peer.map(|account| account == "web"),
        "user.claims.x == 'v'" => {
            let (_, _, _, claims) = facts.user.as_ref()?;
            let (_, value) = claims.iter().rfind(|(name, _)| *name == "x")?;
            Some(*value == json!("v"))
        }
        other => panic!("{other}"),
    }
}

fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(names.to_vec(), 1..=names.len())
}

fn any_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(names.to_vec(), 0..=names.len())
}

fn value() -> impl Strategy<Value = Value> {
    select(vec![json!("v"), json!("w"), json!(1), json!(2), json!(true), json!(false)])
}

fn held() -> impl Strategy<Value = Value> {
    prop_oneof![
        value(),
        prop::collection::vec(value(), 0..3).prop_map(Value::Array),
        Just(json!(1.0)),
        Just(json!(null)),
        Just(json!({"v": "v"})),
    ]
}

fn template() -> impl Strategy<Value = Vec<&'static str>> {
    let inner = select(vec!["a", "b", "c", "*", "{v}"]);
    (prop::collection::vec(inner, 0..3), select(vec!["a", "b", "*", "{w}", "**", ""])).prop_map(
        |(mut segments, last)| {
            let mut seen = false;
            for segment in &mut segments {
                if *segment == "{v}" && std::mem::replace(&mut seen, true) {
                    *segment = "*";
                }
            }
            segments.push(last);
            segments
        },
    )
}

fn distinct<T: PartialEq>(mut list: Vec<T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in list.drain(..) {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

fn request() -> impl Strategy<Value = ModelRequest> {
    let paths = prop::collection::vec(template(), 1..3).prop_map(distinct);
    prop_oneof![
        some_of(&METHODS).prop_map(|methods| ModelRequest { methods: Some(methods), paths: None }),
        (prop::option::of(some_of(&METHODS)), paths)
            .prop_map(|(methods, paths)| ModelRequest { methods, paths: Some(paths) }),
    ]
}

fn users() -> impl Strategy<Value = ModelUsers> {
    let claims = (select(NAMES.to_vec()), prop::collection::vec(value(), 1..3).prop_map(distinct));
    (
        prop::option::weighted(0.3, some_of(&["sso", "partner"])),
        prop::option::weighted(0.4, some_of(&NAMES)),
        prop::option::weighted(0.4, some_of(&NAMES)),
        prop::option::weighted(0.4, claims),
    )
        .prop_map(|(providers, roles, scopes, claims)| ModelUsers {
            providers,
            roles,
            scopes,
            claims,
        })
}

fn rule() -> impl Strategy<Value = Model> {
    (
        prop::bool::weighted(0.25),
        prop::option::of(some_of(&["*", "web", "api", "job"])),
        prop::option::of(users()),
        prop::option::of(prop::collection::vec(request(), 1..3)),
        prop::option::weighted(0.3, select(CONDITIONS.to_vec())),
    )
        .prop_map(|(deny, peers, users, requests, when)| Model {
            deny,
            peers,
            users,
            requests,
            when,
        })
        .prop_filter("an allow restricts", |rule| {
            rule.deny
                || rule.peers.is_some()
                || rule.users.is_some()
                || rule.requests.is_some()
                || rule.when.is_some()
        })
}

fn facts() -> impl Strategy<Value = ModelFacts> {
    let claims = prop::collection::vec((select(NAMES.to_vec()), held()), 0..3);
    let user = (select(vec!["sso", "partner"]), any_of(&NAMES), any_of(&NAMES), claims);
    let request =
        (select(METHODS.to_vec()), prop::collection::vec(select(SEGMENTS.to_vec()), 1..4));
    (
        prop::option::of(select(ACCOUNTS.to_vec())),
        prop::option::weighted(0.7, user),
        prop::option::weighted(0.9, request),
    )
        .prop_map(|(peer, user, request)| ModelFacts { peer, user, request })
}

fn yaml(name: usize, rule: &Model) -> String {
    let mut matcher = serde_json::Map::new();
    if let Some(peers) = &rule.peers {
        let peers: Vec<String> = peers
            .iter()
            .map(|peer| if *peer == "*" { "*".into() } else { format!("ns/shop/sa/{peer}") })
            .collect();
        matcher.insert("peers".into(), json!(peers));
    }
    if let Some(users) = &rule.users {
        let mut object = serde_json::Map::new();
        let ModelUsers { providers, roles, scopes, claims } = users;
        for (field, list) in [("providers", providers), ("roles", roles), ("scopes", scopes)] {
            if let Some(list) = list {
                object.insert(field.into(), json!(list));
            }
        }
        if let Some((name, values)) = claims {
            object.insert("claims".into(), json!({ *name: values }));
        }
        matcher.insert("users".into(), Value::Object(object));
    }
    if let Some(requests) = &rule.requests {
        let requests: Vec<Value> = requests
            .iter()
            .map(|request| {
                let mut object = serde_json::Map::new();
                if let Some(methods) = &request.methods {
                    object.insert("methods".into(), json!(methods));
                }
                if let Some(paths) = &request.paths {
                    let paths: Vec<String> =
                        paths.iter().map(|path| format!("/{}", path.join("/"))).collect();
                    object.insert("paths".into(), json!(paths));
                }
                Value::Object(object)
            })
            .collect();
        matcher.insert("requests".into(), Value::Array(requests));
    }
    if let Some(when) = rule.when {
        matcher.insert("when".into(), json!(when));
    }
    let effect = if rule.deny { "deny" } else { "allow" };
    json!({ "name": format!("r{name}"), effect: matcher }).to_string()
}

fn path_matches(template: &[&str], path: &[&str]) -> bool {
    match (template.split_first(), path.split_first()) {
        (Some((&"**", _)), _) => true,
        (None, None) => true,
        (Some((&first, others)), Some((&segment, rest))) => {
            let one = first == "*" || first.starts_with('{');
            (if one { !segment.is_empty() } else { first == segment }) && path_matches(others, rest)
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// What a deny rule matches: the template, with or without a slash at the end.
fn path_matches_either(template: &[&str], path: &[&str]) -> bool {
    let (without, with) = match path {
        [] | [""] | [.., "", ""] => return path_matches(template, path),
        [start @ .., ""] => (start.to_vec(), path.to_vec()),
        _ => (path.to_vec(), [path, &[""]].concat()),
    };
    path_matches(template, &without) || path_matches(template, &with)
}

fn claim_is(wanted: &Value, held: &Value) -> bool {
    match (wanted, held) {
        (wanted, Value::Array(members)) => members
            .iter()
            .any(|member| !matches!(member, Value::Array(_)) && claim_is(wanted, member)),
        (Value::Number(wanted), Value::Number(held)) => whole(wanted) == whole(held),
        (wanted, held) => wanted == held,
    }
}

fn typed_parts_match(rule: &Model, facts: &ModelFacts) -> bool {
    let peers = rule.peers.as_ref().is_none_or(|peers| {
        facts.peer.is_some_and(|peer| peers.iter().any(|wanted| *wanted == "*" || *wanted == peer))
    });
    let users = rule.users.as_ref().is_none_or(|users| {
        facts.user.as_ref().is_some_and(|(provider, roles, scopes, claims)| {
            let has = |wanted: &Option<Vec<&str>>, held: &[&str]| {
                wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|name| held.contains(name)))
            };
            has(&users.providers, &[provider])
                && has(&users.roles, roles)
                && has(&users.scopes, scopes)
                && users.claims.as_ref().is_none_or(|(name, wanted)| {
                    claims
                        .iter()
                        .rfind(|(held, _)| held == name)
                        .is_some_and(|(_, held)| wanted.iter().any(|one| claim_is(one, held)))
                })
        })
    });
    let requests = rule.requests.as_ref().is_none_or(|requests| {
        facts.request.as_ref().is_some_and(|(method, path)| {
            requests.iter().any(|request| {
                request.methods.as_ref().is_none_or(|methods| methods.contains(method))
                    && request.paths.as_ref().is_none_or(|paths| {
                        paths.iter().any(|template| match rule.deny {
                            true => path_matches_either(template, path),
                            false => path_matches(template, path),
                        })
                    })
            })
        })
    });
    peers && users && requests
}

/// An allow rule for this peer and request asks for a user, and there is none.
fn wants_user(rule: &Model, facts: &ModelFacts) -> bool {
    let anybody = Model { users: None, ..rule.clone() };
    !rule.deny && rule.users.is_some() && facts.user.is_none() && typed_parts_match(&anybody, facts)
}

/// What a walk over all rules says: the outcome, and the first rule that has it.
fn linear(rules: &[Model], facts: &ModelFacts) -> String {
    let outcomes: Vec<(usize, bool, Option<bool>)> = rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| typed_parts_match(rule, facts))
        .map(|(place, rule)| {
            let truth = rule.when.map_or(Some(true), |text| condition(text, facts));
            (place, rule.deny, truth)
        })
        .collect();
    let first = |wanted: &dyn Fn(bool, Option<bool>) -> bool| {
        outcomes.iter().find(|(_, deny, truth)| wanted(*deny, *truth)).map(|(place, _, _)| place)
    };
    if let Some(place) = first(&|deny, truth| deny && truth == Some(true)) {
        return format!("deny r{place}");
    }
    if let Some(place) = first(&|_, truth| truth.is_none()) {
        return format!("undecidable r{place}");
    }
    match first(&|deny, truth| !deny && truth == Some(true)) {
        Some(place) => format!("allow r{place}"),
        None if rules.iter().any(|rule| wants_user(rule, facts)) => "anonymous".into(),
        None => "nothing".into(),
    }
}

fn shown(decision: &Decision<'_>) -> String {
    match decision {
        Decision::Allow(rule) => format!("allow {}", rule.rule()),
        Decision::Deny(rule) => format!("deny {}", rule.rule()),
        Decision::NothingAllows => "nothing".into(),
        Decision::NothingAllowsAnonymous => "anonymous".into(),
        Decision::StepUp(rule, _) => format!("step up {}", rule.rule()),
        Decision::AskFirst(engines) => format!("ask {}", engines.join(" ")),
        Decision::Unguarded => "unguarded".into(),
        Decision::Undecidable(rule, _) => format!("undecidable {}", rule.rule()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_as_a_walk_over_all_rules_does(
        rules in prop::collection::vec(rule(), 1..24),
        all_facts in prop::collection::vec(facts(), 24),
    ) {
        let texts: Vec<String> = rules.iter().enumerate().map(|(name, rule)| yaml(name, rule)).collect();
        let set = compile(&texts);
        for facts in &all_facts {
            let expected = linear(&rules, facts);
            let peer = facts.peer.map(peer);
            let user = facts.user.as_ref().map(|(provider, roles, scopes, claims)| {
                let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
                let claims = claims.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
                UserFacts::new(UserParts {
                    roles: own(roles),
                    scopes: own(scopes),
                    claims: claims.collect(),
                    ..UserParts::of(provider, "alice")
                })
            });
            let request = facts.request.as_ref().map(|(method, path)| Request::new(method, &format!("/{}", path.join("/"))));
            let facts = match &request {
                Some(request) => request.facts(peer.as_ref(), user.as_ref()),
                None => Facts { peer: peer.as_ref(), user: user.as_ref(), ..Facts::at(now()) },
            };
            prop_assert_eq!(shown(&set.decide(&facts)), expected.clone(), "{:?}", texts);
            let recorded = set.decide_recorded(&facts, &mut Everything::default());
            prop_assert_eq!(shown(&recorded), expected, "recorded, {:?}", texts);
        }
    }
}
