//! Signing requests that openssl and rcgen make: each form that is taken, and each thing that is refused.

use std::io::Write as _;
use std::process::{Command, Stdio};

use hopgate::ca::{InvalidRequest, SigningRequest};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair};

use super::parts::{ORDERS, id};

const OWN: &str = "URI:spiffe://demo.mesh/ns/shop/sa/orders";

/// A request by openssl: algorithm, subject, attributes and extensions as it writes them in its configuration. With a
/// subject of its own it forgets the attributes; without one the organization is `x`.
struct Openssl<'a> {
    key: &'a [&'a str],
    subject: &'a str,
    attributes: &'a str,
    extensions: &'a str,
    more: &'a [&'a str],
}

const P256: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const PLAIN: Openssl<'_> =
    Openssl { key: P256, subject: "/", attributes: "", extensions: "", more: &[] };

impl Openssl<'_> {
    fn pem(&self) -> String {
        let Self { key, subject, attributes, extensions, more } = self;
        let mut config = "[req]\nprompt = no\ndistinguished_name = dn\n".to_owned();
        if !attributes.is_empty() {
            config += "attributes = at\n";
        }
        if !extensions.is_empty() {
            config += "req_extensions = ex\n";
        }
        config += &format!("[dn]\nO = x\n[at]\n{attributes}\n[ex]\n{extensions}\n");
        let mut child = Command::new("openssl")
            .args(["req", "-new", "-nodes", "-keyout", "/dev/null", "-config", "/dev/stdin"])
            .args(if attributes.is_empty() { vec!["-subj", subject] } else { Vec::new() })
            .arg("-newkey")
            .args(*key)
            .args(*more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}\n{config}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn extensions(text: &str) -> String {
    Openssl { extensions: text, ..PLAIN }.pem()
}

fn rcgen(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

/// As the service takes a request for the workload, which has one DNS name.
fn judge(pem: &str) -> Result<(), InvalidRequest> {
    SigningRequest::parse(pem)?.check_names(&id(ORDERS), &["orders.shop.svc".to_owned()])
}

#[test]
fn every_allowed_form_is_taken() {
    let organization =
        |text: &str| rcgen(|params| params.distinguished_name.push(DnType::OrganizationName, text));
    for (form, pem) in [
        ("nothing but a key", PLAIN.pem()),
        ("P-384", Openssl { key: &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], ..PLAIN }.pem()),
        (
            "P-384 with SHA-384",
            Openssl {
                key: &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
                more: &["-sha384"],
                ..PLAIN
            }
            .pem(),
        ),
        ("Ed25519", Openssl { key: &["ed25519"], ..PLAIN }.pem()),
        ("its SPIFFE ID", extensions(&format!("subjectAltName = {OWN}"))),
        ("critical", extensions(&format!("subjectAltName = critical,{OWN}"))),
        ("its DNS name", extensions("subjectAltName = DNS:orders.shop.svc")),
        ("in capitals", extensions(&format!("subjectAltName = {OWN},DNS:Orders.Shop.SVC"))),
        ("no authority", extensions("basicConstraints = critical,CA:FALSE")),
        ("the usage of a leaf", extensions("keyUsage = critical,digitalSignature")),
        ("one extended usage", extensions("extendedKeyUsage = clientAuth")),
        ("both extended usages", extensions("extendedKeyUsage = serverAuth,clientAuth")),
        (
            "all of a leaf",
            extensions(&format!(
                "subjectAltName = {OWN}\nbasicConstraints = CA:FALSE\n\
                 keyUsage = digitalSignature\nextendedKeyUsage = serverAuth,clientAuth"
            )),
        ),
        // What Istio's agents send: the organization of their options, which is empty, and their URI.
        ("an empty organization", organization("")),
        ("an organization", organization("cluster.local")),
        (
            "an agent of Istio",
            rcgen(|params| {
                params.distinguished_name.push(DnType::OrganizationName, "");
                params.subject_alt_names =
                    vec![rcgen::SanType::URI(id(ORDERS).as_str().try_into().unwrap())];
            }),
        ),
    ] {
        assert_eq!(judge(&pem), Ok(()), "{form}\n{pem}");
    }
}

#[test]
fn everything_else_is_refused_by_name() {
    let extension = |oid: &str| InvalidRequest::Extension(oid.to_owned());
    let attribute = |oid: &str| InvalidRequest::Attribute(oid.to_owned());
    let key = |key: &[&str]| Openssl { key, ..PLAIN }.pem();
    let subject = |subject: &str| Openssl { subject, ..PLAIN }.pem();
    let attributes = |attributes: &str| Openssl { attributes, ..PLAIN }.pem();
    let many = (0..65).map(|n| format!("DNS:n{n}.x")).collect::<Vec<_>>().join(",");
    let table = [
        // Keys and signatures.
        ("RSA", key(&["rsa:2048"]), InvalidRequest::KeyKind),
        ("P-224", key(&["ec", "-pkeyopt", "ec_paramgen_curve:P-224"]), InvalidRequest::KeyKind),
        ("P-521", key(&["ec", "-pkeyopt", "ec_paramgen_curve:P-521"]), InvalidRequest::KeyKind),
        ("Ed448", key(&["ed448"]), InvalidRequest::KeyKind),
        (
            "a curve by its parameters",
            key(&[
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-pkeyopt",
                "ec_param_enc:explicit",
            ]),
            InvalidRequest::KeyKind,
        ),
        (
            "SHA-1",
            Openssl { more: &["-sha1"], ..PLAIN }.pem(),
            InvalidRequest::SignatureKind("1.2.840.10045.4.1".to_owned()),
        ),
        (
            "SHA-512",
            Openssl { more: &["-sha512"], ..PLAIN }.pem(),
            InvalidRequest::SignatureKind("1.2.840.10045.4.3.4".to_owned()),
        ),
        // The rights of an authority.
        ("an authority", extensions("basicConstraints = CA:TRUE"), InvalidRequest::Authority),
        (
            "an authority of two levels",
            extensions("basicConstraints = critical,CA:TRUE,pathlen:1"),
            InvalidRequest::Authority,
        ),
        ("to sign", extensions("keyUsage = keyCertSign"), InvalidRequest::Authority),
        (
            "to sign lists",
            extensions("keyUsage = digitalSignature,cRLSign"),
            InvalidRequest::Authority,
        ),
        // Usages.
        (
            "to encrypt keys",
            extensions("keyUsage = digitalSignature,keyEncipherment"),
            InvalidRequest::KeyUsage,
        ),
        ("to agree", extensions("keyUsage = keyAgreement"), InvalidRequest::KeyUsage),
        (
            "to sign code",
            extensions("extendedKeyUsage = serverAuth,codeSigning"),
            InvalidRequest::ExtendedKeyUsage,
        ),
        (
            "to be asked by OCSP",
            extensions("extendedKeyUsage = OCSPSigning"),
            InvalidRequest::ExtendedKeyUsage,
        ),
        (
            "anything",
            extensions("extendedKeyUsage = anyExtendedKeyUsage"),
            InvalidRequest::ExtendedKeyUsage,
        ),
        (
            "a usage of its own",
            extensions("extendedKeyUsage = 1.2.3.4"),
            InvalidRequest::ExtendedKeyUsage,
        ),
        // Names.
        (
            "another workload",
            extensions("subjectAltName = URI:spiffe://demo.mesh/ns/shop/sa/payments"),
            InvalidRequest::ForeignName,
        ),
        (
            "two workloads",
            extensions(&format!(
                "subjectAltName = {OWN},URI:spiffe://demo.mesh/ns/shop/sa/payments"
            )),
            InvalidRequest::ForeignName,
        ),
        (
            "itself twice",
            extensions(&format!("subjectAltName = {OWN},{OWN}")),
            InvalidRequest::ForeignName,
        ),
        (
            "another DNS name",
            extensions(&format!("subjectAltName = {OWN},DNS:payments.shop.svc")),
            InvalidRequest::DnsName("payments.shop.svc".to_owned()),
        ),
        (
            "a wildcard",
            extensions("subjectAltName = DNS:*.shop.svc"),
            InvalidRequest::DnsName("*.shop.svc".to_owned()),
        ),
        ("an address", extensions("subjectAltName = IP:127.0.0.1"), InvalidRequest::NameKind),
        ("an email", extensions("subjectAltName = email:a@b.c"), InvalidRequest::NameKind),
        ("an identifier", extensions("subjectAltName = RID:1.2.3.4"), InvalidRequest::NameKind),
        (
            "another name",
            extensions("subjectAltName = otherName:1.2.3.4;UTF8:x"),
            InvalidRequest::NameKind,
        ),
        ("many names", extensions(&format!("subjectAltName = {many}")), InvalidRequest::Names),
        ("a common name", subject("/CN=orders"), InvalidRequest::Subject),
        ("and an organization", subject("/O=x/CN=orders"), InvalidRequest::Subject),
        ("a user", subject("/UID=orders"), InvalidRequest::Subject),
        // Extensions.
        ("constraints", extensions("nameConstraints = permitted;DNS:x"), extension("2.5.29.30")),
        ("policies", extensions("certificatePolicies = 1.2.3.4"), extension("2.5.29.32")),
        ("a key identifier", extensions("subjectKeyIdentifier = hash"), extension("2.5.29.14")),
        ("stapling", extensions("tlsfeature = status_request"), extension("1.3.6.1.5.5.7.1.24")),
        (
            "an extension of its own",
            rcgen(|params| {
                let odd = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                params.custom_extensions = vec![odd];
            }),
            extension("1.2.3.4"),
        ),
        (
            "an unreadable extension",
            rcgen(|params| {
                let odd = CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![5, 0]);
                params.custom_extensions = vec![odd];
            }),
            extension("2.5.29.15"),
        ),
        (
            "an extension twice",
            rcgen(|params| {
                params.is_ca = rcgen::IsCa::ExplicitNoCa;
                let odd = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 0]);
                params.custom_extensions = vec![odd.clone(), odd];
            }),
            InvalidRequest::Twice("2.5.29.19".to_owned()),
        ),
        // Attributes.
        ("a password", attributes("challengePassword = secret"), attribute("1.2.840.113549.1.9.7")),
        ("a text", attributes("unstructuredName = text"), attribute("1.2.840.113549.1.9.2")),
    ];
    for (thing, pem, refusal) in table {
        assert_eq!(judge(&pem), Err(refusal), "{thing}\n{pem}");
    }
}

#[test]
fn a_request_is_bounded() {
    let long = extensions(&format!("subjectAltName = URI:spiffe://demo.mesh/{}", "a".repeat(7000)));
    assert_eq!(judge(&long), Err(InvalidRequest::TooLong));
}
