//! For rules of every kind of part and facts at random: the index decides what a walk over all rules decides, the order
//! of rules makes no difference, and a deny wins.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

use super::*;

/// Parts of rules, at most one of each line in a rule.
const PARTS: [&[&str]; 12] = [
    &[
        "peers: [ns/shop/sa/web]",
        "peers: [ns/shop]",
        "peers: [none, ns/other]",
        "peers: [\"*\"]",
        "peers: [\"spiffe://old.mesh\"]",
    ],
    &["notPeers: [ns/shop/sa/web]", "notPeers: [none]", "notPeers: [\"spiffe://old.mesh\"]"],
    &[
        "users: {}",
        "users: { roles: [a] }",
        "users: { groups: [g] }",
        "users: { subjects: [alice, bob] }",
        "users: { tenants: [t], roles: [a, b] }",
        "users: { anonymous: Only }",
    ],
    &[
        "notUsers: { roles: [a] }",
        "notUsers: { groups: [g] }",
        "notUsers: {}",
        "notUsers: { anonymous: Only }",
    ],
    &["clients: { providers: [sso] }", "notClients: {}"],
    &[
        "requests: [{ paths: [/a] }]",
        "requests: [{ methods: [GET], paths: [\"/a/{x}\"] }, { methods: [POST], paths: [\"/a/**\"] }]",
        "requests: [{ hosts: [shop.example], paths: [\"/**\"] }]",
        "requests: [{ hosts: [\"*.example\"], methods: [GET] }]",
        "requests: [{ ports: [80] }]",
        "requests: [{ sni: [shop.example] }, { paths: [/a/] }]",
        "requests: [{ query: { q: [\"1\"] } }]",
        "requests: [{ headers: { x-a: [b] } }, { paths: [/b] }]",
        "requests: [{ rpc: [{ tool: t }] }]",
    ],
    &[
        "notRequests: [{ paths: [/a] }]",
        "notRequests: [{ methods: [GET], query: { q: [\"1\"] } }]",
        "notRequests: [{ ports: [80] }]",
    ],
    &["sources: [10.0.0.0/8]", "notSources: [10.0.0.0/8]"],
    &["forwardedFor: [192.0.2.0/24]", "notForwardedFor: [192.0.2.0/24]"],
    &["times: [{ zone: UTC, days: [Tue] }]", "notTimes: [{ zone: UTC, days: [Tue] }]"],
    &["engine: opa", "engine: casbin"],
    &["when: user.sub == 'alice'", "when: request.method == 'GET'", "when: \"'a' in user.roles\""],
];

/// Subject, roles, and groups where they are known.
type Who = (&'static str, Vec<&'static str>, Option<Vec<&'static str>>);

#[derive(Debug, Clone)]
struct Situation {
    peer: Option<&'static str>,
    user: Option<Who>,
    client: bool,
    request: Option<(&'static str, &'static str, &'static str, &'static str)>,
    source: Option<IpAddr>,
    forwarded: Option<IpAddr>,
    port: Option<u16>,
    sni: Option<&'static str>,
    engine: EngineAnswer,
    day: u64,
}

fn rule() -> impl Strategy<Value = (bool, Vec<&'static str>)> {
    let lines = subsequence((0..PARTS.len()).collect::<Vec<_>>(), 0..4);
    (any::<bool>(), lines, prop::collection::vec(any::<prop::sample::Index>(), PARTS.len()))
        .prop_map(|(deny, lines, picks)| {
            (deny, lines.into_iter().map(|line| *picks[line].get(PARTS[line])).collect())
        })
}

fn situation() -> impl Strategy<Value = Situation> {
    let address = |texts: [&'static str; 2]| {
        prop::option::of(select(texts.map(|text| text.parse::<IpAddr>().unwrap()).to_vec()))
    };
    let user = (
        select(vec!["alice", "carol"]),
        subsequence(vec!["a", "b"], 0..=2),
        prop::option::of(subsequence(vec!["g", "h"], 0..=2)),
    );
    let request = (
        select(vec!["GET", "POST"]),
        select(vec!["shop.example", "a.b.example", "other.test"]),
        select(vec!["/a", "/a/", "/a/b", "/b"]),
        select(vec!["q=1", "q=2", "q=1&q=1", ""]),
    );
    let places = (
        address(["10.1.1.1", "11.1.1.1"]),
        address(["192.0.2.1", "192.0.3.1"]),
        prop::option::of(select(vec![80, 81])),
        prop::option::of(select(vec!["shop.example", "x.test"])),
    );
    let engine = select(vec![
        EngineAnswer::Yes,
        EngineAnswer::No,
        EngineAnswer::Undefined,
        EngineAnswer::Failed("down".into()),
        EngineAnswer::NotAsked,
    ]);
    (
        prop::option::of(select(vec![
            "spiffe://demo.mesh/ns/shop/sa/web",
            "spiffe://demo.mesh/ns/other/sa/x",
            "spiffe://old.mesh/ns/shop/sa/web",
            "spiffe://far.example/ns/shop/sa/web",
        ])),
        prop::option::weighted(0.7, user),
        any::<bool>(),
        prop::option::weighted(0.9, request),
        places,
        engine,
        0_u64..3,
    )
        .prop_map(|(peer, user, client, request, places, engine, day)| {
            let (source, forwarded, port, sni) = places;
            Situation { peer, user, client, request, source, forwarded, port, sni, engine, day }
        })
}

struct Says<'a>(&'a EngineAnswer);

impl Engines for Says<'_> {
    fn answer(&self, _: &str, _: &Facts<'_>) -> EngineAnswer {
        self.0.clone()
    }
}

/// Calls `with` with the facts of a situation.
fn in_situation<T>(situation: &Situation, with: impl FnOnce(&Facts<'_>) -> T) -> T {
    let peer = situation.peer.map(|id| SpiffeId::parse(id).unwrap());
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let user = situation.user.as_ref().map(|(subject, roles, groups)| {
        UserFacts::new(UserParts {
            roles: own(roles),
            groups: groups.as_ref().map_or(Groups::Unknown, |groups| Groups::Known(own(groups))),
            tenant: Some("t".into()),
            ..UserParts::of("sso", subject)
        })
    });
    let client = situation.client.then(|| UserFacts::new(UserParts::of("sso", "app")));
    let request = situation.request.map(|(method, host, path, query)| {
        (
            Request::new(method, path)
                .header("x-a", if path == "/b" { &["b"] } else { &["b", "c"] }),
            host,
            query,
        )
    });
    let engines = Says(&situation.engine);
    let facts =
        request.as_ref().map_or(Facts::at(now()), |(request, ..)| request.facts(None, None));
    let target = facts.request.zip(request.as_ref());
    let target =
        target.map(|(facts, (_, host, query))| RequestFacts { host, query: Some(query), ..facts });
    let connection = Connection {
        source: situation.source,
        forwarded: situation.forwarded.map_or(Forwarded::Unknown, Forwarded::Known),
        port: situation.port,
        sni: situation.sni,
    };
    with(&Facts {
        peer: peer.as_ref(),
        user: user.as_ref(),
        client: client.as_ref(),
        request: target,
        connection,
        engines: &engines,
        now: now() + Duration::from_secs(situation.day * 86_400),
    })
}

/// What a walk over all rules decides.
fn walk(set: &PolicySet, facts: &Facts<'_>) -> String {
    let examined = set.examine(facts);
    let first = |wanted: &dyn Fn(&Examined<'_>) -> bool| {
        examined.iter().find(|rule| wanted(rule)).map(|rule| rule.name.rule().to_owned())
    };
    let is = |rule: &Examined<'_>, effect| rule.rule.effect == effect && rule.fate == Fate::Matched;
    if let Some(rule) = first(&|rule| is(rule, Effect::Deny)) {
        return format!("deny {rule}");
    }
    if let Some(rule) = first(&|rule| matches!(rule.fate, Fate::Undecidable(_))) {
        return format!("undecidable {rule}");
    }
    if examined.iter().any(|rule| rule.fate == Fate::NotAsked) {
        return "ask".to_owned();
    }
    match first(&|rule| is(rule, Effect::Allow)) {
        Some(rule) => format!("allow {rule}"),
        None => "nothing".to_owned(),
    }
}

fn told(decision: &Decision<'_>) -> String {
    match decision {
        Decision::Allow(rule) => format!("allow {}", rule.rule()),
        Decision::Deny(rule) => format!("deny {}", rule.rule()),
        Decision::Undecidable(rule, _) => format!("undecidable {}", rule.rule()),
        Decision::AskFirst(_) => "ask".to_owned(),
        Decision::NothingAllows | Decision::NothingAllowsAnonymous => "nothing".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn outcome(text: &str) -> &str {
    text.split(' ').next().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_kind_of_part_is_found_by_the_index(
        rules in prop::collection::vec(rule(), 1..12),
        situations in prop::collection::vec(situation(), 16),
    ) {
        let texts: Vec<String> = rules
            .iter()
            .enumerate()
            .filter(|(_, (deny, parts))| *deny || parts.iter().any(|part| !part.starts_with("not") && !part.starts_with("times")))
            .map(|(number, (deny, parts))| {
                let effect = if *deny { "deny" } else { "allow" };
                format!("{{ name: r{number}, {effect}: {{ {} }} }}", parts.join(", "))
            })
            .collect();
        prop_assume!(!texts.is_empty());
        let set = compile(&texts);
        let reversed = compile(&texts.iter().rev().cloned().collect::<Vec<_>>());
        let denied = compile(&[texts.clone(), vec![json!({ "name": "no", "deny": {} }).to_string()]].concat());
        for situation in &situations {
            in_situation(situation, |facts| {
                let decided = told(&set.decide(facts));
                prop_assert_eq!(&decided, &walk(&set, facts), "{:?} {:?}", texts, situation);
                let other = told(&reversed.decide(facts));
                prop_assert_eq!(outcome(&decided), outcome(&other), "{:?} {:?}", texts, situation);
                prop_assert!(matches!(denied.decide(facts), Decision::Deny(_)));
                Ok(())
            })?;
        }
    }
}
