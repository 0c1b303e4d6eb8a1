//! What a MeshPolicy says, and what it changes for peers.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use super::*;
use crate::identity::SpiffeId;
use crate::policy::{Decision, Facts, PolicySet, Resource, Surroundings, Workload, parse};

fn mesh(spec: &str) -> Result<MeshPolicySpec, String> {
    let text = format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: MeshPolicy\nmetadata: {{ name: mesh, namespace: hopgate }}\nspec: {spec}\n"
    );
    match parse("mesh.yaml", &text).map_err(|error| error.to_string())?.remove(0) {
        Resource::MeshPolicy(policy) => Ok(policy.spec),
        _ => panic!("another kind"),
    }
}

#[test]
fn what_is_not_written_is_the_strictest() {
    assert_eq!(mesh("{}").unwrap(), MeshPolicySpec::absent());
    let absent = MeshPolicySpec::absent();
    assert_eq!(absent.without_policy, WithoutPolicy::Deny);
    assert_eq!(absent.trusted_hops, TrustedHops::Nobody);
    let shown = absent.to_json();
    let switches = shown["normalisation"].as_object().unwrap();
    assert_eq!(switches.len(), 13);
    assert!(switches.values().all(|switch| switch == "Refuse"), "{switches:?}");
}

#[test]
fn every_field_is_read_and_shown_as_it_is_written() {
    let spec = "{ trustDomainAliases: [old.example],\
                mtls: { mode: Permissive, exceptions: [{ namespace: shop, port: 80, mode: Disabled }, { namespace: shop, mode: Strict }] },\
                withoutPolicy: AllowUnguarded, trustedHops: 2,\
                limits: { pathBytes: 100, pathSegments: 9, headerLines: 50, bodyBytes: 1000 },\
                normalisation: { encodedSlashes: AcceptInsideSegment, dotSegments: AcceptResolved,\
                emptySegments: AcceptMerged, backslashes: AcceptAsSlashes, semicolons: AcceptCutOff,\
                doubleEncoding: AcceptDecodedOnce, controlCharacters: AcceptEncoded, nonUtf8: Refuse,\
                duplicateHeaders: AcceptUndecidable, mixedAuthority: Refuse,\
                lowerCaseMethods: AcceptAsWritten, overrideHeaders: AcceptIgnored,\
                underscoreHeaders: AcceptAsTwins } }";
    let read = mesh(spec).unwrap();
    let written: serde_json::Value = serde_saphyr::from_str(spec).unwrap();
    assert_eq!(read.to_json(), written);
}

#[test]
fn what_is_said_of_a_port_counts_more_than_what_is_said_of_its_namespace() {
    let spec = "{ mtls: { mode: Permissive, exceptions: [{ namespace: shop, mode: Strict }, { namespace: shop, port: 80, mode: Disabled }] } }";
    let mtls = mesh(spec).unwrap().mtls;
    assert_eq!(mtls.mode("shop", 80), MtlsMode::Disabled);
    assert_eq!(mtls.mode("shop", 81), MtlsMode::Strict);
    assert_eq!(mtls.mode("other", 80), MtlsMode::Permissive);
    assert_eq!(MeshPolicySpec::absent().mtls.mode("shop", 80), MtlsMode::Strict);
}

#[test]
fn a_mistake_names_its_field_and_what_may_stand_there() {
    for (spec, said) in [
        ("{ trustDomainAliases: [] }", "spec.trustDomainAliases: is empty"),
        (
            "{ trustDomainAliases: [spiffe://old.example] }",
            "spec.trustDomainAliases[0]: `spiffe://old.example` has ':'",
        ),
        ("{ trustDomainAliases: [a.b, a.b] }", "spec.trustDomainAliases[1]: is written twice"),
        ("{ trustedHops: 0 }", "spec.trustedHops: 0 is not from 1 to 16 (leave the field out"),
        ("{ trustedHops: 17 }", "spec.trustedHops: 17 is not from 1 to 16"),
        ("{ withoutPolicy: Allow }", "spec.withoutPolicy"),
        ("{ normalisation: { dotSegments: Accept } }", "spec.normalisation.dotSegments"),
        ("{ normalisation: { nonUtf8: AcceptLossy } }", "spec.normalisation.nonUtf8"),
        ("{ normalisation: { slashes: Refuse } }", "spec.normalisation.slashes: unknown field"),
        ("{ limits: { pathBytes: 1 } }", "spec.limits.pathBytes: 1 is not from 64 to 65536"),
        ("{ limits: { bodyBytes: 0 } }", "spec.limits.bodyBytes: 0 is not from 1 to 33554432"),
        ("{ mtls: Strict }", "spec.mtls"),
        ("{ mtls: { mode: Off } }", "spec.mtls.mode"),
        ("{ mtls: { exceptions: [{ namespace: a }] } }", "spec.mtls.exceptions[0]"),
        (
            "{ mtls: { exceptions: [{ namespace: a, port: 0, mode: Disabled }] } }",
            "spec.mtls.exceptions[0].port: 0 is not from 1 to 65535",
        ),
        (
            "{ mtls: { exceptions: [{ namespace: \"\", mode: Disabled }] } }",
            "spec.mtls.exceptions[0].namespace: is empty",
        ),
        (
            "{ mtls: { exceptions: [{ namespace: a, mode: Disabled }, { namespace: a, mode: Strict }] } }",
            "spec.mtls.exceptions[1]: says of a port what another entry says already",
        ),
    ] {
        let error = mesh(spec).unwrap_err();
        println!("{error}");
        assert!(error.contains(said), "{spec}: {error}");
    }
}

#[test]
fn a_service_account_is_also_that_of_an_alias_and_of_no_other_domain() {
    let text = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
                metadata: { name: orders, namespace: shop }\nspec:\n  rules:\n\
                \x20   - { name: web, allow: { peers: [ns/shop/sa/web] } }\n\
                \x20   - { name: exact, allow: { peers: [\"spiffe://new.example/ns/shop/sa/job\"] } }\n";
    let Resource::AccessPolicy(policy) = parse("orders.yaml", text).unwrap().remove(0) else {
        panic!("another kind")
    };
    let workload = Workload {
        trust_domain: TrustDomain::parse("new.example").unwrap(),
        namespace: "shop".to_owned(),
        labels: BTreeMap::new(),
    };
    let mesh = mesh("{ trustDomainAliases: [old.example] }").unwrap();
    let around = |mesh| Surroundings { workload: &workload, mesh, providers: &[], engines: &[] };
    let set = PolicySet::compile(std::slice::from_ref(&policy), &around(&mesh)).unwrap();
    let without = PolicySet::compile(&[policy], &around(&MeshPolicySpec::absent())).unwrap();
    let allows = |set: &PolicySet, id: &str| {
        let peer = SpiffeId::parse(id).unwrap();
        matches!(
            set.decide(&Facts { peer: Some(&peer), ..Facts::at(UNIX_EPOCH) }),
            Decision::Allow(_)
        )
    };
    assert!(allows(&set, "spiffe://new.example/ns/shop/sa/web"));
    assert!(allows(&set, "spiffe://old.example/ns/shop/sa/web"));
    assert!(!allows(&without, "spiffe://old.example/ns/shop/sa/web"));
    // A whole SPIFFE ID is that one.
    assert!(allows(&set, "spiffe://new.example/ns/shop/sa/job"));
    for refused in [
        "spiffe://old.example/ns/shop/sa/job",
        "spiffe://old.example/ns/shop/sa/other",
        "spiffe://evil.example/ns/shop/sa/web",
        "spiffe://old.example.evil/ns/shop/sa/web",
    ] {
        assert!(!allows(&set, refused), "{refused}");
    }
}
