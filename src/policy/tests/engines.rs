//! Rules that ask an engine.

use std::borrow::Cow;

use super::*;

struct Says(EngineAnswer);

impl Engines for Says {
    fn answer(&self, engine: &str, _: &Facts<'_>) -> EngineAnswer {
        assert_eq!(engine, "opa");
        self.0.clone()
    }
}

fn decide(rules: &[&str], answer: EngineAnswer) -> String {
    let set = compile(rules);
    let request = Request::new("GET", "/a");
    let facts = Facts { engines: &Says(answer), ..request.facts(None, None) };
    match set.decide(&facts) {
        Decision::Allow(rule) => format!("allow {}", rule.rule()),
        Decision::Deny(rule) => format!("deny {}", rule.rule()),
        Decision::Undecidable(rule, reason) => format!("undecidable {}: {reason}", rule.rule()),
        Decision::AskFirst(engines) => format!("ask {}", engines.join(",")),
        Decision::NothingAllows => "nothing".into(),
        other => panic!("{other:?}"),
    }
}

const ALLOW: &str = "{ name: yes, allow: { engine: opa } }";
const DENY: &str = "{ name: no, deny: { engine: opa } }";
const ALL: &str = "{ name: all, allow: { requests: [{ paths: [\"/**\"] }] } }";
const NONE: &str = "{ name: none, deny: { requests: [{ paths: [\"/a\"] }] } }";
const ELSEWHERE: &str = "{ name: b, deny: { requests: [{ paths: [/b] }], engine: opa } }";

#[test]
fn an_engine_admits_only_by_a_clear_yes() {
    let failed = || EngineAnswer::Failed(Cow::Borrowed("timeout"));
    assert_eq!(decide(&[ALLOW], EngineAnswer::Yes), "allow yes");
    assert_eq!(decide(&[ALLOW], EngineAnswer::No), "nothing");
    assert_eq!(decide(&[ALLOW], EngineAnswer::Undefined), "nothing");
    assert_eq!(
        decide(&[ALLOW], failed()),
        "undecidable yes: the engine \"opa\" could not say: timeout"
    );
    assert_eq!(decide(&[DENY, ALL], EngineAnswer::Yes), "deny no");
    assert_eq!(decide(&[DENY, ALL], EngineAnswer::No), "allow all");
    // A deny about which nothing is said does not let pass.
    assert!(decide(&[DENY, ALL], EngineAnswer::Undefined).starts_with("undecidable no"));
    assert!(decide(&[DENY, ALL], failed()).starts_with("undecidable no"));
}

#[test]
fn an_engine_is_asked_where_its_answer_matters() {
    assert_eq!(decide(&[ALLOW], EngineAnswer::NotAsked), "ask opa");
    assert_eq!(decide(&[DENY, ALL], EngineAnswer::NotAsked), "ask opa");
    // Refused whatever it says.
    assert_eq!(decide(&[DENY, ALL, NONE], EngineAnswer::NotAsked), "deny none");
    // The rest of the rule does not match.
    assert_eq!(decide(&[ELSEWHERE, ALL], EngineAnswer::NotAsked), "allow all");
    // It could turn out to be unable to say, which refuses.
    assert_eq!(decide(&[ALL, ALLOW], EngineAnswer::NotAsked), "ask opa");
}
