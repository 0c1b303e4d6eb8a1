//! Revoked workloads at the gate: however a workload is known, and on a request as on a bare connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use hopgate::authn::{ForwardRules, Verifier, WorkloadRoots};
use hopgate::authz::{Attempt, Gate, Learned, Outcome, Snapshot};
use hopgate::identity::{Leaf, SpiffeId, TrustBundle, TrustDomain};
use hopgate::policy::{
    Algorithm, MeshPolicySpec, PolicySet, Quirk, Resource, Surroundings, Workload, parse,
};
use hopgate::revocation::{
    Knowledge, Revocation, RevocationList, RevokedWorkload, Serial, Subject, Until, Words,
};
use hopgate::runtime::Clock;
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::bench::{Bench, PROXY, XFCC, xfcc};
use super::{PRINCIPAL, domain, encoded, pki, uri};
use crate::authentication::mint::{self, NOW, Signer, at};
use crate::support::ask::{self, meaning};

const OWN: &str = "spiffe://demo.mesh/ns/shop/sa/own";
const OLD: &str = "spiffe://old.mesh/ns/shop/sa/orders";
const RULES: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
    metadata: { name: all, namespace: shop }\nspec:\n  rules:\n\
    \x20   - name: peers\n      allow: { peers: [ns/shop/sa/orders, ns/edge/sa/gateway] }\n\
    \x20   - name: tokens\n      allow: { users: { providers: [spiffe] } }\n";

/// A gate, and whoever calls it.
struct Site {
    bench: Bench,
    signer: Signer,
    gate: Gate,
    clock: Clock,
}

impl Site {
    fn new() -> Self {
        Self::knowing(Knowledge::nobody_tells())
    }

    fn knowing(knowledge: Knowledge) -> Self {
        let (bench, signer) = (Bench::new(), Signer::new("ES256", "k"));
        let mut mesh = MeshPolicySpec::absent();
        mesh.aliases = vec![TrustDomain::parse("old.mesh").unwrap()];
        let mut provider = mint::provider("spiffe", &[Algorithm::ES256], mint::inline(&[&signer]));
        let tokens = provider.spec.tokens.as_mut().unwrap();
        (tokens.issuers, tokens.quirk) = (vec!["spiffe://demo.mesh".into()], Quirk::JwtSvid);
        let workload = Workload {
            trust_domain: domain(),
            namespace: "shop".to_owned(),
            labels: BTreeMap::new(),
        };
        let policies: Vec<_> = parse("rules.yaml", RULES)
            .unwrap()
            .into_iter()
            .filter_map(|resource| match resource {
                Resource::AccessPolicy(policy) => Some(policy),
                Resource::IdentityProvider(_)
                | Resource::MeshPolicy(_)
                | Resource::PolicyEngine(_) => None,
            })
            .collect();
        let around = Surroundings {
            workload: &workload,
            mesh: &mesh,
            providers: &["spiffe".to_owned()],
            engines: &[],
        };
        let set = Arc::new(PolicySet::compile(&policies, &around).unwrap());
        let providers = mint::compile(&[provider]).unwrap();
        let snapshot = Snapshot::new("r".to_owned(), set, providers).in_mesh(Arc::new(mesh));
        let clock = Clock::manual(at(NOW));
        let verifier = Arc::new(Verifier::new(10).unwrap());
        let forward = ForwardRules::new(vec![bench.rule.clone()]).unwrap();
        let gate = Gate::new((snapshot, knowledge), verifier, domain(), clock.clone())
            .with_forward(forward)
            .guarding(SpiffeId::parse(OWN).unwrap());
        let bundle = TrustBundle::new(domain(), vec![bench.mesh.der.clone()]).unwrap();
        gate.trust(WorkloadRoots::compile(&bundle).unwrap());
        Self { bench, signer, gate, clock }
    }

    fn revoke(&self, revoked: &[(&str, Option<&str>, Until)]) {
        let entry = |(id, serial, until): &(&str, Option<&str>, Until)| Revocation {
            subject: Subject::Workload(RevokedWorkload {
                id: SpiffeId::parse(id).unwrap(),
                serial: serial.map(|serial| Serial::parse(serial).unwrap()),
            }),
            since: at(NOW),
            until: *until,
            reason: Words::parse("its key leaked").unwrap(),
            by: Words::parse("uid 7").unwrap(),
        };
        let list = RevocationList::new(revoked.iter().map(entry)).unwrap();
        self.gate.revoke(Arc::new(list));
    }

    fn leaf(&self, id: &str) -> CertificateDer<'static> {
        self.bench.mesh.leaf(|p| p.subject_alt_names = vec![uri(id)])
    }

    fn token(&self, subject: &str) -> String {
        let mut claims = mint::with("sub", subject.into());
        claims["iss"] = "spiffe://demo.mesh".into();
        format!("Bearer {}", self.signer.token(&claims))
    }

    /// The code, and the record.
    fn told(&self, request: &CheckRequest) -> (&'static str, Value) {
        let mut record = Vec::new();
        let attempt = Attempt { began: Instant::now(), learned: &Learned::nothing() };
        let Outcome::Answered(checked) =
            self.gate.check(&request.encode_to_vec(), &attempt, &mut record)
        else {
            panic!("nothing can be learned here")
        };
        let answer = meaning(CheckResponse::decode(checked.answer.as_bytes()).unwrap());
        assert_eq!(answer.allowed, checked.code == "allow");
        if checked.code.ends_with("_revoked") {
            assert_eq!(answer.status, 403);
            assert!(!answer.body.contains("leaked") && !answer.body.contains("spiffe"));
        }
        (checked.code, serde_json::from_slice(&record).unwrap())
    }

    fn code(&self, request: &CheckRequest) -> &'static str {
        self.told(request).0
    }
}

fn serial(leaf: &CertificateDer<'_>) -> String {
    Leaf::parse(leaf).unwrap().serial().to_owned()
}

/// A request over a connection with this certificate.
fn over(leaf: &CertificateDer<'_>, headers: &[(&str, &str)]) -> CheckRequest {
    let id = Leaf::parse(leaf).unwrap().id().to_string();
    let mut request = ask::get("/", headers);
    let source = request.attributes.as_mut().unwrap().source.as_mut().unwrap();
    (source.principal, source.certificate) = (id, encoded(&pki::pem(leaf)));
    request
}

/// The same connection without a request.
fn bare(mut request: CheckRequest) -> CheckRequest {
    request.attributes.as_mut().unwrap().request = None;
    request
}

#[test]
fn a_revoked_peer_is_refused_on_requests_and_on_bare_connections() {
    let site = Site::new();
    let (first, second, proxy) = (site.leaf(PRINCIPAL), site.leaf(PRINCIPAL), site.leaf(PROXY));
    let requests = [over(&first, &[]), bare(over(&first, &[])), over(&second, &[])];
    let codes = || requests.each_ref().map(|request| site.code(request));
    assert_eq!(codes(), ["allow"; 3]);
    site.revoke(&[(PRINCIPAL, None, Until::Lifted)]);
    assert_eq!(codes(), ["peer_revoked"; 3]);
    // Only that one.
    let forwarded = xfcc(&site.leaf("spiffe://demo.mesh/ns/shop/sa/web"), "");
    assert_ne!(site.code(&over(&proxy, &[(XFCC, &forwarded)])), "peer_revoked");
    // One certificate of it.
    site.revoke(&[(PRINCIPAL, Some(&serial(&first)), Until::Lifted)]);
    assert_eq!(codes(), ["peer_revoked", "peer_revoked", "allow"]);
    // Lifted.
    site.revoke(&[]);
    assert_eq!(codes(), ["allow"; 3]);
}

#[test]
fn it_is_revoked_under_every_name_of_the_mesh() {
    let site = Site::new();
    let old = over(&site.leaf(OLD), &[]);
    assert_eq!(site.code(&old), "allow");
    site.revoke(&[(PRINCIPAL, None, Until::Lifted)]);
    assert_eq!(site.code(&old), "peer_revoked");
}

#[test]
fn a_revocation_ends_at_its_end_without_a_new_list() {
    let site = Site::new();
    let request = over(&site.leaf(PRINCIPAL), &[]);
    site.revoke(&[(PRINCIPAL, None, Until::Moment(at(NOW + 30)))]);
    site.clock.advance(Duration::from_secs(29));
    assert_eq!(site.code(&request), "peer_revoked");
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(site.code(&request), "allow");
}

#[test]
fn a_forwarded_workload_and_the_proxy_that_forwards_it_are_refused() {
    let site = Site::new();
    let (workload, proxy) = (site.leaf(PRINCIPAL), site.leaf(PROXY));
    let request = over(&proxy, &[(XFCC, &xfcc(&workload, ""))]);
    assert_eq!(site.code(&request), "allow");
    site.revoke(&[(PRINCIPAL, Some(&serial(&workload)), Until::Lifted)]);
    assert_eq!(site.code(&request), "peer_revoked");
    site.revoke(&[(PRINCIPAL, Some(&serial(&proxy)), Until::Lifted)]);
    assert_eq!(site.code(&request), "allow");
    site.revoke(&[(PROXY, None, Until::Lifted)]);
    let (code, record) = site.told(&request);
    assert_eq!((code, &record["revoked.id"]), ("peer_revoked", &PROXY.into()));
    assert_eq!(record["peer.id"], PRINCIPAL);
}

#[test]
fn a_token_of_a_revoked_workload_is_refused_whoever_brings_it() {
    let site = Site::new();
    let (own, proxy) = (site.leaf(PRINCIPAL), site.leaf("spiffe://demo.mesh/ns/edge/sa/other"));
    let token = site.token(PRINCIPAL);
    let bearer = [("authorization", token.as_str())];
    let [alone, brought, itself] =
        [ask::get("/", &bearer), over(&proxy, &bearer), over(&own, &bearer)];
    let other = site.token("spiffe://demo.mesh/ns/shop/sa/web");
    let other = ask::get("/", &[("authorization", &other)]);
    let codes = || [&alone, &brought, &itself, &other].map(|request| site.code(request));
    assert_eq!(codes(), ["allow"; 4]);
    site.revoke(&[(PRINCIPAL, None, Until::Lifted)]);
    assert_eq!(codes(), ["peer_revoked", "peer_revoked", "peer_revoked", "allow"]);
    // By which certificate a token was got cannot be seen, unless the workload shows its own beside it.
    site.revoke(&[(PRINCIPAL, Some("abcd"), Until::Lifted)]);
    assert_eq!(codes(), ["peer_revoked", "peer_revoked", "allow", "allow"]);
    let (_, record) = site.told(&alone);
    let reason = record["reason"].as_str().unwrap();
    assert!(reason.contains("a token does not show by which it was got"), "{reason}");
}

#[test]
fn the_record_says_who_is_revoked_why_and_by_whom() {
    let site = Site::new();
    site.revoke(&[(PRINCIPAL, None, Until::Moment(at(NOW + 3600)))]);
    let (_, record) = site.told(&over(&site.leaf(PRINCIPAL), &[]));
    assert_eq!(record["code"], "peer_revoked");
    assert_eq!(record["revoked.id"], PRINCIPAL);
    assert_eq!(record["peer.id"], PRINCIPAL);
    let reason =
        format!("{PRINCIPAL} is revoked: its key leaked (by uid 7, until 2026-09-21T15:13:20Z)");
    assert_eq!(record["reason"], reason);
}

#[test]
fn nothing_passes_the_gate_of_a_revoked_workload() {
    let site = Site::new();
    let token = site.token("spiffe://demo.mesh/ns/shop/sa/web");
    let peer = over(&site.leaf(PRINCIPAL), &[]);
    let requests = [bare(peer.clone()), peer, ask::get("/", &[("authorization", &token)])];
    let codes = || requests.each_ref().map(|request| site.code(request));
    assert_eq!(codes(), ["allow"; 3]);
    site.revoke(&[(OWN, None, Until::Lifted)]);
    assert_eq!(codes(), ["workload_revoked"; 3]);
    // One certificate of it: as long as it is not known to have another.
    site.revoke(&[(OWN, Some("abcd"), Until::Lifted)]);
    assert_eq!(codes(), ["workload_revoked"; 3]);
    site.gate.hold("00abcd");
    assert_eq!(codes(), ["workload_revoked"; 3]);
    site.gate.hold("00abce");
    assert_eq!(codes(), ["allow"; 3]);
    site.revoke(&[]);
    assert_eq!(codes(), ["allow"; 3]);
}

#[test]
fn another_snapshot_forgets_no_revocation() {
    let (site, other) = (Site::new(), Site::new());
    site.revoke(&[(PRINCIPAL, None, Until::Lifted)]);
    let fresh = Snapshot::new(
        "later".to_owned(),
        Arc::new(
            PolicySet::compile(
                &[],
                &Surroundings {
                    workload: &Workload {
                        trust_domain: domain(),
                        namespace: "shop".to_owned(),
                        labels: BTreeMap::new(),
                    },
                    mesh: &MeshPolicySpec::absent(),
                    providers: &[],
                    engines: &[],
                },
            )
            .unwrap(),
        ),
        mint::compile(&[]).unwrap(),
    );
    site.gate.replace(fresh);
    assert_eq!(site.code(&over(&site.leaf(PRINCIPAL), &[])), "peer_revoked");
    let known = |site: &Site| site.gate.revoked().list().map(|list| list.len());
    assert_eq!((known(&site), known(&other)), (Some(1), Some(0)));
}

#[test]
fn nothing_passes_while_it_is_not_known_who_is_revoked() {
    let site = Site::knowing(Knowledge::Unknown);
    let peer = over(&site.leaf(PRINCIPAL), &[]);
    let bearer = site.token(PRINCIPAL);
    let token = over(&site.leaf(PRINCIPAL), &[("authorization", &bearer)]);
    for request in [&peer, &token] {
        let (code, record) = site.told(request);
        assert_eq!(code, "revocation_unknown");
        assert!(record["reason"].as_str().unwrap().contains("not yet told"), "{record}");
    }
    assert!(site.gate.revoked().list().is_none());
    site.revoke(&[]);
    for request in [&peer, &token] {
        assert_eq!(site.code(request), "allow");
    }
    site.revoke(&[(PRINCIPAL, None, Until::Lifted)]);
    assert_eq!(site.code(&peer), "peer_revoked");
}
