//! What a MeshPolicy changes, through a real sidecar.

use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress};
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::Peer;
use serde_json::Value;

use crate::support::ask::{Meaning, Sidecar, from_peer, get, http, meaning};

const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: web
      allow: { peers: [ns/shop/sa/web], requests: [{ paths: ["/stock/{item}"] }] }
    - name: anybody
      allow: { requests: [{ paths: ["/public/**"] }] }
    - name: from-the-office
      allow:
        requests: [{ paths: ["/office"] }]
        when: forwarded.address.within('203.0.113.0/24')
    - name: at-this-door
      allow:
        requests: [{ paths: ["/door"] }]
        when: destination.port == 8443 && source.address.within('10.0.0.0/8')
"#;

fn mesh(spec: &str) -> String {
    format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: MeshPolicy\nmetadata: {{ name: mesh, namespace: hopgate }}\nspec: {spec}\n"
    )
}

async fn under(name: &str, spec: &str) -> Sidecar {
    Sidecar::start(name, &[("orders.yaml", POLICY), ("mesh.yaml", &mesh(spec))]).await
}

async fn code(sidecar: &mut Sidecar, request: CheckRequest) -> String {
    let Meaning { allowed, metadata, .. } = meaning(sidecar.ask(request).await);
    assert_eq!(allowed, metadata["decision"] == "allow");
    if allowed { "allow".to_owned() } else { metadata["code"].clone() }
}

#[tokio::test]
async fn members_of_an_alias_domain_are_our_own_and_nobody_else_is() {
    let mut aliased = under("aliased", "{ trustDomainAliases: [old.mesh] }").await;
    let mut plain = Sidecar::start("not-aliased", &[("orders.yaml", POLICY)]).await;
    let from = |id: &str| from_peer(get("/stock/7", &[]), id);
    for (id, with, without) in [
        ("spiffe://test.mesh/ns/shop/sa/web", "allow", "allow"),
        ("spiffe://old.mesh/ns/shop/sa/web", "allow", "foreign_trust_domain"),
        ("spiffe://old.mesh/ns/shop/sa/batch", "no_rule_allows", "foreign_trust_domain"),
        ("spiffe://evil.mesh/ns/shop/sa/web", "foreign_trust_domain", "foreign_trust_domain"),
        ("spiffe://old.mesh.evil/ns/shop/sa/web", "foreign_trust_domain", "foreign_trust_domain"),
    ] {
        assert_eq!(code(&mut aliased, from(id)).await, with, "{id}");
        assert_eq!(code(&mut plain, from(id)).await, without, "{id}");
    }
    aliased.stop().await;
    plain.stop().await;
}

#[tokio::test]
async fn each_class_is_refused_counted_and_switched() {
    let classes = [
        (
            "encodedSlashes",
            "AcceptInsideSegment",
            "path_encoded_separator",
            get("/public/a%2Fb", &[]),
        ),
        ("dotSegments", "AcceptResolved", "path_dot_segment", get("/x/../public/a", &[])),
        ("emptySegments", "AcceptMerged", "path_empty_segment", get("//public//a", &[])),
        ("backslashes", "AcceptAsSlashes", "path_backslash", get("/public\\a", &[])),
        ("semicolons", "AcceptCutOff", "path_semicolon", get("/public;v=1/a", &[])),
        ("doubleEncoding", "AcceptDecodedOnce", "path_double_encoded", get("/public/%2541", &[])),
        ("controlCharacters", "AcceptEncoded", "path_control_character", get("/public/%09", &[])),
        (
            "duplicateHeaders",
            "AcceptUndecidable",
            "request_duplicate_header",
            get("/public/a", &[("origin", "a"), ("origin", "b")]),
        ),
        (
            "lowerCaseMethods",
            "AcceptAsUpperCase",
            "request_method_lower_case",
            http("get", "/public/a", &[]),
        ),
        (
            "overrideHeaders",
            "AcceptIgnored",
            "request_override",
            get("/public/a", &[("x-original-url", "/admin")]),
        ),
        (
            "underscoreHeaders",
            "AcceptAsTwins",
            "request_underscore_header",
            get("/public/a", &[("x_tenant", "a")]),
        ),
        ("nonUtf8", "Refuse", "path_not_utf8", get("/public/%ff", &[])),
        (
            "mixedAuthority",
            "Refuse",
            "request_mixed_authority",
            get("/public/a", &[("host", "evil")]),
        ),
    ];
    let mut strict = Sidecar::start("strict", &[("orders.yaml", POLICY)]).await;
    for (class, _, refused, request) in &classes {
        assert_eq!(code(&mut strict, request.clone()).await, *refused, "{class}");
    }
    let (_, metrics) = strict.page("/metrics").await;
    for (class, ..) in &classes {
        let line = format!("hopgate_authz_ambiguous_requests_total{{class=\"{class}\"}} 1");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    strict.stop().await;

    let switches: Vec<String> =
        classes.iter().map(|(class, accept, ..)| format!("{class}: {accept}")).collect();
    let spec = format!("{{ normalisation: {{ {} }} }}", switches.join(", "));
    let mut lenient = under("lenient", &spec).await;
    for (class, accept, refused, request) in &classes {
        let expected = if *accept == "Refuse" { refused } else { "allow" };
        assert_eq!(code(&mut lenient, request.clone()).await, expected, "{class}");
    }
    let (_, metrics) = lenient.page("/metrics").await;
    assert!(metrics.contains("class=\"dotSegments\"} 0"), "{metrics}");
    assert!(metrics.contains("class=\"nonUtf8\"} 1"), "{metrics}");
    lenient.stop().await;
}

#[tokio::test]
async fn the_page_shows_what_holds_and_a_second_policy_is_refused() {
    let sidecar = under("shown", "{ trustedHops: 2, withoutPolicy: Deny }").await;
    let (_, page) = sidecar.page("/config").await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["mesh"]["trustedHops"], 2);
    assert_eq!(page["mesh"]["normalisation"]["dotSegments"], "Refuse");
    assert_eq!(page["mesh"]["limits"]["pathBytes"], 8192);
    sidecar.scratch.write("resources/second.yaml", &mesh("{}"));
    let told = crate::support::envoy::eventually(async || {
        sidecar.page("/config").await.1.contains("there are two MeshPolicies")
    })
    .await;
    assert!(told);
    // What was in force stays.
    let (_, page) = sidecar.page("/config").await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["mesh"]["trustedHops"], 2);
    sidecar.stop().await;
}

#[tokio::test]
async fn limits_are_those_of_the_mesh() {
    let mut sidecar = under("limits", "{ limits: { pathBytes: 64, headerLines: 16 } }").await;
    let long = format!("/public/{}", "a".repeat(60));
    assert_eq!(code(&mut sidecar, get(&long, &[])).await, "path_too_long");
    let many = vec![("x-a", "1"); 14];
    assert_eq!(code(&mut sidecar, get("/public/a", &many)).await, "request_too_many_headers");
    assert_eq!(code(&mut sidecar, get("/public/a", &many[..13])).await, "allow");
    sidecar.stop().await;
}

#[tokio::test]
async fn the_client_in_front_of_trusted_proxies_is_known_or_nothing_is_decided() {
    let mut trusting = under("hops", "{ trustedHops: 2 }").await;
    let mut plain = Sidecar::start("no-hops", &[("orders.yaml", POLICY)]).await;
    for (lines, expected) in [
        (&["203.0.113.7, 198.51.100.1"][..], "allow"),
        (&["10.9.9.9, 203.0.113.7", "198.51.100.1"], "allow"),
        (&["203.0.113.7, 198.51.100.1, 198.51.100.2"], "no_rule_allows"),
        (&["203.0.113.7"], "rule_undecidable"),
        (&["203.0.113.7, nobody"], "rule_undecidable"),
        (&[], "rule_undecidable"),
    ] {
        let headers: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        assert_eq!(code(&mut trusting, get("/office", &headers)).await, expected, "{lines:?}");
        assert_eq!(code(&mut plain, get("/office", &headers)).await, "rule_undecidable");
    }
    trusting.stop().await;
    plain.stop().await;
}

#[tokio::test]
async fn both_ends_of_the_connection_are_facts() {
    let mut sidecar = Sidecar::start("ends", &[("orders.yaml", POLICY)]).await;
    let end = |address: &str, port: u32| {
        let socket = SocketAddress {
            address: address.into(),
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..SocketAddress::default()
        };
        let address = Some(Address { address: Some(AddressKind::SocketAddress(socket)) });
        Some(Peer { address, ..Peer::default() })
    };
    for (source, port, expected) in [
        ("10.1.2.3", 8443, "allow"),
        ("::ffff:10.1.2.3", 8443, "allow"),
        ("10.1.2.3", 8080, "no_rule_allows"),
        ("192.0.2.1", 8443, "no_rule_allows"),
    ] {
        let mut request = get("/door", &[]);
        let attributes = request.attributes.as_mut().unwrap();
        attributes.source = end(source, 4000);
        attributes.destination = end("10.0.0.9", port);
        assert_eq!(code(&mut sidecar, request).await, expected, "{source} {port}");
    }
    assert_eq!(code(&mut sidecar, get("/door", &[])).await, "rule_undecidable");
    sidecar.stop().await;
}
