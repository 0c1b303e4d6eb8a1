//! X.509 clients that are no workloads of the mesh.

use std::sync::Arc;
use std::time::SystemTime;

use hopgate::authn::{
    Absent, Caller, CertificateAuthority, CertificateRefused, ClientAuthorities, ForwardRules,
    InvalidCertificateAuthority, PeerEvidence, Verifier, WireEvidence, WireRules,
};
use hopgate::identity::Members;
use hopgate::policy::CertificateSubject as From;
use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;

use super::bench::{Bench, PROXY};
use super::pki::{self, Authority, dns, email, named};
use super::{domain, encoded, uri};
use crate::authentication::mint::{NOW, at};

fn compile(ca: &str, crl: Option<&str>, subject: From) -> CertificateAuthority {
    CertificateAuthority::compile(ca.as_bytes(), crl.map(str::as_bytes), subject).unwrap()
}

fn outcome(
    authority: &CertificateAuthority,
    leaf: &CertificateDer<'_>,
    chain: &[CertificateDer<'static>],
    now: SystemTime,
) -> String {
    match authority.prove(leaf, chain, now) {
        Ok(client) => client.subject().to_owned(),
        Err(refused) => refused.code().to_owned(),
    }
}

fn now() -> SystemTime {
    at(NOW)
}

#[test]
fn a_client_is_what_its_certificate_says() {
    let root = pki::root("Partner CA");
    let leaf = root.leaf(|p| {
        p.subject_alt_names =
            vec![dns("Shop.Partner.example"), uri("https://partner.example/shop"), email("a@b.c")];
        p.distinguished_name.push(DnType::CommonName, "Partner shop");
        p.serial_number = Some(0x1f_u64.into());
    });
    for (subject, expected) in [
        (From::Dns, "shop.partner.example"),
        (From::Uri, "https://partner.example/shop"),
        (From::Email, "a@b.c"),
        (From::CommonName, "Partner shop"),
    ] {
        let authority = compile(&root.pem, None, subject);
        let client = authority.prove(&leaf, &[], now()).unwrap();
        assert_eq!(client.subject(), expected);
        assert_eq!(client.serial(), "1f");
        assert_eq!((client.not_before(), client.not_after()), (at(NOW - 60), at(NOW + 60)));
        assert_eq!(client.uris(), ["https://partner.example/shop"]);
        assert_eq!(client.dns_names(), ["Shop.Partner.example"]);
        assert_eq!(client.emails(), ["a@b.c"]);
        assert_eq!(client.common_name(), Some("Partner shop"));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf);
        assert_eq!(client.thumbprint(), digest.as_ref());
        let again = authority.prove(&leaf, &[], at(NOW + 60)).unwrap();
        assert!(!Arc::ptr_eq(&client, &again), "in its last second it is proven anew");
        let again = authority.prove(&leaf, &[], at(NOW + 1)).unwrap();
        assert_eq!(again.subject(), expected);
    }
    let authority = compile(&root.pem, None, From::Dns);
    let first = authority.prove(&leaf, &[], now()).unwrap();
    assert!(Arc::ptr_eq(&first, &authority.prove(&leaf, &[], at(NOW + 1)).unwrap()), "remembered");
}

#[test]
fn exactly_one_printable_subject() {
    let root = pki::root("Partner CA");
    let common = |names: &[&str]| {
        root.leaf(|p| {
            p.distinguished_name = DistinguishedName::new();
            for (index, name) in names.iter().enumerate() {
                // rcgen holds one of each kind; the same kind by its number makes a second one.
                let kind = if index == 0 {
                    DnType::CommonName
                } else {
                    DnType::CustomDnType(vec![2, 5, 4, 3])
                };
                p.distinguished_name.push(kind, *name);
            }
        })
    };
    for (subject, leaf, expected) in [
        (From::Dns, root.leaf(|p| named(p, &["a.example", "b.example"])), "ambiguous"),
        (From::Dns, root.leaf(|p| named(p, &["a.example", "a.example"])), "ambiguous"),
        (From::Dns, root.leaf(|_| {}), "missing"),
        (From::Dns, root.leaf(|p| named(p, &["*.example"])), "invalid"),
        (From::Uri, root.leaf(|p| named(p, &["a.example"])), "missing"),
        (From::Email, root.leaf(|p| named(p, &["a.example"])), "missing"),
        (From::CommonName, root.leaf(|p| named(p, &["a.example"])), "missing"),
        (From::CommonName, common(&["one", "two"]), "ambiguous"),
        (From::CommonName, common(&["one", "one"]), "ambiguous"),
        (From::CommonName, common(&[""]), "invalid"),
        (From::CommonName, common(&["a\nb"]), "invalid"),
        (From::CommonName, common(&["admin\u{202e}"]), "invalid"),
        (From::CommonName, common(&["admin\u{200b}"]), "invalid"),
        (From::CommonName, common(&[" admin"]), "invalid"),
    ] {
        let authority = compile(&root.pem, None, subject);
        let expected = format!("certificate_subject_{expected}");
        assert_eq!(outcome(&authority, &leaf, &[], now()), expected, "{subject:?}");
    }
    // Names of other kinds do not count.
    let mixed = root.leaf(|p| {
        named(p, &["a.example", "b.example"]);
        p.distinguished_name.push(DnType::CommonName, "Caf\u{e9} 1");
    });
    let authority = compile(&root.pem, None, From::CommonName);
    assert_eq!(outcome(&authority, &mixed, &[], now()), "Caf\u{e9} 1");
}

#[test]
fn only_a_client_of_this_authority_and_in_its_time() {
    let root = pki::root("Partner CA");
    let authority = compile(&root.pem, None, From::Dns);
    let leaf = root.leaf(|p| named(p, &["a.example"]));
    assert_eq!(outcome(&authority, &leaf, &[], now()), "a.example");
    assert_eq!(outcome(&authority, &leaf, &[], at(NOW + 61)), "certificate_expired");
    assert_eq!(outcome(&authority, &leaf, &[], at(NOW - 61)), "certificate_not_yet_valid");
    for foreign in [pki::root("Other CA"), pki::root("Partner CA")] {
        let leaf = foreign.leaf(|p| named(p, &["a.example"]));
        let given = [foreign.der.clone()];
        assert_eq!(outcome(&authority, &leaf, &[], now()), "certificate_untrusted");
        assert_eq!(outcome(&authority, &leaf, &given, now()), "certificate_untrusted");
    }
    let server = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for other in [
        root.leaf(|p| p.extended_key_usages = server),
        root.leaf(|p| p.extended_key_usages = Vec::new()),
        root.leaf(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
        root.leaf(|p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
        root.leaf(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        root.leaf(|p| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
        root.der.clone(),
    ] {
        assert_eq!(outcome(&authority, &other, &[], now()), "certificate_purpose");
    }
    let whole = leaf.as_ref();
    let longer = [whole, b"x"].concat();
    for bytes in [&whole[..whole.len() - 1], &longer, b"", b"x"] {
        let bytes = CertificateDer::from(bytes);
        assert_eq!(outcome(&authority, &bytes, &[], now()), "certificate_unreadable");
    }
    let many = vec![root.der.clone(); 9];
    assert_eq!(outcome(&authority, &leaf, &many, now()), "certificate_unreadable");
}

#[test]
fn a_root_is_trusted_in_its_own_time_only() {
    let old = pki::root_with("Old CA", |p| p.not_after = at(NOW).into());
    let leaf = old.leaf(|p| named(p, &["a.example"]));
    let authority = compile(&old.pem, None, From::Dns);
    assert_eq!(outcome(&authority, &leaf, &[], at(NOW)), "a.example");
    // What was proven is not remembered beyond the root.
    let ended = "certificate_authority_not_in_force";
    assert_eq!(outcome(&authority, &leaf, &[], at(NOW + 1)), ended);
    let both = format!("{}{}", old.pem, pki::root("New CA").pem);
    let authority = compile(&both, None, From::Dns);
    assert_eq!(outcome(&authority, &leaf, &[], at(NOW)), "a.example");
    assert_eq!(outcome(&authority, &leaf, &[], at(NOW + 1)), "certificate_untrusted");
}

fn below(root: &Authority) -> (Authority, CertificateDer<'static>) {
    let intermediate = root.intermediate("Partner issuing CA", |_| {});
    let leaf = intermediate.leaf(|p| {
        named(p, &["a.example"]);
        p.serial_number = Some(5_u64.into());
    });
    (intermediate, leaf)
}

#[test]
fn intermediates_come_with_the_leaf_or_from_the_file() {
    let root = pki::root("Partner CA");
    let (intermediate, leaf) = below(&root);
    let bare = compile(&root.pem, None, From::Dns);
    assert_eq!(outcome(&bare, &leaf, &[], now()), "certificate_untrusted");
    assert_eq!(outcome(&bare, &leaf, std::slice::from_ref(&intermediate.der), now()), "a.example");
    // It was the chain that proved it; without, nothing is remembered.
    assert_eq!(outcome(&bare, &leaf, &[], now()), "certificate_untrusted");
    let whole = compile(&format!("{}{}", intermediate.pem, root.pem), None, From::Dns);
    assert_eq!(outcome(&whole, &leaf, &[], now()), "a.example");
    // An intermediate of the file is no root of its own: its end counts.
    let short = root.intermediate("Short", |p| p.not_after = at(NOW + 1).into());
    let leaf = short.leaf(|p| named(p, &["a.example"]));
    let authority = compile(&format!("{}{}", root.pem, short.pem), None, From::Dns);
    assert_eq!(outcome(&authority, &leaf, &[], now()), "a.example");
    assert_eq!(outcome(&authority, &leaf, &[], at(NOW + 2)), "certificate_expired");
    let narrow = root.intermediate("Narrow", |p| {
        p.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("b.example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let leaf = |name: &str| narrow.leaf(|p| named(p, &[name]));
    let given = [narrow.der.clone()];
    assert_eq!(outcome(&bare, &leaf("x.b.example"), &given, now()), "x.b.example");
    assert_eq!(outcome(&bare, &leaf("a.example"), &given, now()), "certificate_chain_invalid");
}

#[test]
fn revoked_or_not_known_not_to_be() {
    let root = pki::root("Partner CA");
    let (intermediate, leaf) = below(&root);
    let ca = format!("{}{}", root.pem, intermediate.pem);
    let later = at(NOW + 30);
    let (of_root, of_it) = (root.list(&[], later), intermediate.list(&[6], later));
    let with = |lists: &[&String]| {
        let lists: String = lists.iter().map(|list| list.as_str()).collect();
        compile(&ca, Some(&lists), From::Dns)
    };
    let good = with(&[&of_root, &of_it]);
    assert_eq!(outcome(&good, &leaf, &[], now()), "a.example");
    // The proof ends with the list.
    let unknown = "certificate_revocation_unknown";
    assert_eq!(outcome(&good, &leaf, &[], at(NOW + 31)), unknown);
    let revoked = intermediate.list(&[6, 5], later);
    assert_eq!(outcome(&with(&[&of_root, &revoked]), &leaf, &[], now()), "certificate_revoked");
    let above = root.list(&[77], later);
    assert_eq!(outcome(&with(&[&above, &of_it]), &leaf, &[], now()), "certificate_revoked");
    // No list for an issuer on the way.
    assert_eq!(outcome(&with(&[&of_root]), &leaf, &[], now()), unknown);
    assert_eq!(outcome(&with(&[&of_it]), &leaf, &[], now()), unknown);
    let old = intermediate.list(&[], at(NOW - 1));
    assert_eq!(outcome(&with(&[&of_root, &old]), &leaf, &[], now()), unknown);
    // A list by another key under the issuer's name.
    let forged = pki::root("Partner issuing CA").list(&[], later);
    assert_eq!(outcome(&with(&[&of_root, &forged]), &leaf, &[], now()), unknown);
    // DER holds one list.
    let direct = root.leaf(|p| named(p, &["b.example"]));
    let der = pem_body(&of_root);
    let subject = From::Dns;
    let authority = CertificateAuthority::compile(root.pem.as_bytes(), Some(&der), subject);
    assert_eq!(outcome(&authority.unwrap(), &direct, &[], now()), "b.example");
}

fn pem_body(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

#[test]
fn files_that_cannot_be_used_are_refused() {
    let root = pki::root("Partner CA");
    let (intermediate, leaf) = below(&root);
    let stranger = pki::root("Other CA");
    let refused = |ca: &str, crl: Option<&str>| {
        let crl = crl.map(str::as_bytes);
        CertificateAuthority::compile(ca.as_bytes(), crl, From::Dns).unwrap_err()
    };
    use InvalidCertificateAuthority as Invalid;
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for ca in ["", "x", key, &format!("{}{key}", root.pem), &root.pem[..100]] {
        assert!(matches!(refused(ca, None), Invalid::NotCertificates), "{ca}");
    }
    let with_leaf = format!("{}{}", root.pem, pki::pem(&leaf));
    assert!(matches!(refused(&with_leaf, None), Invalid::NotAnAuthority(2)));
    let empty = format!("{}{}", root.pem, pki::pem(&CertificateDer::from(&b"x"[..])));
    assert!(matches!(refused(&empty, None), Invalid::NotAnAuthority(2)));
    assert!(matches!(refused(&intermediate.pem, None), Invalid::NoRoot));
    let orphan = format!("{}{}", stranger.pem, intermediate.pem);
    assert!(matches!(refused(&orphan, None), Invalid::Orphan(2)));
    assert!(matches!(refused(&root.pem.repeat(65), None), Invalid::TooMany));
    let list = root.list(&[], at(NOW + 30));
    for crl in ["", "x", &root.pem, &format!("{list}{}", root.pem)] {
        assert!(matches!(refused(&root.pem, Some(crl)), Invalid::NotLists), "{crl}");
    }
    let foreign = stranger.list(&[], at(NOW + 30));
    let both = format!("{list}{foreign}");
    assert!(matches!(refused(&root.pem, Some(&both)), Invalid::ForeignList(2)));
}

fn on_the_wire(
    principal: &str,
    leaf: &CertificateDer<'_>,
    clients: &ClientAuthorities,
) -> Result<String, String> {
    let certificate = encoded(&pki::pem(leaf));
    let peer = PeerEvidence { principal, certificate: &certificate };
    let verifier = Verifier::new(1).unwrap();
    let forward = ForwardRules::nobody();
    let own = domain();
    let rules = WireRules { members: Members::of(&own), forward: &forward, roots: None, clients };
    let evidence = WireEvidence { peer, headers: None };
    let first = verifier.on_the_wire(&evidence, &rules, now());
    let second = verifier.on_the_wire(&evidence, &rules, now());
    let told = |result: Result<Option<hopgate::authn::OnTheWire>, hopgate::authn::PeerRefused>| {
        let wire = result.map_err(|refused| refused.code().to_owned())?.unwrap();
        assert!(wire.via.is_none());
        Ok(match wire.caller {
            Caller::Workload(peer) => peer.id().to_string(),
            Caller::Client(proven) => format!("{}/{}", proven.provider, proven.client.subject()),
        })
    };
    let first = told(first);
    assert_eq!(first, told(second), "known or not");
    first
}

#[test]
fn a_client_on_the_wire_is_of_exactly_one_provider() {
    let (partner, devices) = (pki::root("Partner CA"), pki::root("Device CA"));
    let named_authority = |name: &str, root: &Authority, subject| {
        (Arc::from(name), Arc::new(compile(&root.pem, None, subject)))
    };
    let clients = ClientAuthorities::new(vec![
        named_authority("devices", &devices, From::CommonName),
        named_authority("partners", &partner, From::Dns),
    ]);
    let refused = |code: &str| Err(code.to_owned());
    let leaf = partner.leaf(|p| named(p, &["a.example"]));
    assert_eq!(on_the_wire("a.example", &leaf, &clients), Ok("partners/a.example".to_owned()));
    assert_eq!(on_the_wire("b.example", &leaf, &clients), refused("principal_mismatch"));
    assert_eq!(on_the_wire("", &leaf, &clients), refused("principal_missing"));
    // The same certificate where no provider knows clients: as strict as ever.
    let nobody = ClientAuthorities::none();
    assert_eq!(on_the_wire("a.example", &leaf, &nobody), refused("certificate_invalid"));
    let foreign = pki::root("Other CA").leaf(|p| named(p, &["a.example"]));
    assert_eq!(on_the_wire("a.example", &foreign, &clients), refused("certificate_untrusted"));
    // The provider that knows the issuer says what is wrong.
    let nameless = partner.leaf(|_| {});
    assert_eq!(on_the_wire("CN=", &nameless, &clients), refused("certificate_subject_missing"));
    let twice = ClientAuthorities::new(vec![
        named_authority("one", &partner, From::Dns),
        named_authority("two", &partner, From::Dns),
    ]);
    assert_eq!(on_the_wire("a.example", &leaf, &twice), refused("certificate_provider_ambiguous"));
    assert_eq!(CertificateRefused::ProviderAmbiguous.code(), "certificate_provider_ambiguous");
}

#[test]
fn no_partner_makes_workloads_of_the_mesh() {
    let partner = pki::root("Partner CA");
    let authority = Arc::new(compile(&partner.pem, None, From::Uri));
    let clients = ClientAuthorities::new(vec![(Arc::from("partners"), authority)]);
    // Two URIs, a SPIFFE ID as DNS name, or in capitals: none is a workload, none becomes a client either.
    let id = super::PRINCIPAL;
    for names in [
        vec![uri(id), uri("https://partner.example/")],
        vec![dns(id)],
        vec![dns(id), uri("https://partner.example/")],
        vec![uri("SPIFFE://demo.mesh/ns/shop/sa/orders")],
    ] {
        let leaf = partner.leaf(|p| p.subject_alt_names = names);
        assert_eq!(on_the_wire(id, &leaf, &clients), Err("certificate_invalid".to_owned()));
    }
    // A workload of another mesh is a client here, because its authority is configured, and never a workload.
    let other = "spiffe://partner.mesh/ns/a/sa/b";
    let leaf = partner.leaf(|p| p.subject_alt_names = vec![uri(other)]);
    assert_eq!(on_the_wire(other, &leaf, &clients), Ok(format!("partners/{other}")));
    let leaf = pki::root("Other CA").leaf(|p| p.subject_alt_names = vec![uri(other)]);
    assert_eq!(on_the_wire(other, &leaf, &clients), Err("certificate_untrusted".to_owned()));
    // Strictly named, by an authority that Envoy trusts: only the mesh's roots tell it from a workload.
    let forged = partner.leaf(|p| p.subject_alt_names = vec![uri(id)]);
    assert_eq!(on_the_wire(id, &forged, &clients), Err("workload_unverifiable".to_owned()));
}

#[test]
fn a_workload_is_one_by_the_roots_of_the_mesh_where_providers_have_authorities() {
    let mut bench = Bench::new();
    bench.rule.absent = Absent::Proxy;
    assert_eq!(bench.told(&[]), PROXY);
    let hidden = bench.partner.intermediate("Partner issuing CA", |_| {});
    let by_mesh = bench.mesh.intermediate("Mesh issuing CA", |_| {});
    let named = |authority: &Authority| authority.leaf(|p| p.subject_alt_names = vec![uri(PROXY)]);
    // By the partner, by an authority of its that nobody told us of, and by a stranger of the mesh's name.
    for forged in [named(&bench.partner), named(&hidden), named(&pki::root("Mesh"))] {
        bench.proxy = forged;
        assert_eq!(bench.told(&[]), "workload_untrusted");
    }
    // An issuing authority of the mesh counts once this workload's own chain shows it.
    bench.proxy = named(&by_mesh);
    assert_eq!(bench.told(&[]), "workload_untrusted");
    bench.roots = bench
        .roots
        .take()
        .map(|roots| roots.with_intermediates(std::slice::from_ref(&by_mesh.der)));
    assert_eq!(bench.told(&[]), PROXY);
    // Without authorities of providers what Envoy accepts is the mesh's, as ever.
    bench.clients = ClientAuthorities::none();
    bench.roots = None;
    assert_eq!(bench.told(&[]), PROXY);
}
