//! An authority that the operator supplies, in the layout of Istio's `cacerts`, and how its root is changed.

use hopgate::ca::{Authority, AuthorityError, Lifetime, SuppliedFiles};
use hopgate::identity::{TrustBundle, X509Svid};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::parts::{Directory, domain, hours, start_of_time};

/// A key with its certificate.
struct Pair {
    key: KeyPair,
    certificate: rcgen::Certificate,
}

fn authority(name: &str, by: Option<&Pair>) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = match by {
        None => params.self_signed(&key).unwrap(),
        Some(by) => {
            let pair = KeyPair::from_pem(&by.key.serialize_pem()).unwrap();
            let issuer = Issuer::from_ca_cert_der(by.certificate.der(), pair).unwrap();
            params.signed_by(&key, &issuer).unwrap()
        }
    };
    Pair { key, certificate }
}

/// A root, one between, an issuing one.
struct Chain([Pair; 3]);

impl Chain {
    fn new(name: &str) -> Self {
        let root = authority(&format!("{name} root"), None);
        let between = authority(&format!("{name} between"), Some(&root));
        let issuing = authority(&format!("{name} issuing"), Some(&between));
        Self([root, between, issuing])
    }

    fn root(&self) -> String {
        self.0[0].certificate.pem()
    }

    /// As `ca-cert.pem`, `ca-key.pem` and `cert-chain.pem`.
    fn put(&self, directory: &Directory) {
        let [root, between, issuing] = &self.0;
        let chain = [issuing, between, root].map(|one| one.certificate.pem()).concat();
        directory.write("cacerts/ca-cert.pem", &issuing.certificate.pem(), 0o644);
        directory.write("cacerts/ca-key.pem", &issuing.key.serialize_pem(), 0o600);
        directory.write("cacerts/cert-chain.pem", &chain, 0o644);
    }
}

fn open(directory: &Directory) -> Result<Authority, AuthorityError> {
    let files = SuppliedFiles::cacerts(&directory.path("cacerts"));
    Authority::supplied(&files, &directory.path("state"), &domain(), start_of_time())
}

fn place() -> Directory {
    let directory = Directory::new();
    std::fs::create_dir(directory.path("cacerts")).unwrap();
    directory
}

fn own(authority: &Authority) -> X509Svid {
    authority.own_certificate(&[], Lifetime::DEFAULT, start_of_time()).unwrap()
}

fn roots(authority: &Authority) -> usize {
    authority.bundle().roots().len()
}

/// True if the leaf verifies against that root alone.
fn verifies(svid: &X509Svid, root: &str) -> bool {
    let bundle = TrustBundle::from_pem(domain(), root).unwrap();
    let key = hopgate::identity::PrivateKey::from_pem(&svid.key().to_pem()).unwrap();
    X509Svid::new(svid.chain().to_vec(), key, &bundle, start_of_time()).is_ok()
}

#[test]
fn the_operator_changes_the_root_by_the_files() {
    let (directory, one, two) = (place(), Chain::new("one"), Chain::new("two"));
    one.put(&directory);
    directory.write("cacerts/root-cert.pem", &one.root(), 0o644);
    let authority = open(&directory).unwrap();
    let kid = authority.jwt_signer().kid().to_owned();
    let first = own(&authority);
    assert_eq!(first.chain().len(), 3, "leaf, issuing certificate, and the one between");
    assert!(verifies(&first, &one.root()) && !verifies(&first, &two.root()));
    assert!(!authority.refresh(start_of_time()).unwrap(), "nothing changed");

    // Both roots are trusted; the old one signs.
    let trust = authority.trust();
    let before = trust.borrow().sequence;
    directory.write("cacerts/root-cert.pem", &[two.root(), one.root()].concat(), 0o644);
    assert!(authority.refresh(start_of_time()).unwrap());
    assert_eq!(roots(&authority), 2);
    assert!(trust.borrow().sequence > before, "announced");
    assert!(verifies(&own(&authority), &one.root()));

    // The new one signs.
    two.put(&directory);
    assert!(authority.refresh(start_of_time() + hours(1)).unwrap());
    assert!(verifies(&own(&authority), &two.root()));
    assert_eq!(roots(&authority), 2, "leaves of the old one are still good");

    directory.write("cacerts/root-cert.pem", &two.root(), 0o644);
    assert!(authority.refresh(start_of_time() + hours(2)).unwrap());
    assert_eq!(roots(&authority), 1);
    assert_eq!(authority.jwt_signer().kid(), kid, "the JWT key is another matter");
}

#[test]
fn files_that_do_not_fit_change_nothing() {
    let (directory, one, two) = (place(), Chain::new("one"), Chain::new("two"));
    one.put(&directory);
    directory.write("cacerts/root-cert.pem", &one.root(), 0o644);
    let authority = open(&directory).unwrap();
    let key = two.0[2].key.serialize_pem();
    for (name, text, mode, said) in [
        ("ca-key.pem", key.as_str(), 0o600, "does not belong to its certificate"),
        ("ca-key.pem", "x", 0o600, "ca-key.pem"),
        ("ca-key.pem", key.as_str(), 0o644, "chmod 600"),
        ("root-cert.pem", &two.root(), 0o644, "holds no root that signed"),
        ("root-cert.pem", "", 0o644, "holds no PEM certificate"),
        ("cert-chain.pem", &two.0[1].certificate.pem(), 0o644, "holds no root that signed"),
        ("ca-cert.pem", &two.0[2].certificate.pem(), 0o644, "does not belong to its certificate"),
    ] {
        directory.write(&format!("cacerts/{name}"), text, mode);
        let error = authority.refresh(start_of_time()).unwrap_err();
        let told = format!("{error}: {:?}", std::error::Error::source(&error));
        assert!(told.contains(said), "{name}: {told}");
        assert!(open(&directory).is_err(), "{name}");
        assert!(verifies(&own(&authority), &one.root()), "the old ones stay");
        assert_eq!(roots(&authority), 1);
        one.put(&directory);
        directory.write("cacerts/root-cert.pem", &one.root(), 0o644);
        assert!(!authority.refresh(start_of_time()).unwrap());
    }
    // A name of the same subject is not enough: the signature decides.
    let forged = Chain::new("one");
    directory.write("cacerts/root-cert.pem", &[forged.root(), one.root()].concat(), 0o644);
    assert!(authority.refresh(start_of_time()).unwrap());
    assert!(verifies(&own(&authority), &one.root()));
}
