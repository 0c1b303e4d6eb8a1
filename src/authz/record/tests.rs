//! Records of callers who are supposed.

use std::time::Instant;

use super::super::callers::{Callers, Supposed};
use super::super::denial;
use super::super::request::Envelope;
use super::super::request_id::RequestId;
use super::super::snapshot::Snapshot;
use super::*;
use crate::authn::{Files, Providers};
use crate::policy::{Decision, MeshPolicySpec, PolicySet, Surroundings, UserParts, Workload};

fn line(roles: Vec<String>, attributes: CallerAttributes) -> serde_json::Value {
    let workload = Workload {
        trust_domain: crate::identity::TrustDomain::parse("test.mesh").unwrap(),
        namespace: "shop".to_owned(),
        labels: std::collections::BTreeMap::new(),
    };
    let policies = PolicySet::compile(
        &[],
        &Surroundings {
            workload: &workload,
            mesh: &MeshPolicySpec::absent(),
            providers: &[],
            engines: &[],
        },
    )
    .unwrap();
    let providers = Providers::new(&[], &Files::none()).unwrap();
    let snapshot = Snapshot::new("r".to_owned(), std::sync::Arc::new(policies), providers);
    let user = UserFacts::new(UserParts {
        roles,
        scopes: vec!["a\"b".to_owned()],
        tenant: Some("acme".to_owned()),
        email: Some("alice@example.com".to_owned()),
        claims: serde_json::Map::from_iter([("secret".to_owned(), "claim".into())]),
        groups: Groups::Unknown,
        ..UserParts::of("sso", "alice")
    });
    let judged = Judged {
        snapshot: &snapshot,
        envelope: Envelope::default(),
        request: None,
        callers: Callers::Supposed(Box::new(Supposed { user: Some(user), ..Supposed::default() })),
        verdict: denial::verdict(Decision::NothingAllows, None),
        audited: None,
        request_id: RequestId::Given("r"),
        received: std::time::UNIX_EPOCH,
        began: Instant::now(),
    };
    let mut out = Vec::new();
    Record::of(&judged, Duration::ZERO, attributes).write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("example.com") && !text.contains("claim"), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn roles_and_scopes_are_told_only_where_that_is_asked_for_and_only_whole() {
    let roles = || vec!["customer".to_owned(), "support".to_owned()];
    let quiet = line(roles(), CallerAttributes::Omit);
    assert_eq!(quiet["user.id"], "alice");
    for field in USER_ATTRIBUTES {
        assert!(quiet.get(field).is_none(), "{field}");
    }
    let detailed = line(roles(), CallerAttributes::Record);
    assert_eq!(detailed["user.roles"], serde_json::json!(["customer", "support"]));
    assert_eq!(detailed["user.scopes"], serde_json::json!(["a\"b"]));
    assert_eq!(detailed["user.tenant"], "acme");
    assert!(detailed.get("user.groups").is_none(), "not known is not none");
    let many = (0..=MAX_NAMES).map(|number| number.to_string()).collect();
    assert!(line(many, CallerAttributes::Record).get("user.roles").is_none());
}
