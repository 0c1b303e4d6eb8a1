//! The one HTTP client behind everything authentication asks for: keys, discovery, introspection, user info, tokens.
//!
//! It promises that https stays https, that no URL, name or redirect leads to the metadata service of a cloud or to
//! another address that no identity provider has, that an answer is bounded in time and size, and that the
//! environment of the process decides nothing. What is sent and what comes back is never in a text of an error.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, Proxy, Response, Url, redirect};
use rustls::ClientConfig;
use serde_json::Value;
use zeroize::Zeroizing;

mod guard;
mod options;
mod tls;

pub use options::HttpOptions;
pub use tls::{ClientIdentity, Roots};

use crate::runtime::with_causes;
use guard::{ForbiddenName, Guard};

/// A GET is led on at most this often.
const MAX_REDIRECTS: usize = 3;
/// One connection is made within this, whatever the limits of the question.
const CONNECT: Duration = Duration::from_secs(10);

/// The bounds of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first name looked up to the last byte of the answer, redirects included.
    pub timeout: Duration,
    /// The longest body, in bytes.
    pub max_body: usize,
}

/// An answer, whatever its status. It may hold tokens, so it cannot be shown.
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as long as `Limits::max_body` at most.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// It is no http or https URL, or holds a user name.
    #[error("{0:?} is no https URL that can be asked")]
    Url(String),
    /// Plain http to another machine, where anyone on the way could answer.
    #[error(
        "{0:?} is plain http, which is allowed only to loopback addresses and to plaintextHosts; use https"
    )]
    Insecure(String),
    /// Link-local, a metadata service, or an address that is nobody's.
    #[error(
        "{0} is link-local, a metadata service or no host's address, and not in allowAddresses"
    )]
    ForbiddenAddress(IpAddr),
    /// https, and there is no root to trust.
    #[error("there are no roots to trust for https: {0}")]
    NoRoots(String),
    /// The given roots cannot be used.
    #[error("the CA certificates cannot be used: {0}")]
    Ca(String),
    /// The certificate to present, or its key, cannot be used.
    #[error("the client certificate cannot be used: {0}")]
    Identity(String),
    /// The proxy cannot be used.
    #[error("the proxy is no http or https URL")]
    Proxy,
    /// It took longer than it may.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The connection failed.
    #[error("{0}")]
    Unreachable(String),
    /// Too often, to another scheme, without a place, or with a credential to another origin.
    #[error("the answer leads elsewhere: {0}")]
    Redirect(&'static str),
    /// The body is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// The body is compressed though it was asked not to be, so its size says nothing.
    #[error("the answer is compressed, which was not asked for")]
    Encoded,
    /// The client cannot be built, or a body cannot be written.
    #[error("internal: {0}")]
    Internal(String),
}

/// A guarded HTTP client. Cloning shares it.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    guard: Guard,
    direct: Client,
    /// For everything but loopback, when there is a proxy.
    proxied: Option<Client>,
    /// Why https cannot work.
    no_roots: Option<Arc<str>>,
}

impl HttpError {
    /// A stable name, for metrics and records.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "invalid_uri",
            Self::Insecure(_) => "insecure_uri",
            Self::ForbiddenAddress(_) => "forbidden_address",
            Self::NoRoots(_) => "no_roots",
            Self::Ca(_) => "invalid_ca",
            Self::Identity(_) => "invalid_identity",
            Self::Proxy => "invalid_proxy",
            Self::Timeout(_) => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Redirect(_) => "redirect",
            Self::TooLarge(_) => "too_large",
            Self::Encoded => "encoded",
            Self::Internal(_) => "internal",
        }
    }
}

/// Says whether a URL may be asked under no options at all: https, or loopback, and no address that is never dialled.
///
/// # Errors
/// When it may not.
pub(super) fn check_strictly(url: &str) -> Result<(), HttpError> {
    Guard::new(&[], &[]).url(url).map(drop)
}

impl HttpClient {
    /// A client under these options.
    ///
    /// # Errors
    /// When roots, certificate or proxy cannot be used.
    pub fn new(options: &HttpOptions) -> Result<Self, HttpError> {
        let HttpOptions { roots, ca_pem, proxy, allow, plaintext_hosts, identity } = options;
        let guard = Guard::new(allow, plaintext_hosts);
        let (tls, no_roots) = tls::config(roots, ca_pem.as_deref(), identity.as_ref())?;
        let proxied = match proxy {
            None => None,
            Some(text) => Some(build(&guard, tls.clone(), Some(read_proxy(&guard, text)?))?),
        };
        let direct = build(&guard, tls, None)?;
        Ok(Self(Arc::new(Inner { guard, direct, proxied, no_roots })))
    }

    /// Says whether a URL may be asked, without asking. Names are looked up only when they are dialled.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, url: &str) -> Result<(), HttpError> {
        self.0.guard.url(url).map(drop)
    }

    /// Asks with GET. Follows at most three redirects to where it may ask, never to another scheme, and never to
    /// another origin with a credential.
    ///
    /// # Errors
    /// When there is no answer, or it is beyond the limits. Every status is an answer, except a redirect.
    pub async fn get(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        limits: Limits,
    ) -> Result<HttpAnswer, HttpError> {
        let url = self.0.guard.url(url)?;
        within(limits.timeout, self.follow(url, headers, limits.max_body)).await
    }

    /// Sends a form with POST. Follows no redirect: the answer is then the redirect.
    ///
    /// # Errors
    /// When there is no answer, or it is beyond the limits.
    pub async fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        headers: &[(HeaderName, HeaderValue)],
        limits: Limits,
    ) -> Result<HttpAnswer, HttpError> {
        // Large enough for every part escaped, so that growing leaves no copy behind.
        let longest = form.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
        let mut body = Zeroizing::new(String::with_capacity(longest));
        for (name, value) in form {
            if !body.is_empty() {
                body.push('&');
            }
            for (part, after) in [(name, "="), (value, "")] {
                body.extend(percent_encoding::utf8_percent_encode(part, FORM));
                body.push_str(after);
            }
        }
        let body = Zeroizing::new(body.as_bytes().to_vec());
        self.post(url, ("application/x-www-form-urlencoded", body), headers, limits).await
    }

    /// Sends JSON with POST. Follows no redirect: the answer is then the redirect.
    ///
    /// # Errors
    /// When there is no answer, or it is beyond the limits.
    pub async fn post_json(
        &self,
        url: &str,
        json: &Value,
        headers: &[(HeaderName, HeaderValue)],
        limits: Limits,
    ) -> Result<HttpAnswer, HttpError> {
        let body = serde_json::to_vec(json).map_err(|e| HttpError::Internal(e.to_string()))?;
        self.post(url, ("application/json", Zeroizing::new(body)), headers, limits).await
    }

    async fn post(
        &self,
        url: &str,
        (kind, body): (&'static str, Zeroizing<Vec<u8>>),
        headers: &[(HeaderName, HeaderValue)],
        limits: Limits,
    ) -> Result<HttpAnswer, HttpError> {
        let url = self.0.guard.url(url)?;
        let mut all = vec![(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
        all.extend_from_slice(headers);
        // The owner is dropped, and with it wiped, when the last part of the body is sent.
        let body = Bytes::from_owner(body);
        let answer = async {
            let response = self.send(Method::POST, url, &all, Some(body)).await?;
            read(response, limits.max_body).await
        };
        within(limits.timeout, answer).await
    }

    async fn follow(
        &self,
        mut url: Url,
        headers: &[(HeaderName, HeaderValue)],
        max_body: usize,
    ) -> Result<HttpAnswer, HttpError> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(Method::GET, url.clone(), headers, None).await?;
            if !leads_on(response.status()) {
                return read(response, max_body).await;
            }
            let next = next(&url, response.headers())?;
            self.0.guard.judge(&next)?;
            if next.origin() != url.origin() && headers.iter().any(is_credential) {
                return Err(HttpError::Redirect("to another origin, with a credential"));
            }
            url = next;
        }
        Err(HttpError::Redirect("more than three times"))
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Bytes>,
    ) -> Result<Response, HttpError> {
        let Inner { guard: _, direct, proxied, no_roots } = &*self.0;
        if let (Some(why), "https") = (no_roots, url.scheme()) {
            return Err(HttpError::NoRoots(why.to_string()));
        }
        let local = url.host_str().is_some_and(guard::is_loopback);
        let client = proxied.as_ref().filter(|_| !local).unwrap_or(direct);
        let mut request = client.request(method, url).header(header::ACCEPT_ENCODING, "identity");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        request.send().await.map_err(failed)
    }
}

/// What a form leaves as it is: what HTML says, except that a space is `%20`, which every reader takes too.
const FORM: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

fn build(guard: &Guard, tls: ClientConfig, proxy: Option<Proxy>) -> Result<Client, HttpError> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(guard.clone()))
        // What connects on after its question was given up ends soon too.
        .connect_timeout(CONNECT)
        // The environment decides nothing here.
        .no_proxy()
        .user_agent(concat!("hopgate/", env!("CARGO_PKG_VERSION")));
    let builder = match proxy {
        Some(proxy) => builder.proxy(proxy),
        None => builder,
    };
    builder.build().map_err(|error| HttpError::Internal(with_causes(&error.without_url())))
}

/// The proxy is dialled by us, so its address is judged like any other; plain http to it is usual, as what goes
/// through it to https is not readable there.
fn read_proxy(guard: &Guard, text: &str) -> Result<Proxy, HttpError> {
    let url = Url::parse(text).map_err(|_| HttpError::Proxy)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpError::Proxy);
    }
    match Guard::address(&url) {
        Some(ip) if guard.forbids(ip) => return Err(HttpError::ForbiddenAddress(ip)),
        Some(_) | None => {}
    }
    Proxy::all(url).map_err(|_| HttpError::Proxy)
}

async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    tokio::time::timeout(timeout, work).await.unwrap_or(Err(HttpError::Timeout(timeout)))
}

async fn read(mut response: Response, max_body: usize) -> Result<HttpAnswer, HttpError> {
    let encoded = response.headers().get_all(header::CONTENT_ENCODING);
    if encoded.iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(HttpError::Encoded);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if chunk.len() > max_body.saturating_sub(body.len()) {
            return Err(HttpError::TooLarge(max_body));
        }
        body.extend_from_slice(&chunk);
    }
    let headers = std::mem::take(response.headers_mut());
    Ok(HttpAnswer { status: response.status().as_u16(), headers, body })
}

fn leads_on(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn next(url: &Url, headers: &HeaderMap) -> Result<Url, HttpError> {
    let place = headers.get(header::LOCATION).and_then(|place| place.to_str().ok());
    let place = place.ok_or(HttpError::Redirect("without a readable place"))?;
    let next = url.join(place).map_err(|_| HttpError::Redirect("without a readable place"))?;
    if next.scheme() != url.scheme() {
        return Err(HttpError::Redirect("to another scheme"));
    }
    Ok(next)
}

/// A header that is meant for one origin. The accepted media types are meant for anyone.
fn is_credential((name, value): &(HeaderName, HeaderValue)) -> bool {
    value.is_sensitive() || !matches!(*name, header::ACCEPT | header::ACCEPT_LANGUAGE)
}

fn failed(error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    while let Some(cause) = source {
        if let Some(ForbiddenName(ip)) = cause.downcast_ref() {
            return HttpError::ForbiddenAddress(*ip);
        }
        source = cause.source();
    }
    HttpError::Unreachable(with_causes(&error))
}

#[cfg(test)]
mod tests;
