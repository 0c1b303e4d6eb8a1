use std::fs;

use super::*;

/// A kubeconfig whose cluster and user are given.
async fn connect(name: &str, cluster: &str, user: &str) -> Result<Cluster, ClusterError> {
    let directory =
        std::env::temp_dir().join(format!("hopgate-kubeconfig-{}-{name}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    fs::write(directory.join("ca.crt"), &certificate).unwrap();
    fs::write(directory.join("user.crt"), &certificate).unwrap();
    fs::write(directory.join("user.key"), key.serialize_pem()).unwrap();
    fs::write(directory.join("empty"), "").unwrap();
    let path = directory.join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{{cluster}}}}}]\n\
         users: [{{name: c, user: {{{user}}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n"
    );
    fs::write(&path, text).unwrap();
    let mut config = Config { kubeconfig: Some("config".into()) };
    config.resolve(&directory);
    let cluster = Cluster::connect(&config, &Clock::system()).await;
    fs::remove_dir_all(directory).unwrap();
    cluster
}

const GOOD: &str = "server: 'https://127.0.0.1:1', certificate-authority: ca.crt";

#[tokio::test]
async fn a_kubeconfig_with_a_token_or_a_certificate_is_taken() {
    for (name, user) in [
        ("token", "token: abc"),
        ("certificate", "client-certificate: user.crt, client-key: user.key"),
        ("nobody", ""),
    ] {
        let cluster = connect(name, GOOD, user).await.unwrap();
        assert!(format!("{cluster:?}").contains("https://127.0.0.1:1"));
        assert!(!format!("{cluster:?}").contains("abc"));
    }
}

#[tokio::test]
async fn what_would_weaken_the_connection_is_refused_by_name() {
    for (field, cluster, user) in [
        ("insecure-skip-tls-verify", format!("{GOOD}, insecure-skip-tls-verify: true"), ""),
        ("proxy-url", format!("{GOOD}, proxy-url: 'http://127.0.0.1:2'"), ""),
        ("exec", GOOD.to_owned(), "exec: {command: 'true', apiVersion: v1}"),
        ("auth-provider", GOOD.to_owned(), "auth-provider: {name: gcp}"),
        ("username", GOOD.to_owned(), "username: a, password: b"),
        ("as", GOOD.to_owned(), "token: abc, as: admin"),
        ("as-groups", GOOD.to_owned(), "token: abc, as-groups: ['system:masters']"),
    ] {
        let error = connect(field, &cluster, user).await.unwrap_err();
        assert!(matches!(error, ClusterError::Unsupported(f) if f == field), "{field}: {error}");
    }
    let plain = connect("plain", "server: 'http://127.0.0.1:1'", "").await.unwrap_err();
    assert!(matches!(plain, ClusterError::NotHttps(_)), "{plain}");
    let rootless = connect("rootless", "server: 'https://127.0.0.1:1'", "").await.unwrap_err();
    assert!(matches!(rootless, ClusterError::NoRoots), "{rootless}");
}

#[tokio::test]
async fn half_an_identity_is_none() {
    for (name, user, field) in [
        ("keyless", "client-certificate: user.crt", "client-key"),
        ("bare", "client-key: user.key", "client-certificate"),
        ("empty", "client-certificate: empty, client-key: user.key", "client-certificate"),
        ("odd", "client-certificate: user.crt, client-key: ca.crt", "client-key"),
        ("base64", "client-certificate-data: '!', client-key: user.key", "client-certificate"),
    ] {
        let error = connect(name, GOOD, user).await.unwrap_err();
        assert!(matches!(error, ClusterError::Identity(f) if f == field), "{name}: {error}");
    }
    let foreign = connect("foreign", GOOD, "client-certificate: no.crt, client-key: no.key").await;
    assert!(matches!(foreign, Err(ClusterError::File(_))));
    let config = Config { kubeconfig: Some("/nonexistent/config".into()) };
    let missing = Cluster::connect(&config, &Clock::system()).await.unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/config"), "{missing}");
}

#[tokio::test]
async fn outside_of_a_pod_there_is_no_service_account() {
    let error = Cluster::connect(&Config::default(), &Clock::system()).await.unwrap_err();
    assert!(matches!(error, ClusterError::NotInPod(_)), "{error}");
}

/// A server of TLS that says `ok` to everything, with a certificate of this root.
async fn serve(root: &rcgen::Issuer<'static, rcgen::KeyPair>) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(tls.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            tls.write_all(answer).await.unwrap();
            drop(tls.shutdown().await);
        }
    };
    #[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
    tokio::spawn(serving);
    port
}

#[tokio::test]
async fn roots_that_the_cluster_replaces_are_read_again() {
    let directory = std::env::temp_dir().join(format!("hopgate-roots-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("ca.crt");
    let root = |name: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (pem, rcgen::Issuer::new(params, key))
    };
    let ((old, _), (new, issuer)) = (root("old"), root("new"));
    let port = serve(&issuer).await;
    fs::write(&file, &old).unwrap();
    let mut config = kube::Config::new(format!("https://localhost:{port}").parse().unwrap());
    config.root_cert_file = Some(file.clone());
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + ROOTS_AGE);
    let cluster = Cluster::with(&config, User::Service, &clock).unwrap();
    let ask = async || {
        let request = http::Request::get("/").body(Vec::new()).unwrap();
        cluster.client().request_text(request).await
    };
    assert!(ask().await.is_err(), "a server of another root");
    fs::write(&file, &new).unwrap();
    assert!(ask().await.is_err(), "not looked at again yet");
    clock.advance(ROOTS_AGE);
    assert_eq!(ask().await.unwrap(), "ok");
    // What cannot be read leaves the last good ones in force.
    fs::write(&file, "damaged").unwrap();
    clock.advance(ROOTS_AGE);
    assert_eq!(ask().await.unwrap(), "ok");
    fs::write(&file, &old).unwrap();
    clock.advance(ROOTS_AGE);
    assert!(ask().await.is_err(), "the old root is in force again");
    fs::remove_dir_all(directory).unwrap();
}
