//! Client certificates of foreign authorities as proof.

use std::time::{Duration, SystemTime};

use hopgate::ca::{
    AttestRefused, Attestation, Attestor, Credentials, Token, X509Problem, X509Proof, X509Refused,
};
use hopgate::identity::{PrivateKey, SpiffeId};
use hopgate::runtime::Clock;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};
use rustls::pki_types::CertificateDer;
use tonic::Code;

use crate::support::pki::{Ca, Leaf, ca, uri};

use super::parts::{
    Call, Directory, ORDERS, Office, PAYMENTS, Plane, csr, days, ders, hours, id, start_of_time,
};

const WORKLOADS: &str = r#"[
    { certificate: { dns: Build-7.corp.example }, workload: ns/shop/sa/orders },
    { certificate: { uri: "urn:machine:7" }, workload: ns/shop/sa/orders },
    { certificate: { email: ops@corp.example }, workload: ns/shop/sa/payments },
    { certificate: { subject: { O: Corp, CN: build-7 } }, workload: ns/shop/sa/orders },
]"#;

fn proof(name: &str, file: &str, workloads: &str) -> X509Proof {
    let text = format!("name: {name}\ncaFile: {file}\nworkloads: {workloads}\n");
    serde_saphyr::from_str(&text).unwrap()
}

pub(super) fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

/// Valid around the start of time.
pub(super) fn leaf(corp: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    corp.leaf_with(|params| {
        params.not_before = (start_of_time() - hours(1)).into();
        params.not_after = (start_of_time() + hours(1)).into();
        change(params);
    })
}

pub(super) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

struct Corp {
    directory: Directory,
    office: Office,
    corp: Ca,
}

impl Corp {
    fn new() -> Self {
        let directory = Directory::new();
        let office = Office::open(&directory.path("ca"), start_of_time());
        let corp = ca();
        directory.write("corp.pem", &pem(&corp.root()), 0o644);
        Self { directory, office, corp }
    }

    fn open(&self, proofs: &[X509Proof]) -> Attestor {
        let mut proofs = proofs.to_vec();
        for proof in &mut proofs {
            proof.resolve(&self.directory.path(""));
        }
        let foreign = X509Proof::open(&proofs, &self.office.authority.bundle()).unwrap();
        self.office.attestor().with_foreign(foreign)
    }

    fn attestor(&self) -> Attestor {
        self.open(&[proof("corp", "corp.pem", WORKLOADS)])
    }
}

fn attest(
    attestor: &Attestor,
    leaf: &Leaf,
    now: SystemTime,
) -> Result<(SpiffeId, Attestation), AttestRefused> {
    let chain = [leaf.certificate.clone()];
    let credentials = Credentials { token: None, certificates: Some(&chain) };
    attestor.attest(&credentials, now).map(|attested| (attested.id().clone(), attested.by()))
}

#[test]
fn a_mapped_certificate_proves_its_workload() {
    let corp = Corp::new();
    let attestor = corp.attestor();
    type Change = fn(&mut CertificateParams);
    let table: [(Change, &str); 6] = [
        (|p| p.subject_alt_names = vec![dns("build-7.corp.example")], ORDERS),
        (|p| p.subject_alt_names = vec![dns("BUILD-7.corp.example"), dns("other")], ORDERS),
        (|p| p.subject_alt_names = vec![uri("urn:machine:7")], ORDERS),
        (
            |p| {
                let email = SanType::Rfc822Name("ops@corp.example".try_into().unwrap());
                p.subject_alt_names = vec![email];
            },
            PAYMENTS,
        ),
        (
            |p| {
                p.distinguished_name.push(DnType::CommonName, "build-7");
                p.distinguished_name.push(DnType::OrganizationName, "Corp");
            },
            ORDERS,
        ),
        // Two names of one workload do not contradict each other.
        (|p| p.subject_alt_names = vec![dns("build-7.corp.example"), uri("urn:machine:7")], ORDERS),
    ];
    for (n, (change, workload)) in table.into_iter().enumerate() {
        let found = attest(&attestor, &leaf(&corp.corp, change), start_of_time()).unwrap();
        assert_eq!(found, (id(workload), Attestation::ForeignCertificate), "row {n}");
    }
}

#[test]
fn every_other_certificate_is_refused_by_name() {
    let corp = Corp::new();
    let attestor = corp.attestor();
    let now = start_of_time();
    type Change = fn(&mut CertificateParams);
    let refused = |change: Change| {
        let good = |params: &mut CertificateParams| {
            params.subject_alt_names = vec![dns("build-7.corp.example")];
            change(params);
        };
        attest(&attestor, &leaf(&corp.corp, good), now).unwrap_err()
    };
    let unmapped: [Change; 7] = [
        |p| p.subject_alt_names = vec![dns("build-8.corp.example")],
        |p| p.subject_alt_names = vec![dns("x.build-7.corp.example")],
        |p| p.subject_alt_names = vec![dns("*.corp.example")],
        |p| p.subject_alt_names = vec![uri("urn:machine:77")],
        // The right text as another kind of name.
        |p| p.subject_alt_names = vec![uri("build-7.corp.example")],
        |p| {
            p.subject_alt_names.clear();
            p.distinguished_name.push(DnType::CommonName, "build-7");
        },
        |p| {
            p.subject_alt_names.clear();
            for (kind, text) in [
                (DnType::CommonName, "build-7"),
                (DnType::OrganizationName, "Corp"),
                (DnType::OrganizationalUnitName, "guests"),
            ] {
                p.distinguished_name.push(kind, text);
            }
        },
    ];
    for (n, change) in unmapped.into_iter().enumerate() {
        let error = refused(change);
        assert!(matches!(error, AttestRefused::X509(X509Refused::Unmapped(_))), "{n}: {error}");
    }
    // A SPIFFE ID of ours, signed by somebody else, is just a name that is not mapped.
    let spiffe =
        refused(|p| p.subject_alt_names = vec![uri("spiffe://demo.mesh/ns/shop/sa/orders")]);
    assert!(matches!(spiffe, AttestRefused::X509(X509Refused::Unmapped(_))), "{spiffe}");

    let both = refused(|p| {
        let email = SanType::Rfc822Name("ops@corp.example".try_into().unwrap());
        p.subject_alt_names.push(email);
    });
    assert!(matches!(both, AttestRefused::X509(X509Refused::Ambiguous(_))), "{both}");

    let silent = refused(|p| p.extended_key_usages.clear());
    assert!(matches!(silent, AttestRefused::X509(X509Refused::NoClientAuth(_))), "{silent}");
    let server = refused(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(is_untrusted(&server), "{server}");
    let over = refused(|p| p.not_after = (start_of_time() - hours(1)).into());
    assert!(is_untrusted(&over), "{over}");
    let early = refused(|p| p.not_before = (start_of_time() + hours(1)).into());
    assert!(is_untrusted(&early), "{early}");
    let authority = refused(|p| {
        p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    });
    assert!(is_untrusted(&authority), "{authority}");

    // The same from an authority that nobody configured.
    let stranger = leaf(&ca(), |p| p.subject_alt_names = vec![dns("build-7.corp.example")]);
    let error = attest(&attestor, &stranger, now).unwrap_err();
    assert!(is_untrusted(&error), "{error}");
    // And a good one where no foreign authority is taken.
    let good = leaf(&corp.corp, |p| p.subject_alt_names = vec![dns("build-7.corp.example")]);
    let error = attest(&corp.office.attestor(), &good, now).unwrap_err();
    assert!(matches!(error, AttestRefused::Certificate(_)), "{error}");
    assert!(attest(&attestor, &good, now).is_ok());
    assert!(attest(&attestor, &good, now + days(1)).is_err(), "an old connection");
}

fn is_untrusted(error: &AttestRefused) -> bool {
    matches!(
        error,
        AttestRefused::X509(X509Refused::NotTrusted { .. }) | AttestRefused::Certificate(_)
    )
}

#[test]
fn a_certificate_and_a_token_must_agree() {
    let corp = Corp::new();
    let attestor = corp.attestor();
    let now = start_of_time();
    let good = leaf(&corp.corp, |p| p.subject_alt_names = vec![dns("build-7.corp.example")]);
    let chain = [good.certificate.clone()];
    let minute = Duration::from_secs(60);
    for (workload, agrees) in [(ORDERS, true), (PAYMENTS, false)] {
        let token = corp.office.tokens.create(&id(workload), minute, now).unwrap();
        let token = Some(Token::Join(token.expose()));
        match attestor.attest(&Credentials { token, certificates: Some(&chain) }, now) {
            Ok(attested) => assert!(agrees && attested.by() == Attestation::Both),
            Err(error) => assert!(!agrees && matches!(error, AttestRefused::Disagree), "{error}"),
        }
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let corp = Corp::new();
    let bundle = corp.office.authority.bundle();
    corp.directory.write("own.pem", &bundle.to_pem(), 0o644);
    corp.directory.write("empty.pem", "", 0o644);
    let odd = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let text = format!("{}{odd}", pem(&corp.corp.root()));
    corp.directory.write("odd.pem", &text, 0o644);
    let one = "[{ certificate: { dns: a.b }, workload: ns/shop/sa/orders }]";
    let open = |proofs: &[X509Proof]| {
        let mut proofs = proofs.to_vec();
        for proof in &mut proofs {
            proof.resolve(&corp.directory.path(""));
        }
        X509Proof::open(&proofs, &bundle).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(open(&[proof("corp", "corp.pem", one)]), Ok(()));
    for (name, file, workloads, words) in [
        ("corp", "nowhere.pem", one, "nowhere.pem"),
        ("corp", "empty.pem", one, "caFile"),
        ("corp", "odd.pem", one, "caFile"),
        ("corp", "own.pem", one, "own root"),
        ("''", "corp.pem", one, "name"),
        ("corp", "corp.pem", "[]", "workloads"),
        (
            "corp",
            "corp.pem",
            "[{ certificate: { dns: '*.b' }, workload: ns/shop/sa/orders }]",
            "workloads[0].certificate",
        ),
        (
            "corp",
            "corp.pem",
            "[{ certificate: { subject: {} }, workload: ns/shop/sa/orders }]",
            "workloads[0].certificate",
        ),
        (
            "corp",
            "corp.pem",
            "[{ certificate: { dns: a.b }, workload: ns/shop/sa/orders }, \
              { certificate: { dns: A.B }, workload: ns/shop/sa/payments }]",
            "workloads[1].certificate is mapped before",
        ),
        ("corp", "corp.pem", "[{ certificate: { uri: 'a:b' }, workload: orders }]", "workloads[0]"),
        (
            "corp",
            "corp.pem",
            "[{ certificate: { uri: 'a:b' }, workload: ns/hopgate-system/sa/hopgate-control }]",
            "reserved",
        ),
    ] {
        let error = open(&[proof(name, file, workloads)]).unwrap_err();
        assert!(error.contains("attest.x509") && error.contains(words), "{words}: {error}");
    }
    let twice = [proof("corp", "corp.pem", one), proof("corp", "corp.pem", one)];
    assert!(open(&twice).unwrap_err().contains(&X509Problem::Name.to_string()));
}

#[tokio::test]
async fn a_machine_with_a_certificate_of_its_company_gets_its_workloads() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let corp = ca();
    directory.write("corp.pem", &pem(&corp.root()), 0o644);
    let more = format!(
        "attest: {{ x509: [{{ name: corp, caFile: corp.pem, workloads: {} }}] }}\n\
         dnsNames: [{{ workload: {ORDERS}, names: [orders.shop.svc] }}]\n",
        WORKLOADS.replace('\n', " ")
    );
    let plane = Plane::start_with(&directory, &clock, "127.0.0.1:0", &more).await;
    let ask = async |shown: &Leaf| {
        let key = PrivateKey::generate().unwrap();
        let call = Call {
            port: plane.port,
            trusts: &plane.bundle,
            certificate: None,
            authorization: &[],
            csr: csr(&key, |p| p.subject_alt_names = vec![dns("orders.shop.svc")]),
            seconds: 0,
        };
        let identity = (vec![shown.certificate.clone()], shown.key.serialize_pem());
        call.send_as(&clock, Some(identity)).await
    };
    let good = leaf(&corp, |p| p.subject_alt_names = vec![dns("build-7.corp.example")]);
    let chain = ders(&ask(&good).await.unwrap());
    let issued = hopgate::identity::Leaf::parse(&chain[0]).unwrap();
    assert_eq!(*issued.id(), id(ORDERS));
    let (_, parsed) =
        <x509_parser::prelude::X509Certificate<'_> as x509_parser::prelude::FromDer<'_, _>>::from_der(
            &chain[0],
        )
        .unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let names: Vec<_> = names.value.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[1].contains("orders.shop.svc"), "{names:?}");

    let other = leaf(&corp, |p| p.subject_alt_names = vec![dns("build-8.corp.example")]);
    let status = ask(&other).await.unwrap_err();
    let expected = (Code::PermissionDenied, "client certificate mapped to no workload");
    assert_eq!((status.code(), status.message()), expected);
    let silent = leaf(&corp, |p| {
        p.subject_alt_names = vec![dns("build-7.corp.example")];
        p.extended_key_usages.clear();
    });
    let status = ask(&silent).await.unwrap_err();
    let expected = (Code::Unauthenticated, "client certificate not made for clients");
    assert_eq!((status.code(), status.message()), expected);
    // These two are not even let in by the handshake.
    let server = leaf(&corp, |p| {
        p.subject_alt_names = vec![dns("build-7.corp.example")];
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(ask(&server).await.is_err());
    let stranger = leaf(&ca(), |p| p.subject_alt_names = vec![dns("build-7.corp.example")]);
    assert!(ask(&stranger).await.is_err());
    assert!(ask(&good).await.is_ok(), "the server serves on");
    plane.stop().await;
}
