//! How the API server is reached: by a kubeconfig, or by the service account of the pod that this process runs in.
//!
//! TLS is always verified, and against the cluster's own roots only. What would weaken that (a kubeconfig that skips
//! verification, a proxy), or runs programs (exec plugins), is refused.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use kube::config::{AuthInfo, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use tower::{BoxError, Service as _, ServiceBuilder};
use zeroize::Zeroizing;

use crate::runtime::{Clock, FileError, read_limited};

const CONNECT: Duration = Duration::from_secs(5);
/// The roots of a cluster are looked at again this often, for new connections.
const ROOTS_AGE: Duration = Duration::from_secs(60);
const MAX_FILE: u64 = 1024 * 1024;

/// Which API server, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// A kubeconfig file; its current context counts. Without one, the service account of the pod that this process
    /// runs in.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
}

/// As whom somebody looks at a cluster from their own machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// A kubeconfig file. Without one, those that `KUBECONFIG` lists, or `~/.kube/config`, as for `kubectl`.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it, instead of the current one.
    pub context: Option<String>,
}

/// Who runs this process, and so what may be done to have credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// Nobody looks on: no program is run.
    Service,
    /// A person, whose kubeconfig may name the program that logs them in.
    Person,
}

/// An API server. Cloning shares its connections.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    url: String,
}

/// The API server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig {path} cannot be used")]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// There is no service account to use.
    #[error(
        "no kubeconfig is named, and this process does not run in a pod with a service account"
    )]
    NotInPod(#[source] Box<InClusterError>),
    /// A field of the kubeconfig is not taken.
    #[error(
        "{0} of the kubeconfig is not supported here; use a token, tokenFile or a client certificate"
    )]
    Unsupported(&'static str),
    /// The API server's address is not https.
    #[error("the API server's address {0} is not https")]
    NotHttps(String),
    /// Nothing to verify the API server by.
    #[error(
        "the kubeconfig names no certificate-authority; the system's roots are not used instead"
    )]
    NoRoots,
    /// A root is no certificate.
    #[error("a certificate authority of the cluster is not readable")]
    Root(#[source] rustls::Error),
    /// The client certificate or its key is missing or not readable.
    #[error("{0} of the kubeconfig is not readable")]
    Identity(&'static str),
    /// A file that the kubeconfig names.
    #[error(transparent)]
    File(#[from] FileError),
    /// TLS cannot be set up.
    #[error("TLS to the API server cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The credentials cannot be used.
    #[error("the credentials for the API server cannot be used")]
    Credentials(#[source] Box<kube::Error>),
}

impl Config {
    /// Makes a relative path relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        if let Some(path) = &mut self.kubeconfig {
            *path = base.join(&*path);
        }
    }
}

impl Cluster {
    /// Reads the credentials. Nothing is sent yet: an API server that is down is no error here.
    ///
    /// # Errors
    /// When the kubeconfig, or the pod's service account, cannot be used.
    pub async fn connect(config: &Config, clock: &Clock) -> Result<Self, ClusterError> {
        let config = match &config.kubeconfig {
            Some(path) => from_file(path).await?,
            None => kube::Config::incluster().map_err(|e| ClusterError::NotInPod(e.into()))?,
        };
        Self::with(&config, User::Service, clock)
    }

    /// The same for a person. What would weaken the connection is refused here, too; the program that a kubeconfig names
    /// for logging in (`exec`) is run.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn of_person(person: &Person, clock: &Clock) -> Result<Self, ClusterError> {
        let Person { kubeconfig, context } = person;
        let usual = || {
            kubeconfig
                .clone()
                .unwrap_or_else(|| PathBuf::from("of this machine (--kubeconfig names another)"))
        };
        let fail = |source: KubeconfigError| ClusterError::Kubeconfig {
            path: usual(),
            source: source.into(),
        };
        let file = match kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let options = KubeConfigOptions { context: context.clone(), ..Default::default() };
        let config = kube::Config::from_custom_kubeconfig(file.map_err(fail)?, &options).await;
        Self::with(&config.map_err(fail)?, User::Person, clock)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The client, for the typed APIs of this module.
    pub(super) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    fn with(config: &kube::Config, user: User, clock: &Clock) -> Result<Self, ClusterError> {
        check(config, user)?;
        let tls = Arc::new(Tls::new(config, clock.clone())?);
        let connect = tower::service_fn(move |uri: http::Uri| tls.connector().call(uri));
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .build::<_, Body>(connect);
        let credentials = |error: kube::Error| ClusterError::Credentials(error.into());
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(credentials)?)
            .map_err(BoxError::from)
            .service(http);
        let client = kube::Client::new(service, config.default_namespace.clone());
        Ok(Self { client, url: config.cluster_url.to_string() })
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("url", &self.url).finish_non_exhaustive()
    }
}

async fn from_file(path: &Path) -> Result<kube::Config, ClusterError> {
    let fail = |source: KubeconfigError| ClusterError::Kubeconfig {
        path: path.to_path_buf(),
        source: source.into(),
    };
    let file = Kubeconfig::read_from(path).map_err(fail)?;
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(fail)
}

/// Refuses what would weaken the connection or does what nobody expects of a control plane.
fn check(config: &kube::Config, of: User) -> Result<(), ClusterError> {
    let user = &config.auth_info;
    for (field, set) in [
        ("insecure-skip-tls-verify", config.accept_invalid_certs),
        ("proxy-url", config.proxy_url.is_some()),
        ("exec", of == User::Service && user.exec.is_some()),
        ("auth-provider", user.auth_provider.is_some()),
        ("username", user.username.is_some()),
        ("password", user.password.is_some()),
        ("as", user.impersonate.is_some()),
        ("as-uid", user.impersonate_uid.is_some()),
        ("as-groups", user.impersonate_groups.is_some()),
        ("as-user-extra", user.impersonate_user_extra.is_some()),
    ] {
        if set {
            return Err(ClusterError::Unsupported(field));
        }
    }
    if config.cluster_url.scheme_str() != Some("https") {
        return Err(ClusterError::NotHttps(config.cluster_url.to_string()));
    }
    Ok(())
}

/// TLS to the API server, with a provider of its own: none for the whole process is needed or made.
struct Tls {
    roots: Roots,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    name: Option<ServerName<'static>>,
    clock: Clock,
    current: Mutex<(HttpsConnector<HttpConnector>, SystemTime)>,
}

enum Roots {
    Fixed(Vec<CertificateDer<'static>>),
    /// A file that the cluster keeps up to date in each pod.
    File(PathBuf),
}

impl Tls {
    fn new(config: &kube::Config, clock: Clock) -> Result<Self, ClusterError> {
        let roots = match (&config.root_cert_file, &config.root_cert) {
            (Some(path), _) => Roots::File(path.clone()),
            (None, Some(ders)) if !ders.is_empty() => {
                Roots::Fixed(ders.iter().map(|der| der.clone().into()).collect())
            }
            (None, Some(_) | None) => return Err(ClusterError::NoRoots),
        };
        let name = config.tls_server_name.clone().map(ServerName::try_from).transpose();
        let name = name.map_err(|_| ClusterError::Identity("tls-server-name"))?;
        let identity = identity(&config.auth_info)?;
        let connector = connector(&roots, identity.as_ref(), name.as_ref())?;
        let current = Mutex::new((connector, clock.now()));
        Ok(Self { roots, identity, name, clock, current })
    }

    /// The connector for one new connection. Roots that cannot be read again leave the last good ones in force.
    fn connector(&self) -> HttpsConnector<HttpConnector> {
        let now = self.clock.now();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = now.duration_since(current.1).is_ok_and(|age| age < ROOTS_AGE);
        if !fresh && matches!(self.roots, Roots::File(_)) {
            current.1 = now;
            match connector(&self.roots, self.identity.as_ref(), self.name.as_ref()) {
                Ok(connector) => current.0 = connector,
                Err(error) => {
                    tracing::warn!(%error, "the cluster's roots cannot be read again, the last ones stay");
                }
            }
        }
        current.0.clone()
    }
}

fn connector(
    roots: &Roots,
    identity: Option<&(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    name: Option<&ServerName<'static>>,
) -> Result<HttpsConnector<HttpConnector>, ClusterError> {
    let ders = match roots {
        Roots::Fixed(ders) => ders.clone(),
        Roots::File(path) => certificates(&read_limited(path, MAX_FILE)?, "ca.crt")?,
    };
    let mut store = RootCertStore::empty();
    for der in ders {
        store.add(der).map_err(ClusterError::Root)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClusterError::Tls)?
        .with_root_certificates(store);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(ClusterError::Tls)?,
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
    Ok(match name {
        None => builder.enable_http1().wrap_connector(tcp),
        Some(name) => builder
            .with_server_name_resolver(FixedServerNameResolver::new(name.clone()))
            .enable_http1()
            .wrap_connector(tcp),
    })
}

fn identity(
    user: &AuthInfo,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, ClusterError> {
    let text = |data: Option<&str>, path: Option<&String>, field| match (data, path) {
        (Some(data), _) => {
            let bytes = STANDARD.decode(data).map_err(|_| ClusterError::Identity(field))?;
            let text = String::from_utf8(bytes).map_err(|_| ClusterError::Identity(field))?;
            Ok(Some(Zeroizing::new(text)))
        }
        (None, Some(path)) => Ok(Some(Zeroizing::new(read_limited(Path::new(path), MAX_FILE)?))),
        (None, None) => Ok::<_, ClusterError>(None),
    };
    let chain = text(
        user.client_certificate_data.as_deref(),
        user.client_certificate.as_ref(),
        "client-certificate",
    )?;
    let key = user.client_key_data.as_ref().map(|key| key.expose_secret());
    let key = text(key, user.client_key.as_ref(), "client-key")?;
    match (chain, key) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(ClusterError::Identity("client-key")),
        (None, Some(_)) => Err(ClusterError::Identity("client-certificate")),
        (Some(chain), Some(key)) => {
            let chain = certificates(&chain, "client-certificate")?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|_| ClusterError::Identity("client-key"))?;
            Ok(Some((chain, key)))
        }
    }
}

fn certificates(
    pem: &str,
    field: &'static str,
) -> Result<Vec<CertificateDer<'static>>, ClusterError> {
    let ders: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match ders {
        Ok(ders) if !ders.is_empty() => Ok(ders),
        Ok(_) | Err(_) => Err(ClusterError::Identity(field)),
    }
}

#[cfg(test)]
mod tests;
