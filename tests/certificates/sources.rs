//! Where a certificate may come from beside our own control plane: an authority that speaks as istiod does, and files
//! as cert-manager's drivers lay them out.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hopgate::certs;
use hopgate::identity::WorkloadIdentity;
use hopgate::runtime::Clock;

use super::impostor::{Asked, Impostor};
use super::parts::{
    Directory, ORDERS, Office, PAYMENTS, Sidecar, hours, id, start_of_time, this_second,
};
use crate::support::pki;

/// An authority as Istio's: RSA root, an intermediate, tokens of service accounts, and its way to write a chain.
struct Istiod {
    root: pki::Ca,
    /// A root that comes with the answers and is not in the config map yet.
    next: pki::Ca,
    intermediate: pki::Ca,
    /// The one token that is good now.
    token: Mutex<String>,
    shape: Mutex<Shape>,
    clock: Clock,
}

#[derive(Clone, Copy)]
enum Shape {
    /// Leaf, then intermediate, then root.
    RootLast,
    /// No root at all, as an authority with an external issuer answers.
    NoRoot,
    /// Several PEM blocks in one text: leaf and intermediate; the root and the one to come.
    Joined,
    /// Text around the blocks, and the intermediate twice.
    Untidy,
}

impl Istiod {
    fn new(clock: &Clock) -> Self {
        let rsa = |name: &str| {
            let key =
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
            pki::ca_with(key.unwrap(), |params| {
                params.distinguished_name.push(rcgen::DnType::OrganizationName, name);
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(1));
            })
        };
        let root = rsa("demo.mesh");
        Self {
            intermediate: root.intermediate(),
            root,
            next: rsa("demo.mesh next"),
            token: Mutex::new("first.token".to_owned()),
            shape: Mutex::new(Shape::RootLast),
            clock: clock.clone(),
        }
    }

    fn answer(&self, asked: &Asked) -> Result<Vec<String>, tonic::Status> {
        let expected = format!("Bearer {}", self.token.lock().unwrap());
        if asked.authorization != [expected] || asked.certificate {
            return Err(tonic::Status::unauthenticated("request authenticate failure"));
        }
        let leaf = self.intermediate.certify(&asked.key, |params| {
            params.subject_alt_names = vec![pki::uri(id(ORDERS).as_str())];
            params.key_usages.push(rcgen::KeyUsagePurpose::KeyEncipherment);
            params.not_before = (self.clock.now() - Duration::from_secs(120)).into();
            params.not_after = (self.clock.now() + hours(1)).into();
        });
        let [leaf, intermediate, root, next] =
            [leaf, self.intermediate.root(), self.root.root(), self.next.root()]
                .map(|c| pki::pem(&c));
        Ok(match *self.shape.lock().unwrap() {
            Shape::RootLast => vec![leaf, intermediate, root],
            Shape::NoRoot => vec![leaf, intermediate],
            Shape::Joined => vec![leaf + intermediate.as_str(), root + next.as_str()],
            Shape::Untidy => vec![
                format!("leaf\n{leaf}\n"),
                format!("\n{intermediate}\nagain\n{intermediate}"),
                root,
                String::new(),
            ],
        })
    }
}

async fn serve(istiod: &Arc<Istiod>) -> Impostor {
    let answers = {
        let istiod = Arc::clone(istiod);
        move |asked: Asked| std::future::ready(istiod.answer(&asked))
    };
    Impostor::start(&istiod.root, &istiod.clock, answers).await
}

fn config(directory: &Directory, server: &str) -> certs::Config {
    let mut config: certs::Config = serde_saphyr::from_str(&format!(
        "control: {{ server: \"{server}\", caFile: istio/root-cert.pem, serviceAccountTokenFile: tokens/istio-token }}\n\
         stateDirectory: state\n"
    ))
    .unwrap();
    config.resolve(&directory.path(""));
    config
}

/// A volume as the kubelet mounts it: files are links through `..data` to a directory of this generation.
fn mount(place: &Path, generation: u32, files: &[(&str, &str)], mode: u32) {
    let name = format!("..2026_11_27_{generation}");
    fs::create_dir_all(place.join(&name)).unwrap();
    for (file, content) in files {
        let path = place.join(&name).join(file);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if !place.join(file).is_symlink() {
            symlink(Path::new("..data").join(file), place.join(file)).unwrap();
        }
    }
    symlink(&name, place.join("..data_tmp")).unwrap();
    fs::rename(place.join("..data_tmp"), place.join("..data")).unwrap();
    for old in fs::read_dir(place).unwrap() {
        let old = old.unwrap();
        let is_old =
            old.file_name().to_string_lossy().starts_with("..2026") && old.file_name() != *name;
        if is_old {
            fs::remove_dir_all(old.path()).unwrap();
        }
    }
}

#[tokio::test]
async fn an_istiod_gives_certificates_for_the_token_of_a_service_account() {
    let directory = Directory::new();
    let clock = Clock::manual(this_second());
    let istiod = Arc::new(Istiod::new(&clock));
    let server = serve(&istiod).await;
    let root = pki::pem(&istiod.root.root());
    mount(&directory.path("istio"), 1, &[("root-cert.pem", &root)], 0o644);
    mount(&directory.path("tokens"), 1, &[("istio-token", "first.token")], 0o644);
    let mut sidecar = Sidecar::start(&config(&directory, &server.server()), &clock);
    let mut serial = sidecar.other_than(None).await.unwrap();
    {
        let held = sidecar.identity.borrow();
        let held = held.as_ref().unwrap();
        assert_eq!(held.svid.chain().len(), 2, "leaf and intermediate, no root");
        assert_eq!(held.bundles.own().roots().len(), 1);
    }

    // Each certificate is asked for with the token as it stands then; the old one is good no more.
    *istiod.token.lock().unwrap() = "second.token".to_owned();
    sidecar.refuses("request authenticate failure").await;
    assert_eq!(sidecar.serial().as_ref(), Some(&serial), "kept");
    mount(&directory.path("tokens"), 2, &[("istio-token", "second.token\n")], 0o440);
    for shape in [Shape::NoRoot, Shape::Joined, Shape::Untidy, Shape::RootLast] {
        *istiod.shape.lock().unwrap() = shape;
        sidecar.handle.renew_now();
        serial = sidecar.other_than(Some(&serial)).await.unwrap();
    }
    let roots = || sidecar.identity.borrow().as_ref().unwrap().bundles.own().roots().len();
    assert_eq!(roots(), 1, "a root in an answer is not trusted for that");

    // Two lifetimes without the authority: nothing is served, and nobody has to do anything when it is back.
    let port = server.port;
    *istiod.token.lock().unwrap() = "third.token".to_owned();
    for _ in 0..3 {
        clock.advance(hours(1));
        sidecar.looked(&clock).await;
    }
    sidecar.error("no new certificate").await;
    assert_eq!(sidecar.serial(), None);
    mount(&directory.path("tokens"), 3, &[("istio-token", "third.token")], 0o644);
    clock.advance(Duration::from_secs(60));
    assert!(sidecar.other_than(None).await.is_some());
    assert_eq!(server.port, port);

    // The root changes: the config map brings both, then the new one alone.
    let next = pki::pem(&istiod.next.root());
    mount(&directory.path("istio"), 2, &[("root-cert.pem", &format!("{root}{next}"))], 0o644);
    let both = sidecar
        .identity
        .wait_for(|held| held.as_ref().is_some_and(|held| held.bundles.own().roots().len() == 2));
    drop(tokio::time::timeout(Duration::from_secs(40), both).await.unwrap().unwrap());
    mount(&directory.path("istio"), 3, &[("root-cert.pem", &next)], 0o644);
    let held = sidecar.serial();
    assert_eq!(
        sidecar.other_than(held.as_deref()).await,
        None,
        "what the old root vouched for is foreign"
    );
    sidecar.stop().await;
}

#[tokio::test]
async fn what_an_istiod_refuses_or_a_mount_lacks_is_said() {
    let directory = Directory::new();
    let clock = Clock::manual(this_second());
    let istiod = Arc::new(Istiod::new(&clock));
    let server = serve(&istiod).await;
    let root = pki::pem(&istiod.root.root());
    mount(&directory.path("istio"), 1, &[("root-cert.pem", &root)], 0o644);
    fs::create_dir(directory.path("tokens")).unwrap();
    let mut sidecar = Sidecar::start(&config(&directory, &server.server()), &clock);
    sidecar.error("tokens/istio-token").await;
    assert_eq!(server.asked(), 0, "nothing is asked without a token");
    for (token, words) in [
        ("", "not readable text"),
        ("two\nlines", "not readable text"),
        (&"x".repeat(13 * 1024), "larger than"),
        ("another.token", "request authenticate failure"),
    ] {
        fs::write(directory.path("tokens/istio-token"), token).unwrap();
        sidecar.refuses(words).await;
    }
    fs::write(directory.path("tokens/istio-token"), "first.token").unwrap();
    sidecar.handle.renew_now();
    assert!(sidecar.other_than(None).await.is_some());
    sidecar.stop().await;
}

fn files(identity: &WorkloadIdentity) -> Vec<(&'static str, String)> {
    vec![
        // The driver writes the root after the chain.
        ("tls.crt", identity.svid.chain_pem() + identity.bundles.own().to_pem().as_str()),
        ("tls.key", identity.svid.key().to_pem().to_string()),
        ("ca.crt", identity.bundles.own().to_pem()),
    ]
}

fn remount(directory: &Directory, generation: u32, identity: &WorkloadIdentity, mode: u32) {
    let files = files(identity);
    let files: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    mount(&directory.path("spiffe"), generation, &files, mode);
}

#[tokio::test]
async fn a_mounted_volume_is_followed_through_its_swaps() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let office = Office::open(&directory.path("ca"), clock.now());
    remount(&directory, 1, &office.identity(ORDERS, clock.now()), 0o400);
    let config = |readers: &str| {
        let text = format!("files: {{ directory: spiffe{readers} }}");
        let mut config: certs::Config = serde_saphyr::from_str(&text).unwrap();
        config.resolve(&directory.path(""));
        config
    };
    let mut sidecar = Sidecar::start(&config(""), &clock);
    let mut serial = sidecar.serial().expect("at once");
    for generation in 2..6 {
        remount(&directory, generation, &office.identity(ORDERS, clock.now()), 0o400);
        serial = sidecar.other_than(Some(&serial)).await.unwrap();
    }
    let status = sidecar.handle.status();
    assert_eq!((status.failures, status.last_error), (0, None), "never a mixed pair");

    // Another workload's volume, and one that is half there: what is served stays.
    remount(&directory, 7, &office.identity(PAYMENTS, clock.now()), 0o400);
    sidecar.error("not spiffe://demo.mesh/ns/shop/sa/orders").await;
    let identity = office.identity(ORDERS, clock.now());
    mount(&directory.path("spiffe"), 8, &[("tls.crt", &identity.svid.chain_pem())], 0o400);
    sidecar.error("cannot read").await;
    assert_eq!(sidecar.serial().as_ref(), Some(&serial));

    // A key that others can read is not used, unless the group may.
    remount(&directory, 9, &identity, 0o440);
    sidecar.error("chmod 600").await;
    assert_eq!(sidecar.serial().as_ref(), Some(&serial));
    let of_the_group = Sidecar::start(&config(", keyReaders: Group"), &clock);
    assert_eq!(of_the_group.serial().as_deref(), Some(identity.svid.leaf().serial()));
    of_the_group.stop().await;
    remount(&directory, 10, &identity, 0o444);
    let of_everybody = Sidecar::start(&config(", keyReaders: Group"), &clock);
    assert_eq!(of_everybody.serial(), None);
    of_everybody.stop().await;
    sidecar.stop().await;
}
