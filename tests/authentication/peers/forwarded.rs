//! Certificates that named proxies forward.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hopgate::authn::{
    Absent, ClientAuthorities, ForwardHeader, ForwardRules, ForwardTrust, PeerEvidence, ProxyRule,
    Verifier, WireEvidence, WireRules, WorkloadRoots,
};
use hopgate::identity::{Members, SpiffeId, TrustBundle, TrustDomain};
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::bench::{Bench, PROXY, XFCC, bytes, hash, lines, via, xfcc};
use super::pki::{self, named};
use super::{PRINCIPAL, domain, encoded, uri, vectors};
use crate::authentication::mint::{NOW, at};

#[test]
fn a_named_proxy_speaks_for_workloads_and_clients() {
    let mut bench = Bench::new();
    let (workload, client) = (bench.workload(), bench.client());
    let value = xfcc(&workload, &format!(";URI={PRINCIPAL}"));
    assert_eq!(bench.told(&[(XFCC, &value)]), via(PRINCIPAL));
    let value = xfcc(&client, ";URI=;DNS=a.example");
    assert_eq!(bench.told(&[(XFCC, &value)]), via("a.example"));
    // The other header is not looked at.
    let both = [(XFCC, value.as_str()), ("client-cert", "nonsense")];
    assert_eq!(bench.told(&both), via("a.example"));
    bench.rule.header = ForwardHeader::ClientCert;
    assert_eq!(bench.told(&[("client-cert", &bytes(&workload))]), via(PRINCIPAL));
    let both = [(XFCC, "nonsense"), ("client-cert", &bytes(&client))];
    assert_eq!(bench.told(&both), via("a.example"));
}

#[test]
fn nobody_else_does() {
    let mut bench = Bench::new();
    let value = xfcc(&bench.workload(), "");
    let other = "spiffe://demo.mesh/ns/edge/sa/other";
    bench.proxy = bench.mesh.leaf(|p| p.subject_alt_names = vec![uri(other)]);
    bench.principal = other;
    // A workload that is not named is itself, whatever it says.
    for value in [value.as_str(), "nonsense"] {
        assert_eq!(bench.told(&[(XFCC, value), ("client-cert", value)]), other);
    }
    // So is a client of a provider, even under the name of the proxy.
    bench.proxy = bench.client();
    bench.principal = "a.example";
    assert_eq!(bench.told(&[(XFCC, &value)]), "a.example");
    bench.principal = PROXY;
    assert_eq!(bench.told(&[(XFCC, &value)]), "principal_mismatch");
    // Without a certificate on the wire there is nobody to believe.
    let lines = lines(&[(XFCC, &value)]);
    let forward = ForwardRules::new(vec![bench.rule.clone()]).unwrap();
    let evidence = WireEvidence {
        peer: PeerEvidence { principal: "", certificate: "" },
        headers: Some(&lines),
    };
    let own = domain();
    let rules = WireRules {
        members: Members::of(&own),
        forward: &forward,
        roots: bench.roots.as_ref(),
        clients: &bench.clients,
    };
    assert!(bench.verifier.on_the_wire(&evidence, &rules, at(NOW)).unwrap().is_none());
}

#[test]
fn without_its_header_a_proxy_is_itself_or_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.told(&[]), "forwarded_absent");
    assert_eq!(bench.told(&[("client-cert", "x")]), "forwarded_absent");
    bench.rule.absent = Absent::Proxy;
    assert_eq!(bench.told(&[]), PROXY);
    // An empty header is there.
    assert_eq!(bench.told(&[(XFCC, "")]), "forwarded_malformed");
    bench.rule.header = ForwardHeader::ClientCert;
    assert_eq!(bench.told(&[(XFCC, "x")]), PROXY);
    assert_eq!(bench.told(&[("client-cert", "")]), "forwarded_malformed");
    assert_eq!(bench.told(&[("client-cert-chain", ":AA==:")]), "forwarded_certificate_missing");
}

#[test]
fn a_forwarded_workload_is_checked_here() {
    let mut bench = Bench::new();
    let value = xfcc(&bench.workload(), "");
    let stranger = pki::root("Mesh").leaf(|p| p.subject_alt_names = vec![uri(PRINCIPAL)]);
    let forged = xfcc(&stranger, "");
    // The partner's authority is trusted for clients only.
    let partner = bench.partner.leaf(|p| p.subject_alt_names = vec![uri(PRINCIPAL)]);
    let by_partner = xfcc(&partner, "");
    assert_eq!(bench.told(&[(XFCC, &value)]), via(PRINCIPAL));
    assert_eq!(bench.told(&[(XFCC, &forged)]), "forwarded_untrusted");
    assert_eq!(bench.told(&[(XFCC, &by_partner)]), "forwarded_untrusted");
    bench.now = NOW + 61;
    assert_eq!(bench.told(&[(XFCC, &value)]), "certificate_expired");
    bench.now = NOW;
    let roots = bench.roots.take();
    // Not even the proxy itself is known to be of the mesh.
    assert_eq!(bench.told(&[(XFCC, &value)]), "workload_unverifiable");
    let clients = std::mem::replace(&mut bench.clients, ClientAuthorities::none());
    assert_eq!(bench.told(&[(XFCC, &value)]), "forwarded_unverifiable");
    // Named for what it risks: then the proxy's word is enough, for a certificate of anybody's.
    bench.rule.trust = ForwardTrust::Proxy;
    assert_eq!(bench.told(&[(XFCC, &forged)]), via(PRINCIPAL));
    bench.now = NOW + 61;
    assert_eq!(bench.told(&[(XFCC, &value)]), "certificate_expired");
    bench.now = NOW;
    (bench.roots, bench.clients) = (roots, clients);
    // Anybody's but a provider's: its authority is here, and makes no workloads.
    assert_eq!(bench.told(&[(XFCC, &forged)]), via(PRINCIPAL));
    assert_eq!(bench.told(&[(XFCC, &by_partner)]), "workload_untrusted");
    // But not for clients of providers.
    let client = pki::root("Partner CA").leaf(|p| named(p, &["a.example"]));
    assert_eq!(bench.told(&[(XFCC, &xfcc(&client, ""))]), "certificate_untrusted");
    bench.rule.trust = ForwardTrust::Roots;
    bench.clients = ClientAuthorities::none();
    // Roots that changed have forgotten what others proved.
    let other = TrustBundle::new(domain(), vec![pki::root("Mesh").der]).unwrap();
    bench.roots = Some(WorkloadRoots::compile(&other).unwrap());
    assert_eq!(bench.told(&[(XFCC, &value)]), "forwarded_untrusted");
    // Roots of another mesh prove nobody of this one.
    let elsewhere = TrustDomain::parse("other.mesh").unwrap();
    let bundle = TrustBundle::new(elsewhere, vec![bench.mesh.der.clone()]).unwrap();
    bench.roots = Some(WorkloadRoots::compile(&bundle).unwrap());
    assert_eq!(bench.told(&[(XFCC, &value)]), "forwarded_untrusted");
}

#[test]
fn workloads_of_other_meshes_and_half_workloads() {
    let mut bench = Bench::new();
    let foreign = bench.partner.leaf(|p| p.subject_alt_names = vec![uri("spiffe://x.mesh/a")]);
    let half = bench.mesh.leaf(|p| p.subject_alt_names = vec![uri(PRINCIPAL), uri("https://a/")]);
    let half = xfcc(&half, "");
    let value = xfcc(&foreign, "");
    // A client, if an authority says so; here it has no DNS name.
    assert_eq!(bench.told(&[(XFCC, &value)]), "certificate_subject_missing");
    assert_eq!(bench.told(&[(XFCC, &half)]), "certificate_invalid");
    bench.clients = ClientAuthorities::none();
    assert_eq!(bench.told(&[(XFCC, &value)]), "foreign_trust_domain");
    let client = xfcc(&bench.client(), "");
    assert_eq!(bench.told(&[(XFCC, &client)]), "certificate_untrusted");
}

#[test]
fn a_chain_that_comes_with_it() {
    let mut bench = Bench::new();
    let issuing = bench.mesh.intermediate("Mesh issuing", |_| {});
    let leaf = issuing.leaf(|p| p.subject_alt_names = vec![uri(PRINCIPAL)]);
    let chain = |of: &[&CertificateDer<'_>]| {
        let pem: String = of.iter().map(|der| pki::pem(der)).collect();
        xfcc(&leaf, &format!(";Chain=\"{}\"", encoded(&pem)))
    };
    assert_eq!(bench.told(&[(XFCC, &xfcc(&leaf, ""))]), "forwarded_untrusted");
    assert_eq!(bench.told(&[(XFCC, &chain(&[&leaf, &issuing.der]))]), via(PRINCIPAL));
    assert_eq!(bench.told(&[(XFCC, &chain(&[&issuing.der]))]), "forwarded_mismatch");
    let junk = CertificateDer::from(&b"junk"[..]);
    let unreadable = "forwarded_certificate_unreadable";
    assert_eq!(bench.told(&[(XFCC, &chain(&[&leaf, &junk]))]), unreadable);
    let ten = [[&leaf].as_slice(), &[&issuing.der; 9]].concat();
    assert_eq!(bench.told(&[(XFCC, &chain(&ten))]), unreadable);
    bench.rule.header = ForwardHeader::ClientCert;
    let (leaf, above) = (bytes(&leaf), bytes(&issuing.der));
    let list = format!("{above} ,\t{above}");
    for list in [&above, &list] {
        let both = [("client-cert", leaf.as_str()), ("client-cert-chain", list)];
        assert_eq!(bench.told(&both), via(PRINCIPAL));
    }
    assert_eq!(bench.told(&[("client-cert", &leaf)]), "forwarded_untrusted");
    for (list, code) in [
        (String::new(), "forwarded_malformed"),
        (format!("{above},"), "forwarded_malformed"),
        (format!("{above};a=b"), "forwarded_malformed"),
        (format!("{above} {above}"), "forwarded_malformed"),
        ([above.as_str(); 9].join(","), "forwarded_malformed"),
        (bytes(b"junk"), unreadable),
    ] {
        let both = [("client-cert", leaf.as_str()), ("client-cert-chain", &list)];
        assert_eq!(bench.told(&both), code, "{list:.40}");
    }
    let twice = [
        ("client-cert", leaf.as_str()),
        ("client-cert-chain", &above),
        ("client-cert-chain", &above),
    ];
    assert_eq!(bench.told(&twice), "forwarded_ambiguous");
}

#[test]
fn rfc_9440_is_read_strictly() {
    let mut bench = Bench::new();
    bench.rule.header = ForwardHeader::ClientCert;
    let good = bytes(&bench.workload());
    let padded = STANDARD.encode(b"x");
    for (value, code) in [
        (format!("{good},{good}"), "forwarded_ambiguous"),
        (format!("{good} "), "forwarded_malformed"),
        (format!(" {good}"), "forwarded_malformed"),
        (format!("{good};a"), "forwarded_malformed"),
        (format!("{good};"), "forwarded_malformed"),
        (good.trim_matches(':').to_owned(), "forwarded_malformed"),
        (":".to_owned(), "forwarded_malformed"),
        ("::".to_owned(), "forwarded_certificate_unreadable"),
        (format!(":{padded}:"), "forwarded_certificate_unreadable"),
        (format!(":{}:", padded.trim_end_matches('=')), "forwarded_malformed"),
        (":eB==:".to_owned(), "forwarded_malformed"),
        (":e A==:".to_owned(), "forwarded_malformed"),
        (":_-==:".to_owned(), "forwarded_malformed"),
        (format!(":{}:", "A".repeat(70_000)), "forwarded_malformed"),
        (format!("\"{good}\""), "forwarded_malformed"),
    ] {
        assert_eq!(bench.told(&[("client-cert", &value)]), code, "{value:.40}");
    }
    let twice = [("client-cert", good.as_str()), ("client-cert", good.as_str())];
    assert_eq!(bench.told(&twice), "forwarded_ambiguous");
    assert_eq!(bench.told(&[("client-cert", &good)]), via(PRINCIPAL));
    assert_eq!(bench.told(&[("client-cert", &bytes(&bench.proxy))]), "forwarded_own_certificate");
}

#[test]
fn what_xfcc_says_must_be_so() {
    let bench = Bench::new();
    let (workload, client) = (bench.workload(), bench.client());
    let cert = encoded(&pki::pem(&workload));
    let (right, wrong) = (hash(&workload), hash(&client));
    let both = format!("Cert=\"{cert}\",Cert=\"{cert}\"");
    for (value, expected) in [
        (format!("Cert={cert}"), via(PRINCIPAL)),
        (format!("Cert=\"{cert}\";URI=\"{PRINCIPAL}\""), via(PRINCIPAL)),
        (format!("Hash={right};Cert=\"{cert}\""), via(PRINCIPAL)),
        (format!("Hash={wrong};Cert=\"{cert}\""), "forwarded_mismatch".into()),
        (format!("Hash={};Cert=\"{cert}\"", right.to_uppercase()), "forwarded_mismatch".into()),
        (format!("Hash=;Cert=\"{cert}\""), "forwarded_mismatch".into()),
        (format!("Cert=\"{cert}\";URI={PROXY}"), "forwarded_mismatch".into()),
        (format!("Cert=\"{cert}\";URI="), "forwarded_mismatch".into()),
        (format!("Cert=\"{cert}\";URI={PRINCIPAL};URI={PROXY}"), "forwarded_mismatch".into()),
        (format!("Cert=\"{cert}\";DNS=a.example"), "forwarded_mismatch".into()),
        (format!("Hash={right};URI={PRINCIPAL}"), "forwarded_certificate_missing".into()),
        (format!("Chain=\"{cert}\""), "forwarded_certificate_missing".into()),
        (format!("Cert=\"{cert}x\""), "forwarded_certificate_unreadable".into()),
        (format!("Cert=\"{cert}{cert}\""), "forwarded_certificate_unreadable".into()),
        (both, "forwarded_ambiguous".into()),
        (format!("By=spiffe://evil;Hash=00,Cert=\"{cert}\""), "forwarded_ambiguous".into()),
        (format!("Cert=\"{cert}\";Cert=\"{cert}\""), "forwarded_malformed".into()),
        (format!("cert=\"{cert}\""), "forwarded_malformed".into()),
        (xfcc(&bench.proxy, &format!(";URI={PROXY}")), "forwarded_own_certificate".into()),
    ] {
        assert_eq!(bench.told(&[(XFCC, &value)]), expected, "{value}");
    }
    let twice = [(XFCC, "Hash=0"), (XFCC, "Hash=0")];
    assert_eq!(bench.told(&twice), "forwarded_ambiguous");
}

#[test]
fn a_proxy_is_named_once() {
    let rule = Bench::new().rule;
    let twice = ForwardRules::new(vec![rule.clone(), rule]).unwrap_err();
    assert_eq!(twice.to_string(), format!("the proxy {PROXY} is named twice"));
}

/// What a real Envoy wrote into the header, forwarded by a proxy that is believed.
#[test]
fn headers_recorded_from_envoy() {
    let Some(folder) = vectors("checkrequests") else { return };
    let corp = TrustDomain::parse("corp.example").unwrap();
    let gateway = "spiffe://corp.example/ns/prod/sa/gateway";
    let mesh = pki::root("Mesh");
    let year = 365 * 24 * 3600;
    let proxy = mesh.leaf(|p| {
        p.subject_alt_names = vec![uri(gateway)];
        (p.not_before, p.not_after) =
            (at(1_795_000_000 - year).into(), at(1_795_000_000 + year).into());
    });
    let forward = ForwardRules::new(vec![ProxyRule {
        id: SpiffeId::parse(gateway).unwrap(),
        header: ForwardHeader::Xfcc,
        absent: Absent::Refuse,
        trust: ForwardTrust::Proxy,
    }])
    .unwrap();
    for (name, expected) in [
        ("mtls-set-frontend", "spiffe://corp.example/ns/prod/sa/frontend"),
        // Clients, and no provider knows any.
        ("mtls-set-dns-only", "certificate_untrusted"),
        ("mtls-set-dns-spiffe", "certificate_invalid"),
        ("mtls-set-two-uri", "certificate_invalid"),
        ("mtls-append", "forwarded_ambiguous"),
        ("plain-xfcc-always", "forwarded_certificate_missing"),
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let request: Value = serde_json::from_str(&text).unwrap();
        let value = request["attributes"]["request"]["http"]["headers"][XFCC].as_str().unwrap();
        let certificate = encoded(&pki::pem(&proxy));
        let lines = lines(&[(XFCC, value)]);
        let evidence = WireEvidence {
            peer: PeerEvidence { principal: gateway, certificate: &certificate },
            headers: Some(&lines),
        };
        let clients = ClientAuthorities::none();
        let rules = WireRules {
            members: Members::of(&corp),
            forward: &forward,
            roots: None,
            clients: &clients,
        };
        let outcome =
            match Verifier::new(1).unwrap().on_the_wire(&evidence, &rules, at(1_795_000_000)) {
                Ok(wire) => wire.unwrap().workload().unwrap().id().to_string(),
                Err(refused) => refused.code().to_owned(),
            };
        assert_eq!(outcome, expected, "{name}");
    }
}
