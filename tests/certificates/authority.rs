//! The authority's directory, and what stands in its certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hopgate::ca::{Authority, AuthorityError, StoreError, SuppliedFiles, Upkeep};
use hopgate::identity::{Leaf, TrustDomain, X509Svid};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::parts::{Directory, ORDERS, Office, days, domain, hours, id, start_of_time};

/// The files of the first generation, in `generations/`.
const FILES: [&str; 5] =
    ["1.root.pem", "1.root.key", "1.issuing-1.pem", "1.issuing-1.key", "1.jwt.key"];

fn files(path: &Path) -> [std::path::PathBuf; 6] {
    let mut all = FILES.map(|name| path.join("generations").join(name)).to_vec();
    all.push(path.join("state.json"));
    all.try_into().unwrap()
}

fn refusal(directory: &Path) -> AuthorityError {
    match Authority::open(directory, &domain(), start_of_time()) {
        Ok(_) => panic!("the authority opened"),
        Err(error) => error,
    }
}

fn made(directory: &Directory) -> std::path::PathBuf {
    let path = directory.path("ca");
    drop(Authority::open(&path, &domain(), start_of_time()).unwrap());
    path
}

#[test]
fn the_first_start_makes_an_authority_and_a_restart_keeps_it() {
    let directory = Directory::new();
    let path = directory.path("deep/er/ca");
    let first = Authority::open(&path, &domain(), start_of_time()).unwrap();
    let (root, kid) = (first.bundle(), first.jwt_signer().kid().to_owned());
    assert_eq!(root.to_pem(), fs::read_to_string(path.join("root.pem")).unwrap());
    assert!(first.jwt_bundle().key(&kid).is_some());
    assert_eq!(first.trust().borrow().sequence, 1);
    drop(first);
    let before = files(&path).map(|path| fs::read(path).unwrap());
    let second = Authority::open(&path, &domain(), start_of_time()).unwrap();
    assert_eq!((second.bundle(), second.jwt_signer().kid()), (root, kid.as_str()));
    assert_eq!(second.trust().borrow().sequence, 1);
    assert_eq!(files(&path).map(|path| fs::read(path).unwrap()), before);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("generations"))), (0o700, 0o700));
    for file in files(&path) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let directory = Directory::new();
    let path = directory.path("ca");
    let first = Authority::open(&path, &domain(), start_of_time()).unwrap();
    assert!(matches!(refusal(&path), AuthorityError::Store(StoreError::InUse(_))));
    drop(first);
    assert!(Authority::open(&path, &domain(), start_of_time()).is_ok());
}

#[test]
fn two_meshes_have_different_roots() {
    let directory = Directory::new();
    let (one, two) = (directory.path("one"), directory.path("two"));
    let one = Authority::open(&one, &domain(), start_of_time()).unwrap();
    let two = Authority::open(&two, &domain(), start_of_time()).unwrap();
    let subject = |authority: &Authority| {
        let root = authority.bundle().roots()[0].clone();
        let (_, parsed) = X509Certificate::from_der(&root).unwrap();
        parsed.subject().to_string()
    };
    assert_ne!(subject(&one), subject(&two));
}

#[test]
fn a_partial_store_is_refused_and_left_alone() {
    for index in 0..6 {
        let directory = Directory::new();
        let path = made(&directory);
        let missing = files(&path)[index].clone();
        fs::remove_file(&missing).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, AuthorityError::Store(StoreError::Partial { .. })), "{error}");
        let name = missing.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.to_string().contains("restore it from a backup"), "{error}");
        assert!(!missing.exists());
    }
}

#[test]
fn a_damaged_store_is_refused() {
    for index in 0..6 {
        let directory = Directory::new();
        let path = made(&directory);
        let file = files(&path)[index].clone();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let whole = fs::read_to_string(&file).unwrap();
        let half = &whole[..whole.len() / 2];
        let other_byte = whole.replacen('a', "b", 1);
        for content in ["", "garbage", half, &format!("{whole}{whole}"), &other_byte] {
            fs::write(&file, content).unwrap();
            let error = refusal(&path);
            assert!(matches!(error, AuthorityError::Damaged { .. }), "{name}: {error}");
            assert!(error.to_string().contains(&name), "{name}: {error}");
        }
        fs::write(&file, &whole).unwrap();
        assert!(Authority::open(&path, &domain(), start_of_time()).is_ok(), "{name}");
    }
}

#[test]
fn files_of_another_authority_are_refused() {
    for index in 0..5 {
        let (directory, other) = (Directory::new(), Directory::new());
        let (path, other) = (made(&directory), made(&other));
        fs::copy(&files(&other)[index], &files(&path)[index]).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, AuthorityError::Damaged { .. }), "{error}");
    }
    // The state of another authority names none of these files.
    let (directory, other) = (Directory::new(), Directory::new());
    let (path, other) = (made(&directory), made(&other));
    fs::copy(other.join("state.json"), path.join("state.json")).unwrap();
    assert!(matches!(refusal(&path), AuthorityError::Damaged { .. }));
}

/// Moves a new directory back to the layout before there were generations.
fn as_of_old(path: &Path) {
    let generations = path.join("generations");
    for (new, old) in [
        ("1.root.key", "root.key"),
        ("1.issuing-1.pem", "issuing.pem"),
        ("1.issuing-1.key", "issuing.key"),
    ] {
        fs::rename(generations.join(new), path.join(old)).unwrap();
    }
    fs::remove_dir_all(generations).unwrap();
    fs::remove_file(path.join("state.json")).unwrap();
}

const OLD_FILES: [&str; 4] = ["root.pem", "root.key", "issuing.pem", "issuing.key"];

#[test]
fn an_authority_of_the_old_layout_is_taken_over_with_its_root() {
    let directory = Directory::new();
    let path = directory.path("ca");
    let office = Office::open(&path, start_of_time());
    let (root, leaf) = (office.authority.bundle(), office.issue(ORDERS, hours(1), start_of_time()));
    drop(office);
    as_of_old(&path);
    let office = Office::open(&path, start_of_time());
    assert_eq!(office.authority.bundle(), root);
    let again = office.issue(ORDERS, hours(1), start_of_time());
    assert_eq!(again.chain()[1], leaf.chain()[1], "the issuing key stays, too");
    assert_eq!(office.authority.state().generations.len(), 1);
    for name in ["root.key", "issuing.pem", "issuing.key"] {
        assert!(!path.join(name).exists(), "{name} was taken over");
    }
}

#[test]
fn a_partial_or_mixed_authority_of_the_old_layout_is_refused() {
    for missing in OLD_FILES {
        let directory = Directory::new();
        let path = made(&directory);
        as_of_old(&path);
        fs::remove_file(path.join(missing)).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, AuthorityError::Store(StoreError::Partial { .. })), "{error}");
        assert!(error.to_string().contains(missing), "{error}");
    }
    for damaged in OLD_FILES {
        let directory = Directory::new();
        let path = made(&directory);
        as_of_old(&path);
        fs::write(path.join(damaged), "garbage").unwrap();
        assert!(!matches!(refusal(&path), AuthorityError::Store(_)), "{damaged}");
        assert!(!path.join("state.json").exists(), "nothing is in force");
    }
    // An issuing pair of another authority fits itself, but not the root.
    let (directory, other) = (Directory::new(), Directory::new());
    let (path, other) = (made(&directory), made(&other));
    as_of_old(&path);
    as_of_old(&other);
    for name in ["issuing.pem", "issuing.key"] {
        fs::copy(other.join(name), path.join(name)).unwrap();
    }
    assert!(matches!(refusal(&path), AuthorityError::Unverifiable(_)));
    assert!(path.join("root.key").exists() && !path.join("state.json").exists());

    // A backup of the old layout that is put beside an authority of now: which is meant?
    let directory = Directory::new();
    let path = made(&directory);
    fs::copy(other.join("root.key"), path.join("root.key")).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, AuthorityError::Store(StoreError::Two { .. })), "{error}");
    assert!(error.to_string().contains("root.key") && path.join("root.key").exists());
}

#[test]
fn exposed_files_are_refused() {
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in ["1.root.key", "1.issuing-1.key", "1.jwt.key"] {
        let directory = Directory::new();
        let path = made(&directory);
        chmod(&path.join("generations").join(name), 0o640);
        assert!(refusal(&path).to_string().contains("chmod 600"));
    }
    let directory = Directory::new();
    let path = made(&directory);
    chmod(&path, 0o770);
    assert!(matches!(refusal(&path), AuthorityError::Store(StoreError::Exposed { .. })));
}

#[test]
fn a_lost_authority_is_not_replaced_in_silence() {
    let directory = Directory::new();
    let path = directory.path("ca");
    drop(Office::open(&path, start_of_time()).issue(ORDERS, hours(1), start_of_time()));
    fs::remove_dir_all(path.join("generations")).unwrap();
    fs::remove_file(path.join("state.json")).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, AuthorityError::Store(StoreError::Partial { .. })), "{error}");
    fs::remove_file(path.join("root.pem")).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, AuthorityError::Store(StoreError::Lost { .. })), "{error}");

    let strange = directory.path("strange");
    fs::create_dir(&strange).unwrap();
    fs::set_permissions(&strange, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(strange.join("root.pem.bak"), "x").unwrap();
    assert!(refusal(&strange).to_string().contains("root.pem.bak"));
}

#[test]
fn a_token_made_before_the_first_start_does_not_hinder_it() {
    let directory = Directory::new();
    let path = directory.path("ca");
    let tokens = hopgate::ca::TokenStore::open(&path).unwrap();
    tokens.create(&id(ORDERS), Duration::from_secs(60), start_of_time()).unwrap();
    assert!(Authority::open(&path, &domain(), start_of_time()).is_ok());
}

#[test]
fn a_crash_of_the_version_before_while_minting_is_recognised() {
    // Before the one step that counts: nothing was in force, the start begins anew.
    let directory = Directory::new();
    let path = directory.path("ca");
    fs::create_dir_all(path.join("minting")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(path.join("minting/root.pem"), "half").unwrap();
    drop(Authority::open(&path, &domain(), start_of_time()).unwrap());
    assert!(!path.join("minting").exists());

    // After it, with any number of files moved: the start completes it, and takes over what it completed.
    for moved in 0..=4 {
        let directory = Directory::new();
        let path = made(&directory);
        as_of_old(&path);
        let root = fs::read(path.join("root.pem")).unwrap();
        fs::create_dir(path.join("minted")).unwrap();
        for name in &OLD_FILES[moved..] {
            fs::rename(path.join(name), path.join("minted").join(name)).unwrap();
        }
        let authority = Authority::open(&path, &domain(), start_of_time()).unwrap();
        assert_eq!(authority.bundle().roots()[0].as_ref(), der(&root));
        assert!(!path.join("minted").exists());
    }
}

fn der(pem: &[u8]) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap().to_vec()
}

#[test]
fn an_authority_belongs_to_one_trust_domain() {
    let directory = Directory::new();
    let path = made(&directory);
    let other = TrustDomain::parse("other.mesh").unwrap();
    let Err(error) = Authority::open(&path, &other, start_of_time()) else { panic!("opened") };
    assert!(matches!(error, AuthorityError::OtherDomain { .. }), "{error}");
}

#[test]
fn the_issuing_certificate_is_replaced_and_the_root_is_not() {
    let directory = Directory::new();
    let path = directory.path("ca");
    let office = Office::open(&path, start_of_time());
    let issuing = path.join("generations/1.issuing-1.pem");
    assert!(issuing.exists());
    assert_eq!(office.authority.upkeep(start_of_time() + days(200)).unwrap(), Upkeep::NothingDue);
    let later = start_of_time() + days(300);
    let old_leaf = office.issue(ORDERS, hours(24), later);
    assert_eq!(office.authority.upkeep(later).unwrap(), Upkeep::Replaced);
    assert!(!issuing.exists() && path.join("generations/1.issuing-2.pem").exists());
    assert_eq!(office.authority.trust().borrow().sequence, 1, "the bundle is as before");
    let new_leaf = office.issue(ORDERS, hours(24), later);
    assert_ne!(old_leaf.chain()[1], new_leaf.chain()[1]);
    let key = hopgate::identity::PrivateKey::from_pem(&old_leaf.key().to_pem()).unwrap();
    let bundle = office.authority.bundle();
    assert!(X509Svid::new(old_leaf.chain().to_vec(), key, &bundle, later + hours(2)).is_ok());
    drop(office);

    // It also expired while the process was down.
    let much_later = start_of_time() + days(1200);
    let authority = Authority::open(&path, &domain(), much_later).unwrap();
    assert!(authority.own_certificate(&[], hopgate::ca::Lifetime::DEFAULT, much_later).is_ok());
    drop(authority);

    // A root is never replaced.
    let end = start_of_time() + days(3651);
    let Err(error) = Authority::open(&path, &domain(), end) else { panic!("opened") };
    assert!(error.to_string().contains("root is expired"), "{error}");
    let early = start_of_time() - days(1);
    assert!(Authority::open(&path, &domain(), early).is_err(), "a clock before the root's");
}

#[test]
fn an_operator_may_keep_the_root_key_offline() {
    let directory = Directory::new();
    let path = made(&directory);
    as_of_old(&path);
    fs::rename(path.join("root.key"), directory.path("offline.key")).unwrap();
    let state = directory.path("state");
    let mut files = SuppliedFiles {
        root: path.join("root.pem"),
        certificate: path.join("issuing.pem"),
        key: path.join("issuing.key"),
        chain: None,
    };
    let now = start_of_time();
    let authority = Authority::supplied(&files, &state, &domain(), now).unwrap();
    assert_eq!(authority.upkeep(now + days(300)).unwrap(), Upkeep::OperatorMustReplace);
    assert!(matches!(authority.prepare(None, now), Err(AuthorityError::Supplied)));
    let again = Authority::supplied(&files, &state, &domain(), now).unwrap();
    assert_eq!(authority.jwt_signer().kid(), again.jwt_signer().kid());
    let other = Directory::new();
    files.root = made(&other).join("root.pem");
    let Err(error) = Authority::supplied(&files, &state, &domain(), now) else { panic!("opened") };
    assert!(error.to_string().contains("holds no root that signed"), "{error}");
    files.root = path.join("issuing.key");
    assert!(Authority::supplied(&files, &state, &domain(), now).is_err());
}

#[test]
fn a_leaf_has_the_profile_and_nothing_else() {
    let directory = Directory::new();
    let now = start_of_time() + days(1);
    let office = Office::open(&directory.path("ca"), start_of_time());
    let svid = office.issue(ORDERS, hours(1), now);
    let (rest, leaf) = X509Certificate::from_der(&svid.chain()[0]).unwrap();
    assert!(rest.is_empty());
    let basic = leaf.basic_constraints().unwrap().expect("explicit");
    assert!(!basic.value.ca && basic.value.path_len_constraint.is_none() && basic.critical);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(usage.value.flags, 1, "digitalSignature alone");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth);
    assert!(!extended.any && !extended.code_signing && extended.other.is_empty());
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical, "the subject is empty");
    assert!(matches!(
        names.value.general_names.as_slice(),
        [GeneralName::URI("spiffe://demo.mesh/ns/shop/sa/orders")]
    ));
    assert_eq!(leaf.subject().iter().count(), 0);
    assert!(matches!(leaf.raw_serial().len(), 16 | 17));
    let parsed = Leaf::parse(&svid.chain()[0]).unwrap();
    assert_eq!(parsed.not_before(), now - Duration::from_secs(120));
    assert_eq!(parsed.not_after(), now + hours(1));
    let again = office.issue(ORDERS, hours(1), now);
    assert_ne!(again.leaf().serial(), parsed.serial());
}

#[test]
fn the_authorities_have_their_profile() {
    let directory = Directory::new();
    let office = Office::open(&directory.path("ca"), start_of_time());
    let svid = office.issue(ORDERS, hours(1), start_of_time());
    let bundle = office.authority.bundle();
    let root = &bundle.roots()[0];
    for (certificate, path_length) in [(root, 1), (&svid.chain()[1], 0)] {
        let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
        let basic = parsed.basic_constraints().unwrap().unwrap();
        assert!(basic.critical && basic.value.ca);
        assert_eq!(basic.value.path_len_constraint, Some(path_length));
        let usage = parsed.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
        assert!(!usage.value.digital_signature());
        assert!(Leaf::parse(certificate).is_err(), "an authority is no workload");
    }
}

#[test]
fn openssl_agrees() {
    let directory = Directory::new();
    let clock = hopgate::runtime::Clock::system();
    let path = directory.path("ca");
    let office = Office::open(&path, clock.now());
    let svid = office.issue(ORDERS, hours(1), clock.now());
    let leaf = directory.write("leaf.pem", &svid.chain_pem(), 0o644);
    let verify = |purpose: &str, root: &Path| {
        Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
            .arg(root)
            .arg("-untrusted")
            .arg(path.join("generations/1.issuing-1.pem"))
            .arg(&leaf)
            .output()
    };
    let Ok(output) = verify("sslserver", &path.join("root.pem")) else {
        println!("no openssl on this machine");
        return;
    };
    assert!(output.status.success(), "{output:?}");
    assert!(verify("sslclient", &path.join("root.pem")).unwrap().status.success());
    let other = Directory::new();
    let foreign = directory.path("foreign");
    fs::copy(made(&other).join("root.pem"), &foreign).unwrap();
    assert!(!verify("sslserver", &foreign).unwrap().status.success());
}
