//! One fetch of a key set over HTTP: bounded in time and size, never redirected, never over plain text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url, header, redirect};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::authn::keys::{InvalidKeySet, KeySet};
use crate::policy::Algorithm;

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 1024 * 1024;

/// Whom to trust when keys are fetched over https.
#[derive(Debug, Clone)]
pub enum Roots {
    /// The roots of the system.
    System,
    /// These and no others.
    Given(RootCertStore),
}

/// Why keys could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It is no http or https URL, or holds a user name.
    #[error("{0:?} is no https URL of a key set")]
    Uri(String),
    /// Plain http to another machine, where anyone on the way could hand out keys.
    #[error("{0:?} is plain http, which is allowed only to loopback addresses; use https")]
    Insecure(String),
    /// https, and there is no root to trust.
    #[error("there are no roots to trust for https: {0}")]
    NoRoots(String),
    /// It took longer than five seconds.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The connection failed.
    #[error("{0}")]
    Unreachable(String),
    /// Another status than 200; redirects are not followed.
    #[error("the answer has status {0}")]
    Status(u16),
    /// More than 1 MiB.
    #[error("the answer is longer than {MAX_BODY} bytes")]
    TooLarge,
    /// What came is no usable key set.
    #[error("{0}")]
    KeySet(InvalidKeySet),
    /// The HTTP client cannot be built, or a key set stopped its reader.
    #[error("internal: {0}")]
    Internal(String),
}

impl FetchError {
    /// A stable name, for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Uri(_) => "invalid_uri",
            Self::Insecure(_) => "insecure_uri",
            Self::NoRoots(_) => "no_roots",
            Self::Timeout => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::KeySet(_) => "invalid_key_set",
            Self::Internal(_) => "internal",
        }
    }
}

/// An HTTP client for key sets. Cloning shares it.
#[derive(Clone)]
pub(super) struct Fetcher {
    client: Client,
    /// Why https cannot work; plain http to loopback still does, and an image without roots still starts.
    no_roots: Option<Arc<str>>,
}

impl Fetcher {
    pub(super) fn new(roots: Roots) -> Result<Self, FetchError> {
        let internal = |error: &dyn std::error::Error| FetchError::Internal(chain(error));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|e| internal(&e))
        };
        let mut no_roots = None;
        let config = match roots {
            Roots::Given(store) => builder()?.with_root_certificates(store),
            Roots::System => match builder()?.with_platform_verifier() {
                Ok(config) => config,
                Err(error) => {
                    no_roots = Some(error.to_string().into());
                    builder()?.with_root_certificates(RootCertStore::empty())
                }
            },
        };
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .map(|ip| SocketAddr::new(ip, 0));
        let client = Client::builder()
            .tls_backend_preconfigured(config.with_no_client_auth())
            .redirect(redirect::Policy::none())
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT)
            // The environment decides nothing here, and no resolver says where localhost is.
            .no_proxy()
            .resolve_to_addrs("localhost", &loopback)
            .user_agent(concat!("hopgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| internal(&e))?;
        Ok(Self { client, no_roots })
    }

    pub(super) async fn fetch(
        &self,
        uri: &str,
        allowed: Vec<Algorithm>,
    ) -> Result<Arc<KeySet>, FetchError> {
        let url = check_uri(uri)?;
        if let (Some(why), "https") = (&self.no_roots, url.scheme()) {
            return Err(FetchError::NoRoots(why.to_string()));
        }
        let body = self.get(url).await?;
        // Hundreds of keys take milliseconds to check, and the thread that answers Checks has none to spare.
        let parsed = tokio::task::spawn_blocking(move || KeySet::parse(&body, &allowed)).await;
        let keys = parsed.map_err(|e| FetchError::Internal(e.to_string()))?;
        keys.map(Arc::new).map_err(FetchError::KeySet)
    }

    async fn get(&self, url: Url) -> Result<Vec<u8>, FetchError> {
        let request = self
            .client
            .get(url)
            .header(header::ACCEPT, "application/jwk-set+json, application/json");
        let mut response = request.send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// An https URL, or an http URL of this machine.
pub(in crate::authn) fn check_uri(uri: &str) -> Result<Url, FetchError> {
    let url = Url::parse(uri).map_err(|_| FetchError::Uri(uri.to_owned()))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it holds a password.
        return Err(FetchError::Uri("a URL with a user name".to_owned()));
    }
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if is_loopback(host) => Ok(url),
        ("http", Some(_)) => Err(FetchError::Insecure(uri.to_owned())),
        _ => Err(FetchError::Uri(uri.to_owned())),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn unreachable(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Timeout;
    }
    FetchError::Unreachable(chain(&error.without_url()))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_never_leaves_the_machine() {
        for uri in [
            "https://sso.example/keys",
            "http://127.0.0.1:8080/keys",
            "http://127.9.9.9/keys",
            "http://[::1]:8080/keys",
            "http://localhost:8080/keys",
            "HTTP://LOCALHOST/keys",
        ] {
            assert!(check_uri(uri).is_ok(), "{uri}");
        }
        for (uri, code) in [
            ("http://sso.example/keys", "insecure_uri"),
            ("http://10.0.0.1/keys", "insecure_uri"),
            ("http://0.0.0.0/keys", "insecure_uri"),
            ("http://localhost.evil.example/keys", "insecure_uri"),
            ("http://127.0.0.1.evil.example/keys", "insecure_uri"),
            ("https://user:password@sso.example/keys", "invalid_uri"),
            ("file:///etc/keys", "invalid_uri"),
            ("ftp://127.0.0.1/keys", "invalid_uri"),
            ("/keys", "invalid_uri"),
            ("", "invalid_uri"),
        ] {
            assert_eq!(check_uri(uri).unwrap_err().code(), code, "{uri}");
        }
        let error = check_uri("http://sso.example/keys").unwrap_err().to_string();
        assert!(error.contains("allowed only to loopback addresses"), "{error}");
        let error = check_uri("https://user:password@sso.example/").unwrap_err().to_string();
        assert!(!error.contains("password"), "{error}");
    }
}
