//! Casbin in process.

use super::{Told, failed};
use crate::policy::{Casbin, CasbinField, EngineAnswer, InvalidCasbin};

const MODEL: &str = "
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && regexMatch(r.act, p.act)
";
const POLICY: &str = "
# who may do what
p, support, /orders/:id, ^GET$, allow
p, support, /orders/:id/secret, ^GET$, deny
p, support, /orders/*, ^GET$, allow
g, ann, support
";
const FIELDS: [CasbinField; 3] = [CasbinField::UserSub, CasbinField::Path, CasbinField::Method];

fn compile(model: &str, policy: &str, fields: &[CasbinField]) -> Result<Casbin, InvalidCasbin> {
    let (model, policy) = (("model.conf", model.as_bytes()), ("policy.csv", policy.as_bytes()));
    Casbin::compile(model, policy, fields)
}

fn says(model: &str, policy: &str, told: &Told) -> EngineAnswer {
    let casbin = compile(model, policy, &FIELDS).unwrap_or_else(|error| panic!("{error}"));
    told.with(|facts| casbin.judge(facts))
}

fn refused(model: &str, policy: &str) -> String {
    compile(model, policy, &FIELDS).expect_err("refused").to_string()
}

#[test]
fn roles_patterns_and_effects_decide() {
    let judged = |told: &Told| says(MODEL, POLICY, told);
    assert_eq!(judged(&Told::by("ann", "GET", "/orders/7")), EngineAnswer::Yes);
    assert_eq!(judged(&Told::by("ann", "PUT", "/orders/7")), EngineAnswer::No);
    assert_eq!(judged(&Told::by("bob", "GET", "/orders/7")), EngineAnswer::No);
    assert_eq!(judged(&Told::by("ann", "GET", "/orders/7/secret")), EngineAnswer::No, "deny wins");
    assert_eq!(judged(&Told::by("ann", "GET", "/orders/7/items")), EngineAnswer::Yes);
}

#[test]
fn without_what_is_asked_for_nothing_is_said() {
    assert_eq!(says(MODEL, POLICY, &Told::anonymous("GET", "/orders/7")), EngineAnswer::Undefined);
}

#[test]
fn nobody_is_called_what_a_role_is_called() {
    let said = says(MODEL, POLICY, &Told::by("support", "GET", "/orders/7"));
    assert!(failed(&said).is_some_and(|why| why.contains("somebody else")), "{said:?}");
}

#[test]
fn lists_are_lists() {
    let model = "[request_definition]\nr = roles, obj\n[policy_definition]\np = role, obj\n\
        [policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\n\
        m = p.role in r.roles && r.obj == p.obj\n";
    let fields = [CasbinField::UserRoles, CasbinField::Path];
    let casbin = compile(model, "p, support, /orders", &fields).unwrap();
    let judged = |path| Told::by("ann", "GET", path).with(|facts| casbin.judge(facts));
    assert_eq!(judged("/orders"), EngineAnswer::Yes);
    assert_eq!(judged("/refunds"), EngineAnswer::No);
}

#[test]
fn what_panics_in_the_middle_of_a_character_matches_nothing() {
    let model = MODEL.replace("keyMatch2", "keyMatch");
    let policy = "p, support, /ab*, GET, allow\ng, ann, support";
    assert_eq!(says(&model, policy, &Told::by("ann", "GET", "/a\u{e9}/x")), EngineAnswer::No);
    assert_eq!(says(&model, policy, &Told::by("ann", "GET", "/abc")), EngineAnswer::Yes);
    assert_eq!(says(&model, policy, &Told::by("ann", "GET", "/a")), EngineAnswer::No);
}

#[test]
fn a_model_that_would_fail_or_be_passed_over_is_refused() {
    for (from, to, says) in [
        (
            "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
            "subjectPriority(p.eft) || deny",
            "the effect",
        ),
        ("[matchers]", "[matcher]", "did you mean `matchers`?"),
        ("r = sub", "r2 = sub", "only `r` is used"),
        ("g = _, _", "g = _, _\ng2 = _, _", "only `g` is used"),
        ("g = _, _", "g = _", "neither `_, _` nor"),
        ("m = g(", "m = eval(p.sub) && g(", "calls `eval`"),
        ("m = g(", "m = nothing_like_it(r.sub) && g(", "cannot be evaluated"),
        ("m = g(", "m = && g(", "model.conf"),
        ("[policy_effect]\ne =", "[policy_effect]\n# e =", "[policy_effect] is missing"),
        ("regexMatch(r.act, p.act)", "regexMatch(p.act, r.act)", "with the pattern `r.act`"),
        ("r = sub, obj, act", "r = sub, obj", "`request` has 3"),
    ] {
        let model = MODEL.replace(from, to);
        assert_ne!(model, MODEL, "{from}");
        let said = refused(&model, POLICY);
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_line_that_would_fail_or_be_passed_over_is_refused() {
    for (line, says) in [
        ("p, support, /x, GET", "policy.csv:3: has 3 values after its first, expected 4"),
        ("p2, support, /x, GET, allow", "begins with `p2`"),
        ("P, support, /x, GET, allow", "begins with `P`"),
        ("g, ann", "expected 2"),
        ("p, support, /x, GET, Deny", "the effect `Deny`"),
        ("p, support, /x, [, allow", "`[` is no pattern for regexMatch"),
        ("p, support, /x(, GET, allow", "`/x(` is no pattern for keyMatch2"),
        ("p, support, \"/x, GET, allow", "not closed"),
        ("p, admin, /ok, GET, allow", "written twice"),
    ] {
        let policy = format!("p, admin, /ok, GET, allow\ng, ann, admin\n{line}\n");
        let said = refused(MODEL, &policy);
        assert!(said.contains(says), "{line}: {said}");
    }
    assert!(refused(MODEL, "# nothing\n").contains("has no line that begins with `p`"));
    assert!(refused(MODEL, "g, ann, support\n").contains("has no line that begins with `p`"));
    let many: String = (0..3000).map(|n| format!("p, u{n}, /x, GET, allow\n")).collect();
    assert!(refused(MODEL, &many).contains("3000 lines"));
}
