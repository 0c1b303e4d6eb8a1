//! Requests recorded from a real Envoy, judged by the real gate, and the record of each.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use hopgate::authn::{Files, Providers, Verifier};
use hopgate::authz::{Attempt, Checked, Gate, Learned, Outcome, RECORD_FIELDS, Snapshot};
use hopgate::identity::TrustDomain;
use hopgate::policy::{MeshPolicySpec, PolicySet, Resource, Surroundings, Workload, parse};
use hopgate::revocation::Knowledge;
use hopgate::runtime::Clock;
use prost::Message as _;

use crate::support::ask::{self, meaning};
use crate::support::{golden, vectors};

const HEAD: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
    metadata: { name: recorded, namespace: prod }\nspec:\n  rules:\n";
const OPEN: &str = "    - name: open\n      allow: { requests: [{ paths: [\"/**\"] }] }\n";
const FRONTEND: &str = "    - name: frontend\n      allow: { peers: [ns/prod/sa/frontend] }\n";

/// Between the first and the last second of the recorded certificates.
fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_400_000)
}

fn gate(rules: &str) -> Gate {
    let workload = Workload {
        trust_domain: TrustDomain::parse("corp.example").unwrap(),
        namespace: "prod".to_owned(),
        labels: std::collections::BTreeMap::new(),
    };
    let policies: Vec<_> = parse("recorded.yaml", &format!("{HEAD}{rules}"))
        .unwrap()
        .into_iter()
        .filter_map(|resource| match resource {
            Resource::AccessPolicy(policy) => Some(policy),
            Resource::IdentityProvider(_) | Resource::MeshPolicy(_) | Resource::PolicyEngine(_) => {
                None
            }
        })
        .collect();
    let set = Arc::new(
        PolicySet::compile(
            &policies,
            &Surroundings {
                workload: &workload,
                mesh: &MeshPolicySpec::absent(),
                providers: &[],
                engines: &[],
            },
        )
        .unwrap(),
    );
    let snapshot =
        Snapshot::new("golden.0".to_owned(), set, Providers::new(&[], &Files::none()).unwrap());
    let verifier = Arc::new(Verifier::new(10).unwrap());
    Gate::new(
        (snapshot, Knowledge::nobody_tells()),
        verifier,
        workload.trust_domain,
        Clock::manual(then()),
    )
}

/// No provider is there to be asked anything.
fn check(gate: &Gate, message: &[u8], record: &mut Vec<u8>) -> Checked {
    let attempt = Attempt { began: Instant::now(), learned: &Learned::nothing() };
    match gate.check(message, &attempt, record) {
        Outcome::Answered(checked) => checked,
        Outcome::Unknown(_) => panic!("nothing can be learned here"),
    }
}

#[test]
fn every_recorded_request_is_judged_as_agreed() {
    let Some(directory) = vectors("checkrequests") else { return };
    let (open, frontend) = (gate(OPEN), gate(FRONTEND));
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pb"));
    files.sort();
    let mut table =
        "# recording | under a rule for every request | under a rule for one peer\n".to_owned();
    for file in &files {
        let message = std::fs::read(file).unwrap();
        let mut codes = Vec::new();
        for gate in [&open, &frontend] {
            let mut record = Vec::new();
            let checked = check(gate, &message, &mut record);
            let answer = meaning(CheckResponse::decode(checked.answer.as_bytes()).unwrap());
            assert_eq!(answer.allowed, checked.code == "allow", "{}", file.display());
            fields_are_known(&record);
            codes.push(checked.code);
        }
        let name = file.file_stem().unwrap().to_string_lossy();
        writeln!(table, "{name} | {} | {}", codes[0], codes[1]).unwrap();
    }
    println!("{} recordings judged", files.len());
    golden("recorded-requests.txt", &table);
}

#[test]
fn records_are_as_agreed() {
    let gate = gate(OPEN);
    let mut lines = String::new();
    for request in [
        ask::get(
            "/orders/7?token=secret",
            &[
                ("x-request-id", "abc-1"),
                ("cookie", "session=secret"),
                ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ],
        ),
        ask::get(
            "/orders/7",
            &[("x-request-id", "abc-2"), ("authorization", "Bearer secret.secret.secret")],
        ),
        ask::get("/a\"b/../c", &[("x-request-id", "abc-3")]),
    ] {
        let mut record = Vec::new();
        check(&gate, &request.encode_to_vec(), &mut record);
        fields_are_known(&record);
        let text = String::from_utf8(record).unwrap();
        assert!(!text.contains("secret"), "{text}");
        let (head, _) = text.split_once(",\"duration_us\":").unwrap();
        writeln!(lines, "{head},\"duration_us\":N}}").unwrap();
    }
    golden("decision-records.jsonl", &lines);
}

/// One JSON object a line, with known fields in their order.
fn fields_are_known(record: &[u8]) {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(record).unwrap();
    let mut known = RECORD_FIELDS.iter();
    for name in object.keys() {
        assert!(known.any(|field| field == name), "{name} is not in its place: {object:?}");
    }
    assert_eq!(record.iter().filter(|b| **b == b'\n').count(), 1);
}
