use std::collections::BTreeMap;

use base64::Engine as _;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, check_response,
};
use prost::Message as _;

use super::*;
use crate::authn::{Files, Providers};
use crate::policy::{MeshPolicySpec, PolicySet, Resource, Surroundings, Workload, parse};

const KEYS: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
    metadata: { name: sso, namespace: shop }\n\
    spec: { issuer: \"https://sso.test\", audiences: [orders], keys: { jwksUri: \"https://sso.test/keys\" } }\n";

fn gate(providers: &str) -> Gate {
    let domain = TrustDomain::parse("test.mesh").unwrap();
    let workload = Workload {
        trust_domain: domain.clone(),
        namespace: "shop".to_owned(),
        labels: BTreeMap::new(),
    };
    let providers: Vec<_> = parse("providers.yaml", providers)
        .unwrap()
        .into_iter()
        .filter_map(|resource| match resource {
            Resource::IdentityProvider(provider) => Some(provider),
            Resource::AccessPolicy(_) | Resource::MeshPolicy(_) | Resource::PolicyEngine(_) => None,
        })
        .collect();
    let policies = Arc::new(
        PolicySet::compile(
            &[],
            &Surroundings {
                workload: &workload,
                mesh: &MeshPolicySpec::absent(),
                providers: &[],
                engines: &[],
            },
        )
        .unwrap(),
    );
    let providers = Providers::new(&providers, &Files::none()).unwrap();
    let snapshot = Snapshot::new("r".to_owned(), policies, providers);
    let verifier = Arc::new(Verifier::new(1).unwrap());
    Gate::new((snapshot, Knowledge::nobody_tells()), verifier, domain, Clock::system())
}

/// The status that the client gets, and the fields of the one record.
fn told(checked: &Checked, record: &[u8]) -> (i32, serde_json::Value) {
    let answer = CheckResponse::decode(checked.answer.as_bytes()).unwrap();
    assert_ne!(answer.status.unwrap().code, 0);
    let Some(check_response::HttpResponse::DeniedResponse(denied)) = answer.http_response else {
        panic!("no denial")
    };
    let line: serde_json::Value = serde_json::from_slice(record).unwrap();
    assert_eq!((&line["decision"], &line["code"]), (&"deny".into(), &checked.code.into()));
    (denied.status.unwrap().code, line)
}

#[test]
fn a_panic_inside_a_check_is_a_denial_with_a_whole_record() {
    let mut record = b"earlier line\n".to_vec();
    let checked: Checked = gate("").guard(&mut record, |record| {
        record.extend_from_slice(b"half a li");
        panic!("on purpose")
    });
    assert_eq!(checked.code, "internal_error");
    let line = record.strip_prefix(b"earlier line\n").unwrap();
    assert_eq!(told(&checked, line).0, 500);
}

#[test]
fn what_is_not_judged_to_its_end_is_a_denial() {
    let mut record = Vec::new();
    let checked = Gate::fault(UNANSWERED_RECORD, &mut record);
    assert_eq!(told(&checked, &record).0, 500);

    // A token whose keys never came: first they are asked for, at the end it is refused.
    let part = |json: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
    let token = format!(
        "Bearer {}.{}.{}",
        part(r#"{"alg":"RS256","kid":"k"}"#),
        part(r#"{"iss":"https://sso.test","aud":"orders","sub":"a","exp":4102444800}"#),
        part("signature"),
    );
    let header = HeaderValue {
        key: "authorization".into(),
        raw_value: token.into(),
        ..HeaderValue::default()
    };
    let http = HttpRequest {
        method: "GET".into(),
        path: "/".into(),
        host: "orders.shop".into(),
        header_map: Some(HeaderMap { headers: vec![header] }),
        ..HttpRequest::default()
    };
    let request = Some(Request { time: None, http: Some(http) });
    let attributes = AttributeContext { request, ..AttributeContext::default() };
    let message = CheckRequest { attributes: Some(attributes) }.encode_to_vec();
    let (gate, began) = (gate(KEYS), Instant::now());
    let mut record = Vec::new();
    let attempt = Attempt { began, learned: &Learned::nothing() };
    assert!(matches!(gate.check(&message, &attempt, &mut record), Outcome::Unknown(_)));
    assert!(record.is_empty());
    let checked =
        gate.conclude(Question::Encoded(&message), (began, Learned::nothing()), &mut record);
    let (status, line) = told(&checked, &record);
    assert_eq!((status, line["code"].as_str()), (503, Some("keys_unavailable")));
}
