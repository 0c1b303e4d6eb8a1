//! X509-SVID: leaves, what signs them, and roots.

use std::time::SystemTime;

use hopgate::identity::{PrivateKey, TrustBundle, TrustDomain, X509Svid};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::support::pki::{self, Ca};

const WORKLOAD: &str = "spiffe://mesh.example/ns/shop/sa/orders";

type Change = fn(&mut CertificateParams);

/// Section, what is asked, how the leaf is made, and the words of the refusal.
const LEAVES: &[(&str, &str, Change, Option<&str>)] = &[
    ("2", "exactly one URI SAN", |_| {}, None),
    ("2", "exactly one URI SAN", |p| p.subject_alt_names.clear(), Some("0 URI SANs")),
    (
        "2",
        "more than one URI SAN is rejected",
        |p| p.subject_alt_names.push(pki::uri("spiffe://mesh.example/b")),
        Some("2 URI SANs"),
    ),
    (
        "2",
        "also one that is no SPIFFE ID",
        |p| p.subject_alt_names.push(pki::uri("https://mesh.example/")),
        Some("2 URI SANs"),
    ),
    (
        "2",
        "also twice the same",
        |p| p.subject_alt_names.push(pki::uri(WORKLOAD)),
        Some("2 URI SANs"),
    ),
    (
        "2",
        "any other names",
        |p| {
            p.subject_alt_names.extend([
                rcgen::SanType::DnsName("orders.shop.svc".try_into().unwrap()),
                rcgen::SanType::IpAddress(std::net::IpAddr::from([127, 0, 0, 1])),
                rcgen::SanType::Rfc822Name("orders@mesh.example".try_into().unwrap()),
            ])
        },
        None,
    ),
    (
        "2",
        "a DNS name is no SPIFFE ID",
        |p| p.subject_alt_names = vec![rcgen::SanType::DnsName(WORKLOAD.try_into().unwrap())],
        Some("0 URI SANs"),
    ),
    (
        "3.1",
        "a path that is not the root",
        |p| p.subject_alt_names = vec![pki::uri("spiffe://mesh.example")],
        Some("names a trust domain"),
    ),
    (
        "3.1",
        "a path that is not the root",
        |p| p.subject_alt_names = vec![pki::uri("spiffe://mesh.example/")],
        Some("path segment"),
    ),
    (
        "3.1",
        "a subject is not needed, and does no harm",
        |p| p.distinguished_name.push(DnType::CommonName, "orders"),
        None,
    ),
    (
        "4.1",
        "cA is false",
        |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        Some("CA certificate"),
    ),
    ("4.1", "cA is false also where it is left out", |p| p.is_ca = IsCa::NoCa, None),
    ("4.3", "key usage is there", |p| p.key_usages.clear(), Some("key usage")),
    (
        "4.3",
        "key usage is critical",
        |p| {
            p.key_usages.clear();
            // digitalSignature, not critical.
            p.custom_extensions
                .push(CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, 7, 128]));
        },
        Some("key usage"),
    ),
    (
        "4.3",
        "digitalSignature is set",
        |p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment],
        Some("key usage"),
    ),
    (
        "4.3",
        "keyEncipherment and keyAgreement may be",
        |p| p.key_usages.extend([KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyAgreement]),
        None,
    ),
    (
        "4.3",
        "keyCertSign is not",
        |p| p.key_usages.push(KeyUsagePurpose::KeyCertSign),
        Some("key usage"),
    ),
    ("4.3", "cRLSign is not", |p| p.key_usages.push(KeyUsagePurpose::CrlSign), Some("key usage")),
    ("4.4", "extended key usage may be left out", |p| p.extended_key_usages.clear(), None),
    (
        "4.4",
        "serverAuth and clientAuth both",
        |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        Some("extended key usage"),
    ),
    (
        "4.4",
        "serverAuth and clientAuth both",
        |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        Some("extended key usage"),
    ),
    (
        "4.4",
        "others beside them",
        |p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning),
        None,
    ),
    (
        "5.1",
        "valid now (RFC 5280)",
        |p| p.not_after = (SystemTime::now() - std::time::Duration::from_secs(1)).into(),
        Some("not trusted"),
    ),
    (
        "5.1",
        "valid now (RFC 5280)",
        |p| p.not_before = (SystemTime::now() + std::time::Duration::from_secs(3600)).into(),
        Some("not trusted"),
    ),
    (
        "5.1",
        "no unknown critical extension (RFC 5280)",
        |p| {
            let mut unknown =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![5, 0]);
            unknown.set_criticality(true);
            p.custom_extensions.push(unknown);
        },
        Some("not trusted"),
    ),
    (
        "5.2",
        "the scheme is spiffe",
        |p| p.subject_alt_names = vec![pki::uri("https://mesh.example/a")],
        Some("spiffe://"),
    ),
    (
        "5.2",
        "of the bundle's trust domain (SPIFFE-ID 3)",
        |p| p.subject_alt_names = vec![pki::uri("spiffe://other.example/a")],
        Some("is not in trust domain"),
    ),
];

/// The same for the certificate between leaf and root.
const AUTHORITIES: &[(&str, &str, Change, Option<&str>)] = &[
    ("3.2", "an authority need not be an SVID", |_| {}, None),
    (
        "3.2",
        "its SPIFFE ID is its trust domain",
        |p| p.subject_alt_names = vec![pki::uri("spiffe://mesh.example")],
        None,
    ),
    (
        "3.2",
        "its SPIFFE ID has no path",
        |p| p.subject_alt_names = vec![pki::uri("spiffe://mesh.example/ca")],
        Some("without a path"),
    ),
    (
        "3.2",
        "its SPIFFE ID has no path",
        |p| p.subject_alt_names = vec![pki::uri("SPIFFE://mesh.example/ca")],
        Some("without a path"),
    ),
    ("3.2", "cA is true", |p| p.is_ca = IsCa::ExplicitNoCa, Some("not a CA certificate")),
    (
        "4.1",
        "pathLenConstraint counts",
        |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
        None,
    ),
    (
        "4.2",
        "name constraints of its own trust domain: the verifier knows none for URIs, and refuses",
        |p| p.custom_extensions.push(permits("mesh.example")),
        Some("not trusted"),
    ),
    (
        "4.2",
        "name constraints of another trust domain",
        |p| p.custom_extensions.push(permits("other.example")),
        Some("not trusted"),
    ),
    (
        "4.3",
        "keyCertSign is set",
        |p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        Some("key usage"),
    ),
    ("4.3", "cRLSign may be missing", |p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign], None),
    (
        "4.3",
        "key usage is there in an SVID",
        |p| {
            p.key_usages.clear();
            p.subject_alt_names = vec![pki::uri("spiffe://mesh.example")];
        },
        Some("key usage"),
    ),
    (
        "5.1",
        "valid now (RFC 5280)",
        |p| p.not_after = (SystemTime::now() - std::time::Duration::from_secs(1)).into(),
        Some("not trusted"),
    ),
];

/// A critical extension that permits URIs of one host.
fn permits(host: &str) -> CustomExtension {
    let length = |n: usize| u8::try_from(n).unwrap();
    let uri = [&[0x86, length(host.len())], host.as_bytes()].concat();
    let subtree = [&[0x30, length(uri.len())], uri.as_slice()].concat();
    let permitted = [&[0xa0, length(subtree.len())], subtree.as_slice()].concat();
    let constraints = [&[0x30, length(permitted.len())], permitted.as_slice()].concat();
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], constraints);
    extension.set_criticality(true);
    extension
}

fn root() -> Ca {
    pki::ca_with(rcgen::KeyPair::generate().unwrap(), |params| {
        params.distinguished_name.push(DnType::CommonName, "mesh.example");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    })
}

/// What comes of a leaf below an intermediate.
fn judged(leaf: Change, authority: Change) -> Result<X509Svid, String> {
    let root = root();
    let intermediate = root.intermediate_with(authority);
    let made = intermediate.leaf_with(|params| {
        params.subject_alt_names = vec![pki::uri(WORKLOAD)];
        leaf(params);
    });
    let key = PrivateKey::from_pem(&made.key.serialize_pem()).unwrap();
    let bundle = TrustBundle::new(TrustDomain::parse("mesh.example").unwrap(), vec![root.root()]);
    let chain = vec![made.certificate, intermediate.root()];
    X509Svid::new(chain, key, &bundle.unwrap(), SystemTime::now())
        .map_err(|error| with_causes(&error))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", with_causes(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

#[test]
fn x509_svids() {
    let unchanged: Change = |_| {};
    let leaves = LEAVES.iter().map(|row| (row, judged(row.2, unchanged)));
    let authorities = AUTHORITIES.iter().map(|row| (row, judged(unchanged, row.2)));
    let mut wrong = Vec::new();
    for ((section, rule, _, refusal), judged) in leaves.chain(authorities) {
        match (judged, refusal) {
            (Ok(svid), None) => assert_eq!(svid.id().as_str(), WORKLOAD),
            (Err(error), Some(words)) if error.contains(words) => {}
            (judged, _) => wrong.push(format!("section {section}: {rule}: {:?}", judged.err())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Section 3.2 and 6: what stands in a bundle is an authority.
#[test]
fn roots_are_authorities() {
    let domain = || TrustDomain::parse("mesh.example").unwrap();
    let taken =
        |certificate| TrustBundle::new(domain(), vec![certificate]).map_err(|e| with_causes(&e));
    assert!(taken(root().root()).is_ok());
    let leaf = root().leaf_with(|params| params.subject_alt_names = vec![pki::uri(WORKLOAD)]);
    assert!(taken(leaf.certificate).unwrap_err().contains("not a CA certificate"));
    let changed = |change: Change| pki::ca_with(rcgen::KeyPair::generate().unwrap(), change).root();
    let usage = changed(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    assert!(taken(usage).unwrap_err().contains("key usage"));
    let workload = changed(|params| params.subject_alt_names = vec![pki::uri(WORKLOAD)]);
    assert!(taken(workload).unwrap_err().contains("without a path"));
    let domain =
        changed(|params| params.subject_alt_names = vec![pki::uri("spiffe://mesh.example")]);
    assert!(taken(domain).is_ok());
}

/// Certificates that the SPIFFE project tests its own library with; the outcome is in the name of each file.
#[test]
fn vectors_of_go_spiffe() {
    let Some(folder) = crate::support::vectors("spiffe/go-spiffe") else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pem") {
            continue;
        }
        seen += 1;
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read(&path).unwrap();
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().unwrap();
        let judged = hopgate::identity::check_profile(&chain);
        assert_eq!(judged.is_ok(), name.starts_with("good"), "{name}: {judged:?}");
    }
    assert!(seen >= 9, "{seen} files");
}
