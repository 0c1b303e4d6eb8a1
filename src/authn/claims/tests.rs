use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::{
    Algorithm, ClaimPath, ClaimTest, ClaimValue, ClientAuth, Groups, Keys, Online, Shape, When,
};

const NOW: u64 = 1_790_000_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("no object: {other}"),
    }
}

fn spec() -> IdentityProviderSpec {
    let keys = Keys::Inline(json!({"keys": []}));
    let tokens = TokenRules::new("https://sso.example", vec![Algorithm::ES256], keys);
    IdentityProviderSpec::for_tokens(tokens, ClaimRules::for_audiences(vec!["orders".into()]))
}

fn claims(change: Value) -> Map<String, Value> {
    let mut all = map(json!({"sub": "alice", "aud": "orders", "exp": NOW + 300}));
    for (name, value) in map(change) {
        match value {
            Value::Null => drop(all.shift_remove(&name)),
            value => drop(all.insert(name, value)),
        }
    }
    all
}

fn judge(spec: &IdentityProviderSpec, claims: Map<String, Value>) -> Result<User, TokenFault> {
    let demand = Demand { spec, ending: Ending::Required, no_audience: NoAudience::Refused };
    demand.judge("sso", claims, now(), &mut NoSteps)
}

fn code(spec: &IdentityProviderSpec, change: Value) -> &'static str {
    judge(spec, claims(change)).map_or_else(|fault| fault.code(), |_| "fine")
}

fn test_of(names: &[&str], values: &[&str]) -> ClaimTest {
    let values = values.iter().map(|value| ClaimValue::Text((*value).to_owned())).collect();
    ClaimTest { values: Some(values), ..there(names) }
}

fn there(names: &[&str]) -> ClaimTest {
    ClaimTest { names: names.iter().map(|name| (*name).to_owned()).collect(), values: None }
}

fn shaped(names: &[&str], shape: Shape) -> ClaimPath {
    ClaimPath { shape, ..ClaimPath::of(names) }
}

#[test]
fn each_shape_takes_its_own_form_and_refuses_the_others() {
    let roles = |value: &Value, shape| {
        let mut spec = spec();
        spec.claims.roles = vec![shaped(&["https://ns/roles"], shape)];
        let user = judge(&spec, claims(json!({"https://ns/roles": value})));
        user.map(|user| user.facts().roles().to_vec()).ok()
    };
    let list = json!(["a b", "c"]);
    let words = json!(" a  b ");
    let object = json!({"a b": {"org": 1}, "c": null});
    for (value, shape, found) in [
        (&list, Shape::Any, Some(vec!["a b", "c"])),
        (&list, Shape::List, Some(vec!["a b", "c"])),
        (&list, Shape::Words, None),
        (&list, Shape::Keys, None),
        (&list, Shape::Text, None),
        (&words, Shape::Any, Some(vec!["a", "b"])),
        (&words, Shape::Words, Some(vec!["a", "b"])),
        (&words, Shape::Text, Some(vec![" a  b "])),
        (&words, Shape::List, None),
        (&words, Shape::Keys, None),
        (&object, Shape::Any, None),
        (&object, Shape::Keys, Some(vec!["a b", "c"])),
        (&object, Shape::List, None),
        (&json!(""), Shape::Any, Some(vec![])),
        (&json!(""), Shape::Text, Some(vec![])),
        (&json!([]), Shape::Any, Some(vec![])),
        (&json!({}), Shape::Keys, Some(vec![])),
        (&json!(7), Shape::Any, None),
        (&json!(true), Shape::Any, None),
        (&json!(["a", 7]), Shape::Any, None),
        (&json!(["a", null]), Shape::List, None),
    ] {
        let found = found.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(roles(value, shape), found, "{value} as {shape:?}");
    }
}

#[test]
fn what_is_not_there_adds_nothing_and_a_blocked_way_refuses() {
    let mut spec = spec();
    spec.claims.roles =
        vec![ClaimPath::of(&["realm_access", "roles"]), ClaimPath::of(&["a.b", "c/d"])];
    let roles =
        |change: Value| judge(&spec, claims(change)).map(|user| user.facts().roles().to_vec());
    assert_eq!(roles(json!({})).unwrap(), [""; 0]);
    assert_eq!(roles(json!({"realm_access": {"roles": null}})).unwrap(), [""; 0]);
    let both = json!({"realm_access": {"roles": ["x"]}, "a.b": {"c/d": "y z"}});
    assert_eq!(roles(both).unwrap(), ["x", "y", "z"]);
    for blocked in [json!("roles"), json!(["roles"]), json!(7), json!(true)] {
        let fault = roles(json!({"realm_access": blocked})).unwrap_err();
        assert_eq!(fault, TokenFault::InvalidClaim("realm_access.roles".into()));
    }
}

#[test]
fn an_alias_takes_the_place_of_the_name() {
    let mut spec = spec();
    spec.claims.role_aliases = [("Orders.Read".into(), "reader".into())].into();
    let user = judge(&spec, claims(json!({"roles": ["Orders.Read", "other"]}))).unwrap();
    assert_eq!(user.facts().roles(), ["reader", "other"]);
}

#[test]
fn unknown_groups_are_not_no_groups() {
    let mut spec = spec();
    let groups = |spec: &IdentityProviderSpec, change: Value| {
        judge(spec, claims(change)).map(|user| user.facts().groups().clone())
    };
    let known = |names: &[&str]| Groups::Known(names.iter().map(|n| (*n).to_owned()).collect());
    assert_eq!(groups(&spec, json!({"groups": "Sales North"})), Ok(known(&["Sales North"])));
    let overage = json!({"_claim_names": {"groups": "src1"}});
    assert_eq!(groups(&spec, overage.clone()), Ok(known(&[])));
    let hasgroups =
        ClaimTest { values: Some(vec![ClaimValue::Boolean(true)]), ..there(&["hasgroups"]) };
    spec.claims.groups_unknown_when = vec![there(&["_claim_names", "groups"]), hasgroups];
    assert_eq!(groups(&spec, overage), Ok(Groups::Unknown));
    assert_eq!(groups(&spec, json!({"hasgroups": true})), Ok(Groups::Unknown));
    assert_eq!(groups(&spec, json!({"hasgroups": false, "groups": ["g"]})), Ok(known(&["g"])));
    assert_eq!(groups(&spec, json!({"_claim_names": {}})), Ok(known(&[])));
}

#[test]
fn the_first_subject_that_is_there_counts() {
    let mut spec = spec();
    spec.claims.subject = vec![ClaimPath::of(&["oid"]), shaped(&["sub"], Shape::Text)];
    spec.claims.tenant = vec![ClaimPath::of(&["tid"])];
    let user = judge(&spec, claims(json!({"oid": "o-1", "tid": "t 1", "email": "a@b"}))).unwrap();
    let facts = user.facts();
    assert_eq!((facts.subject(), facts.tenant(), facts.email()), ("o-1", Some("t 1"), Some("a@b")));
    let user = judge(&spec, claims(json!({}))).unwrap();
    let facts = user.facts();
    assert_eq!((facts.subject(), facts.tenant(), facts.email()), ("alice", None, None));
    for (change, expected) in [
        (json!({"sub": null}), "missing_subject"),
        (json!({"oid": ""}), "missing_subject"),
        (json!({"oid": 7}), "invalid_claim"),
        (json!({"oid": ["o"]}), "invalid_claim"),
        (json!({"tid": 7}), "invalid_claim"),
        (json!({"email": ["a@b"]}), "invalid_claim"),
        (json!({"jti": 7}), "invalid_claim"),
    ] {
        assert_eq!(code(&spec, change.clone()), expected, "{change}");
    }
}

#[test]
fn required_and_refused_claims_tell_kinds_of_tokens_apart() {
    let mut spec = spec();
    spec.rules.require = vec![test_of(&["token_use"], &["access"]), there(&["a", "b"])];
    spec.rules.refuse = vec![there(&["nonce"]), test_of(&["typ"], &["Refresh", "ID"])];
    let with = |change: Value| {
        let mut all = map(json!({"token_use": "access", "a": {"b": false}}));
        all.extend(map(change));
        code(&spec, Value::Object(all))
    };
    for (change, expected) in [
        (json!({}), "fine"),
        (json!({"token_use": ["x", "access"]}), "fine"),
        (json!({"token_use": null}), "required_claim_missing"),
        (json!({"token_use": "id"}), "required_claim_other"),
        (json!({"token_use": "Access"}), "required_claim_other"),
        (json!({"token_use": [["access"]]}), "required_claim_other"),
        (json!({"token_use": []}), "required_claim_other"),
        (json!({"a": {}}), "required_claim_missing"),
        (json!({"a": {"b": null}}), "required_claim_missing"),
        (json!({"a": "b"}), "invalid_claim"),
        (json!({"nonce": "n"}), "refused_claim"),
        (json!({"nonce": 0}), "refused_claim"),
        (json!({"typ": "Bearer"}), "fine"),
        (json!({"typ": "Refresh"}), "refused_claim"),
        (json!({"typ": ["Bearer", "ID"]}), "refused_claim"),
    ] {
        assert_eq!(with(change.clone()), expected, "{change}");
    }
    let said = judge(&spec, claims(json!({"token_use": "secret-value"}))).unwrap_err().to_string();
    assert_eq!(said, "the token's claim token_use is none of the required values");
}

#[test]
fn an_audience_may_stand_elsewhere_or_be_left_unchecked() {
    let mut spec = spec();
    let places = |spec: &mut IdentityProviderSpec, names: &[&str]| {
        spec.rules.audience = Audience::AnyOf {
            audiences: vec!["orders".into(), "shop".into()],
            claims: names.iter().map(|name| (*name).to_owned()).collect(),
        };
    };
    places(&mut spec, &["client_id"]);
    assert_eq!(code(&spec, json!({"client_id": "shop", "aud": "x"})), "fine");
    assert_eq!(code(&spec, json!({"client_id": "other"})), "wrong_audience");
    assert_eq!(code(&spec, json!({})), "wrong_audience");
    places(&mut spec, &["aud", "client_id"]);
    assert_eq!(code(&spec, json!({"aud": null, "client_id": "shop"})), "fine");
    assert_eq!(code(&spec, json!({"aud": "orders", "client_id": 7})), "invalid_claim");
    spec.rules.audience = Audience::Unchecked;
    assert_eq!(code(&spec, json!({"aud": "elsewhere"})), "fine");
    assert_eq!(code(&spec, json!({"aud": null})), "fine");
}

#[test]
fn age_is_counted_from_iat_and_ends_the_window() {
    let mut spec = spec();
    spec.rules.leeway = Duration::from_secs(30);
    spec.rules.max_age = Some(Duration::from_secs(100));
    for (change, expected) in [
        (json!({"iat": NOW - 129}), "fine"),
        (json!({"iat": NOW - 130}), "token_too_old"),
        (json!({"iat": null}), "missing_issued_at"),
        (json!({"iat": NOW + 31}), "issued_in_future"),
        (json!({"iat": NOW - 500, "exp": NOW - 300}), "token_expired"),
    ] {
        assert_eq!(code(&spec, change.clone()), expected, "{change}");
    }
    let window = judge(&spec, claims(json!({"iat": NOW}))).unwrap().window();
    assert_eq!(
        (window.until, window.over()),
        (now() + Duration::from_secs(130), TokenFault::TooOld)
    );
    let soon = judge(&spec, claims(json!({"iat": NOW, "exp": NOW + 9}))).unwrap().window();
    assert_eq!((soon.until, soon.over()), (now() + Duration::from_secs(39), TokenFault::Expired));
}

#[test]
fn a_token_is_bound_in_a_known_way_or_refused() {
    let print = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let cnf = |value: Value| {
        judge(&spec(), claims(json!({"cnf": value}))).map(|user| user.cnf().copied())
    };
    let bound = cnf(json!({"jkt": print})).unwrap().unwrap();
    assert!(bound.jkt().is_some() && bound.certificate().is_none());
    let bound = cnf(json!({"x5t#S256": print})).unwrap().unwrap();
    assert!(bound.jkt().is_none() && bound.certificate().is_some());
    let bound = cnf(json!({"x5t#S256": print, "jkt": print})).unwrap().unwrap();
    assert!(bound.jkt().is_some() && bound.certificate().is_some());
    assert!(judge(&spec(), claims(json!({}))).unwrap().cnf().is_none());
    for wrong in [
        json!({}),
        json!([]),
        json!("x"),
        json!(7),
        json!({"jkt": 7}),
        json!({"jkt": ""}),
        json!({"jkt": print.strip_prefix('0')}),
        json!({"jkt": format!("{print}=")}),
        json!({"kid": "k"}),
        json!({"jwk": {}}),
        json!({"jkt": print, "jku": "https://x"}),
    ] {
        assert_eq!(cnf(wrong.clone()), Err(TokenFault::ConfirmationUnknown), "{wrong}");
    }
    let mut null = claims(json!({}));
    null.insert("cnf".into(), Value::Null);
    assert!(matches!(judge(&spec(), null), Err(TokenFault::ConfirmationUnknown)));
}

#[test]
fn a_jwt_svid_speaks_for_its_own_trust_domain_only() {
    let mut spec = spec();
    let set = |spec: &mut IdentityProviderSpec, issuer: &str, quirk| {
        let tokens = spec.tokens.as_mut().unwrap();
        tokens.issuers = vec![issuer.to_owned()];
        tokens.quirk = quirk;
    };
    let ours = json!({"sub": "spiffe://demo.mesh/ns/shop/sa/web"});
    let theirs = json!({"sub": "spiffe://other.mesh/ns/shop/sa/web"});
    set(&mut spec, "spiffe://demo.mesh", Quirk::JwtSvid);
    assert_eq!(code(&spec, ours.clone()), "fine");
    assert_eq!(code(&spec, theirs.clone()), "subject_not_allowed");
    assert_eq!(code(&spec, json!({})), "subject_not_allowed");
    set(&mut spec, "https://spire.example", Quirk::JwtSvid);
    assert_eq!(code(&spec, theirs.clone()), "fine");
    assert_eq!(code(&spec, json!({})), "subject_not_allowed");
    set(&mut spec, "spiffe://demo.mesh", Quirk::None);
    assert_eq!(code(&spec, theirs), "fine");
    assert_eq!(issuer(&claims(ours)).unwrap(), "spiffe://demo.mesh");
    assert_eq!(issuer(&claims(json!({}))), Err(TokenFault::MissingIssuer));
}

#[test]
fn what_a_server_answers_is_judged_by_the_same_rules() {
    let mut spec = spec();
    let userinfo = Question::Userinfo { url: None, root: Vec::new(), refusals: vec![401] };
    let introspection =
        Question::Introspection { url: None, auth: ClientAuth::None, token_type_hint: None };
    let ask = |spec: &mut IdentityProviderSpec, question: &Question, change: Value| {
        spec.online = Some(Online {
            question: question.clone(),
            when: When::Opaque,
            ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
        });
        let user = User::from_online("sso", spec, claims(change), now());
        user.map_or_else(|fault| fault.code(), |_| "fine")
    };
    for (question, change, expected) in [
        (&introspection, json!({"exp": null}), "fine"),
        (&introspection, json!({"exp": NOW - 60}), "token_expired"),
        (&introspection, json!({"aud": null}), "wrong_audience"),
        (&introspection, json!({"aud": "other"}), "wrong_audience"),
        (&introspection, json!({"iss": "https://sso.example"}), "fine"),
        (&introspection, json!({"iss": "https://evil.example"}), "unknown_issuer"),
        (&introspection, json!({"sub": null}), "missing_subject"),
        (&introspection, json!({"cnf": {}}), "confirmation_unknown"),
        (&userinfo, json!({"exp": null, "aud": null}), "fine"),
        (&userinfo, json!({"aud": "other"}), "wrong_audience"),
        (&userinfo, json!({"nbf": NOW + 60}), "token_not_yet_valid"),
    ] {
        assert_eq!(ask(&mut spec, question, change.clone()), expected, "{change}");
    }
    let user = User::from_online("sso", &spec, claims(json!({"exp": null})), now()).unwrap();
    assert_eq!((user.expires_at(), user.facts().provider()), (None, "sso"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c ./]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-c./]{1,3}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever stands there: nothing but what the token says becomes a role, and no refusal repeats it.
    #[test]
    fn mapping_invents_nothing(value in any_json(), shape in prop::sample::select(vec![
        Shape::Any, Shape::Words, Shape::List, Shape::Keys, Shape::Text,
    ])) {
        let mut spec = spec();
        spec.claims.roles = vec![shaped(&["r", "a"], shape)];
        let mut all = claims(json!({}));
        all.insert("r".into(), json!({"a": value}));
        let text = value.to_string();
        match judge(&spec, all) {
            Ok(user) => for role in user.facts().roles() {
                prop_assert!(!role.is_empty() || text.contains("\"\""));
                prop_assert!(text.contains(role.as_str()));
            },
            Err(fault) => prop_assert_eq!(fault, TokenFault::InvalidClaim("r.a".into())),
        }
    }
}
