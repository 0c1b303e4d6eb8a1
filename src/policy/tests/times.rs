//! Hours, days, spans of time, and how the user signed in.

use serde_json::json;

use super::*;

/// What the rule decides at a moment.
fn at(part: &str, moment: &str) -> bool {
    let set = compile(&[format!("{{ name: r, deny: {{ {part} }} }}")]);
    let seconds = moment.parse::<jiff::Timestamp>().unwrap().as_second();
    let now = UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap());
    let request = Request::new("GET", "/a");
    matches!(set.decide(&Facts { now, ..request.facts(None, None) }), Decision::Deny(_))
}

#[test]
fn hours_are_those_of_the_zone() {
    let office = "times: [{ zone: Europe/Berlin, days: [Mon, Tue, Wed, Thu, Fri], from: \"09:00\", to: \"17:30\" }]";
    // Winter: UTC+1. Summer: UTC+2. 2026-01-05 and 2026-07-06 are Mondays.
    for (moment, inside) in [
        ("2026-01-05T08:00:00Z", true),
        ("2026-01-05T07:59:59Z", false),
        ("2026-01-05T16:29:59Z", true),
        ("2026-01-05T16:30:00Z", false),
        ("2026-07-06T07:00:00Z", true),
        ("2026-07-06T06:59:59Z", false),
        ("2026-01-04T10:00:00Z", false),
        ("2026-01-10T10:00:00Z", false),
    ] {
        assert_eq!(at(office, moment), inside, "{moment}");
        assert_eq!(at(&office.replace("times", "notTimes"), moment), !inside, "{moment}");
    }
}

#[test]
fn a_span_over_midnight_belongs_to_the_day_it_began() {
    let night = "times: [{ zone: UTC, days: [Fri], from: \"22:00\", to: \"06:00\" }]";
    for (moment, inside) in [
        ("2026-01-09T21:59:59Z", false),
        ("2026-01-09T22:00:00Z", true),
        ("2026-01-10T05:59:59Z", true),
        ("2026-01-10T06:00:00Z", false),
        ("2026-01-09T03:00:00Z", false),
        ("2026-01-10T23:00:00Z", false),
    ] {
        assert_eq!(at(night, moment), inside, "{moment}");
    }
    assert!(at("times: [{ zone: UTC, from: \"00:00\", to: \"24:00\" }]", "2026-01-09T23:59:59Z"));
}

#[test]
fn a_span_ends() {
    let span = "times: [{ since: 2026-01-01T00:00:00Z, until: 2026-02-01T00:00:00+01:00 }]";
    assert!(!at(span, "2025-12-31T23:59:59Z"));
    assert!(at(span, "2026-01-01T00:00:00Z"));
    assert!(at(span, "2026-01-31T22:59:59Z"));
    assert!(!at(span, "2026-01-31T23:00:00Z"));
}

#[test]
fn a_clock_that_tells_no_time_decides_nothing() {
    let request = Request::new("GET", "/a");
    let now = UNIX_EPOCH + Duration::from_secs(400_000_000_000);
    let facts = Facts { now, ..request.facts(None, None) };
    for part in ["times", "notTimes"] {
        for effect in ["allow", "deny"] {
            let rule = format!(
                "{{ name: r, {effect}: {{ requests: [{{ paths: [\"/**\"] }}], {part}: [{{ zone: UTC, days: [Mon] }}] }} }}"
            );
            let set = compile(&[rule]);
            let decision = set.decide(&facts);
            assert!(
                matches!(decision, Decision::Undecidable(_, UndecidableReason::NoTime)),
                "{part} of {effect}: {decision:?}"
            );
        }
    }
}

#[test]
fn a_stronger_sign_in_is_asked_for_where_it_would_admit() {
    let set = compile(&[
        "{ name: refund, allow: { users: { roles: [support] }, requests: [{ paths: [/refund] }], \
         stepUp: { amr: [mfa, hwk], acr: [gold], maxAge: 5m } } }",
        "{ name: never, deny: { requests: [{ paths: [/refund/never] }] } }",
    ]);
    let moment = NOW.as_secs();
    let decide = |claims: serde_json::Value, path: &str| {
        let user = user(&["support"], &[], claims);
        let request = Request::new("GET", path);
        format!("{:?}", set.decide(&request.facts(None, Some(&user))))
    };
    let good = json!({ "amr": ["pwd", "mfa"], "acr": "gold", "auth_time": moment - 300 });
    assert!(decide(good.clone(), "/refund").starts_with("Allow"));
    assert!(decide(good, "/other").starts_with("NothingAllows"));
    for weak in [
        json!({}),
        json!({ "amr": ["pwd"], "acr": "gold", "auth_time": moment }),
        json!({ "amr": "pwd mfa", "acr": "gold", "auth_time": moment }),
        json!({ "amr": ["mfa"], "acr": "silver", "auth_time": moment }),
        json!({ "amr": ["mfa"], "acr": "gold", "auth_time": moment - 301 }),
        json!({ "amr": ["mfa"], "acr": "gold", "auth_time": moment + 61 }),
        json!({ "amr": ["mfa"], "acr": "gold", "auth_time": "1700000000" }),
        json!({ "amr": ["mfa"], "acr": "gold" }),
    ] {
        assert!(decide(weak.clone(), "/refund").starts_with("StepUp"), "{weak}");
        assert!(decide(weak, "/refund/never").starts_with("Deny"));
    }
    // Nobody at all, or somebody without the role, is not told to sign in more strongly.
    let request = Request::new("GET", "/refund");
    assert_eq!(set.decide(&request.facts(None, None)), Decision::NothingAllowsAnonymous);
    let other = user(&["customer"], &[], json!({}));
    assert_eq!(set.decide(&request.facts(None, Some(&other))), Decision::NothingAllows);
}
