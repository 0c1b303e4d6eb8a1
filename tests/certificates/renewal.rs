//! A workload's certificate from the first token to the last outage.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use hopgate::ca::Lifetime;
use hopgate::certs::{self, Renewal};
use hopgate::identity::{PrivateKey, WorkloadIdentity};
use hopgate::proto::istio::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use hopgate::proto::istio::{IstioCertificateRequest, IstioCertificateResponse};
use hopgate::runtime::Clock;

use super::parts::{
    Directory, ORDERS, Office, PAYMENTS, Plane, Sidecar, csr, hours, id, sidecar_config,
    start_of_time,
};

fn server(plane: &Plane) -> String {
    format!("https://localhost:{}", plane.port)
}

#[tokio::test]
async fn first_by_token_then_by_itself_then_by_schedule() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let token = plane.token(ORDERS, &clock);
    let config = sidecar_config(&directory, &server(&plane), Some(&token));
    let mut sidecar = Sidecar::start(&config, &clock);
    let mut serial = sidecar.other_than(None).await.unwrap();
    {
        let held = sidecar.identity.borrow();
        let held = held.as_ref().unwrap();
        assert_eq!(*held.svid.id(), id(ORDERS));
        assert_eq!(*held.bundles.own(), plane.bundle);
        assert_eq!(held.svid.chain().len(), 2, "no root in the chain");
    }
    let stored = directory.path("state/identity.pem");
    assert_eq!(fs::metadata(&stored).unwrap().permissions().mode() & 0o777, 0o600);

    // The token is used up: every one of these is proven by the certificate before it.
    for _ in 0..10 {
        sidecar.handle.renew_now();
        serial = sidecar.other_than(Some(&serial)).await.unwrap();
    }
    let status = sidecar.handle.status();
    assert_eq!((status.renewals, status.failures), (11, 0));
    assert_eq!(status.serial.as_deref(), Some(serial.as_str()));
    let due = status.next_renewal.unwrap().duration_since(clock.now()).unwrap();
    assert!((Duration::from_secs(1620)..=Duration::from_secs(1980)).contains(&due), "{due:?}");

    // Nothing happens before it is due; the wall clock decides.
    clock.advance(Duration::from_secs(1500));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(sidecar.serial().as_deref(), Some(serial.as_str()));
    clock.advance(Duration::from_secs(500));
    sidecar.other_than(Some(&serial)).await.unwrap();
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn a_restart_during_an_outage_serves_what_is_stored() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let (address, token) = (server(&plane), plane.token(ORDERS, &clock));
    let config = sidecar_config(&directory, &address, Some(&token));
    let mut sidecar = Sidecar::start(&config, &clock);
    let serial = sidecar.other_than(None).await.unwrap();
    sidecar.stop().await;
    let port = plane.port;
    plane.stop().await;

    let mut sidecar = Sidecar::start(&config, &clock);
    assert_eq!(sidecar.serial(), Some(serial.clone()), "at once, before anything runs");
    sidecar.handle.renew_now();
    sidecar.error("cannot be reached").await;
    assert_eq!(sidecar.serial(), Some(serial.clone()), "a good one is kept");

    // It is served to its last second, and not longer.
    clock.advance(hours(1));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(sidecar.serial(), Some(serial.clone()));
    clock.advance(Duration::from_secs(1));
    assert_eq!(sidecar.other_than(Some(&serial)).await, None);
    sidecar.stop().await;

    // An expired one is not served after a restart either.
    let mut sidecar = Sidecar::start(&config, &clock);
    assert_eq!(sidecar.serial(), None);
    sidecar.error("cannot be reached").await;
    // The control plane is back. The old token proves nothing any more, a new one does.
    let plane = Plane::start_at(&directory, &clock, &format!("127.0.0.1:{port}")).await;
    clock.advance(Duration::from_secs(60));
    sidecar.error("already used").await;
    directory.write("join.token", &plane.token(ORDERS, &clock), 0o600);
    clock.advance(Duration::from_secs(60));
    assert!(sidecar.other_than(None).await.is_some());
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn a_stored_identity_is_not_trusted_blindly() {
    let (directory, elsewhere) = (Directory::new(), Directory::new());
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let token = plane.token(ORDERS, &clock);
    let config = sidecar_config(&directory, &server(&plane), Some(&token));
    let mut sidecar = Sidecar::start(&config, &clock);
    sidecar.other_than(None).await.unwrap();
    sidecar.stop().await;
    let restored = || {
        let renewal = Renewal::new(&config, id(ORDERS), clock.clone()).unwrap();
        let held = renewal.identity().borrow().is_some();
        (held, renewal.handle().status().last_error.unwrap_or_default())
    };
    assert!(restored().0);
    let stored = directory.path("state/identity.pem");
    let good = fs::read_to_string(&stored).unwrap();

    for (content, words) in [
        (String::new(), "damaged"),
        (good.replace("hopgate identity v1", "hopgate identity v9"), "damaged"),
        (good[..good.len() - 40].to_owned(), "damaged"),
        (format!("{}{}", good.lines().next().unwrap(), "\n"), "PEM"),
    ] {
        directory.write("state/identity.pem", &content, 0o600);
        let (held, error) = restored();
        assert!(!held && error.contains(words), "{error}");
    }
    // Another key than the certificate's.
    let other_key = PrivateKey::generate().unwrap().to_pem();
    let swapped = good.replace(
        &good[good.find("-----BEGIN P").unwrap()..good.find("-----BEGIN C").unwrap()],
        &other_key,
    );
    directory.write("state/identity.pem", &swapped, 0o600);
    let (held, error) = restored();
    assert!(!held && error.contains("does not belong"), "{error}");
    // Readable by others.
    directory.write("state/identity.pem", &good, 0o644);
    let (held, error) = restored();
    assert!(!held && error.contains("chmod 600"), "{error}");
    // Good, but another workload's.
    directory.write("state/identity.pem", &good, 0o600);
    let other = Renewal::new(&config, id(PAYMENTS), clock.clone()).unwrap();
    assert!(other.identity().borrow().is_none());
    assert!(restored().0);
    // Good, but of a root that is not trusted any more.
    let foreign = Office::open(&elsewhere.path("ca"), clock.now());
    directory.write("roots.pem", &foreign.authority.bundle().to_pem(), 0o644);
    let (held, error) = restored();
    assert!(!held && error.contains("not trusted"), "{error}");
    plane.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_ours_learns_no_token() {
    let (directory, elsewhere) = (Directory::new(), Directory::new());
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let token = plane.token(ORDERS, &clock);
    // Its name is not in its certificate.
    let by_ip = format!("https://127.0.0.1:{}", plane.port);
    let sidecar = Sidecar::start(&sidecar_config(&directory, &by_ip, Some(&token)), &clock);
    sidecar.error("cannot be reached").await;
    sidecar.stop().await;
    // Its root is not trusted.
    let config = sidecar_config(&directory, &server(&plane), Some(&token));
    let good = fs::read_to_string(directory.path("roots.pem")).unwrap();
    let foreign = Office::open(&elsewhere.path("ca"), clock.now());
    directory.write("roots.pem", &foreign.authority.bundle().to_pem(), 0o644);
    let mut sidecar = Sidecar::start(&config, &clock);
    sidecar.error("cannot be reached").await;
    // The operator puts the right root there: it is taken without a restart, and the token is still good.
    directory.write("roots.pem", &good, 0o644);
    assert!(sidecar.other_than(None).await.is_some());
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn changed_roots_are_taken_and_broken_ones_are_not() {
    let (directory, elsewhere) = (Directory::new(), Directory::new());
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let token = plane.token(ORDERS, &clock);
    let config = sidecar_config(&directory, &server(&plane), Some(&token));
    let mut sidecar = Sidecar::start(&config, &clock);
    let serial = sidecar.other_than(None).await.unwrap();
    let good = fs::read_to_string(directory.path("roots.pem")).unwrap();
    directory.write("roots.pem", "", 0o644);
    sidecar.error("changed roots are refused").await;
    assert_eq!(sidecar.serial(), Some(serial.clone()));

    // A second root beside the first: published, with the same certificate.
    let second = Office::open(&elsewhere.path("ca"), clock.now());
    let second = second.authority.bundle().to_pem();
    directory.write("roots.pem", &format!("{good}{second}"), 0o644);
    let both = sidecar
        .identity
        .wait_for(|held| held.as_ref().is_some_and(|held| held.bundles.own().roots().len() == 2));
    drop(tokio::time::timeout(Duration::from_secs(5), both).await.unwrap().unwrap());
    assert_eq!(sidecar.serial(), Some(serial.clone()));

    // Only the second: what is held is foreign now, and not served.
    directory.write("roots.pem", &second, 0o644);
    assert_eq!(sidecar.other_than(Some(&serial)).await, None);
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn a_control_plane_with_a_new_root_is_joined_again_by_token() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let (address, port) = (server(&plane), plane.port);
    let config = sidecar_config(&directory, &address, Some(&plane.token(ORDERS, &clock)));
    let mut sidecar = Sidecar::start(&config, &clock);
    let serial = sidecar.other_than(None).await.unwrap();
    let old_root = plane.bundle.to_pem();
    plane.stop().await;
    fs::rename(directory.path("ca"), directory.path("lost")).unwrap();
    let plane = Plane::start_at(&directory, &clock, &format!("127.0.0.1:{port}")).await;
    // Both roots trusted: the old certificate stays good here, but the control plane does not take it.
    let token = plane.token(ORDERS, &clock);
    directory.write("join.token", &token, 0o600);
    directory.write("roots.pem", &format!("{old_root}{}", plane.bundle.to_pem()), 0o644);
    let both = sidecar
        .identity
        .wait_for(|held| held.as_ref().is_some_and(|held| held.bundles.own().roots().len() == 2));
    drop(tokio::time::timeout(Duration::from_secs(5), both).await.unwrap().unwrap());
    sidecar.handle.renew_now();
    let renewed = sidecar.other_than(Some(&serial)).await;
    assert!(renewed.is_some());
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn without_any_credential_nothing_is_asked() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::start(&sidecar_config(&directory, &server(&plane), None), &clock);
    sidecar.error("nothing to prove this workload with").await;
    sidecar.stop().await;
    // An exposed token file is not used.
    let config = sidecar_config(&directory, &server(&plane), Some(&plane.token(ORDERS, &clock)));
    fs::set_permissions(directory.path("join.token"), fs::Permissions::from_mode(0o644)).unwrap();
    let sidecar = Sidecar::start(&config, &clock);
    sidecar.error("chmod 600").await;
    sidecar.stop().await;
    // Roots that are not there are an error of the configuration.
    fs::remove_file(directory.path("roots.pem")).unwrap();
    assert!(Renewal::new(&config, id(ORDERS), clock.clone()).is_err());
    plane.stop().await;
}

/// A control plane with a good certificate and bad answers.
struct Liar(Box<dyn Fn(String) -> Vec<String> + Send + Sync>);

#[tonic::async_trait]
impl IstioCertificateService for Liar {
    async fn create_certificate(
        &self,
        request: tonic::Request<IstioCertificateRequest>,
    ) -> Result<tonic::Response<IstioCertificateResponse>, tonic::Status> {
        let cert_chain = (self.0)(request.into_inner().csr);
        Ok(tonic::Response::new(IstioCertificateResponse { cert_chain }))
    }
}

async fn lie(office: &Office, clock: &Clock, answer: Liar) -> (u16, tokio::task::JoinHandle<()>) {
    let own = office
        .authority
        .own_certificate(&["localhost".to_owned()], Lifetime::DEFAULT, clock.now())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config =
        rustls::ServerConfig::builder_with_details(provider, certs::time_provider(clock))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(own.chain().to_vec(), own.key().to_rustls())
            .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, accepted) = tokio::sync::mpsc::channel(4);
    let task = tokio::spawn(async move {
        let accept = async {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                if let Ok(tls) = acceptor.accept(tcp).await {
                    sender.send(Ok::<_, std::io::Error>(tls)).await.unwrap();
                }
            }
        };
        let incoming = tokio_stream::wrappers::ReceiverStream::new(accepted);
        let serve = tonic::transport::Server::builder()
            .add_service(IstioCertificateServiceServer::new(answer))
            .serve_with_incoming(incoming);
        tokio::select! { () = accept => {}, _ = serve => {} }
    });
    (port, task)
}

#[tokio::test]
async fn answers_are_verified_not_believed() {
    let (directory, elsewhere) = (Directory::new(), Directory::new());
    let clock = Clock::manual(start_of_time());
    let ours = Arc::new(Office::open(&directory.path("ca"), clock.now()));
    let foreign = Arc::new(Office::open(&elsewhere.path("ca"), clock.now()));
    directory.write("roots.pem", &ours.authority.bundle().to_pem(), 0o644);
    let now = clock.now();
    let sign = move |office: &Office, workload: &str, csr: &str, lifetime: Duration| {
        let token = office.tokens.create(&id(workload), hours(1), now).unwrap();
        let shown = hopgate::ca::Credentials {
            token: Some(hopgate::ca::Token::Join(token.expose())),
            certificates: None,
        };
        let attested = office.attestor.attest(&shown, now).unwrap();
        // Whatever the request asks for, so that only the client can notice.
        let request = hopgate::ca::SigningRequest::parse(csr).unwrap();
        let lifetime = Lifetime::new(lifetime).unwrap();
        let signed = office.authority.sign(attested, &request, lifetime, now).unwrap();
        signed.release(&office.tokens).unwrap().chain_pem()
    };
    let (theirs, other) = (Arc::clone(&foreign), Arc::clone(&foreign));
    let (one, two) = (Arc::clone(&ours), Arc::clone(&ours));
    let liars: Vec<(&str, Liar)> = vec![
        (
            "is no certificate chain",
            Liar(Box::new(|_| vec!["-----BEGIN CERTIFICATE-----\n!".to_owned()])),
        ),
        ("holds no certificate", Liar(Box::new(|_| Vec::new()))),
        ("foreign root", Liar(Box::new(move |csr| sign(&theirs, ORDERS, &csr, hours(1))))),
        (
            "not trusted",
            Liar(Box::new(move |csr| sign(&other, ORDERS, &csr, hours(1))[..2].to_vec())),
        ),
        (
            "does not belong to the private key",
            Liar(Box::new(move |_| {
                let csr = csr(&PrivateKey::generate().unwrap(), |_| {});
                sign(&one, ORDERS, &csr, hours(1))
            })),
        ),
        (
            "is for spiffe://demo.mesh/ns/shop/sa/payments",
            Liar(Box::new(move |asked| {
                // The request's key, under another name.
                let key = x509_key(&asked);
                sign_raw(&two, &key)
            })),
        ),
    ];
    for (words, liar) in liars {
        let (port, task) = lie(&ours, &clock, liar).await;
        let address = format!("https://localhost:{port}");
        let mut config = sidecar_config(&directory, &address, Some("any"));
        config.state_directory = None;
        let sidecar = Sidecar::start(&config, &clock);
        sidecar.error(words).await;
        assert_eq!(sidecar.serial(), None);
        sidecar.stop().await;
        task.abort();
    }
}

fn x509_key(csr: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    use x509_parser::prelude::FromDer as _;
    let der = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(csr.as_bytes());
    let der = der.unwrap();
    let (_, request) =
        x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
    request.certification_request_info.subject_pki.raw.to_vec()
}

/// Signs the key for payments with the authority's own files, past all of its checks.
fn sign_raw(office: &Office, key: &[u8]) -> Vec<String> {
    let generations = office.directory.join("generations");
    let read = |name: &str| fs::read_to_string(generations.join(name)).unwrap();
    let pair = rcgen::KeyPair::from_pem(&read("1.issuing-1.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("1.issuing-1.pem"), pair).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![super::parts::uri(id(PAYMENTS).as_str())];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let key = rcgen::SubjectPublicKeyInfo::from_der(key).unwrap();
    vec![params.signed_by(&key, &issuer).unwrap().pem(), read("1.issuing-1.pem")]
}

fn put(directory: &Directory, identity: &WorkloadIdentity) {
    directory.write("key.pem", &identity.svid.key().to_pem(), 0o600);
    directory.write("chain.pem", &identity.svid.chain_pem(), 0o644);
}

#[tokio::test]
async fn files_are_watched_and_a_broken_pair_is_refused() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let office = Office::open(&directory.path("ca"), clock.now());
    directory.write("bundle.pem", &office.authority.bundle().to_pem(), 0o644);
    put(&directory, &office.identity(ORDERS, clock.now()));
    let mut config: certs::Config = serde_saphyr::from_str(
        "files: { certificate: chain.pem, key: key.pem, bundle: bundle.pem }",
    )
    .unwrap();
    config.resolve(&directory.path(""));
    let mut sidecar = Sidecar::start(&config, &clock);
    let first = sidecar.serial().expect("at once");

    let second = office.identity(ORDERS, clock.now());
    directory.write("chain.pem", &second.svid.chain_pem(), 0o644);
    sidecar.error("does not belong to the private key").await;
    assert_eq!(sidecar.serial(), Some(first.clone()), "the old pair is kept");
    directory.write("key.pem", &second.svid.key().to_pem(), 0o600);
    let second = sidecar.other_than(Some(&first)).await;
    assert!(second.is_some());

    put(&directory, &office.identity(PAYMENTS, clock.now()));
    sidecar.error("not spiffe://demo.mesh/ns/shop/sa/orders").await;
    assert_eq!(sidecar.serial(), second);

    clock.advance(hours(1) + Duration::from_secs(1));
    assert_eq!(sidecar.other_than(second.as_deref()).await, None, "an expired one is not served");
    put(&directory, &office.identity(ORDERS, clock.now()));
    assert!(sidecar.other_than(None).await.is_some());
    sidecar.stop().await;
}
