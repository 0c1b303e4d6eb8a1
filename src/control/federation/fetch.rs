//! One look at a foreign bundle endpoint.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, header};

use crate::authn::{HttpClient, HttpError, HttpOptions, Limits, Roots};
use crate::identity::{InvalidSpiffeBundle, JudgedServer, SpiffeBundle, TrustBundle, TrustDomain};
use crate::runtime::{Clock, FileError, read_bytes};

use super::accept::NotNewer;
use super::config::{Profile, Relationship};
use super::verifier::SpiffeServer;

/// Redirects included. A bundle of a hundred roots has some hundred kilobytes.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(10), max_body: 1024 * 1024 };
/// The most bytes of a file with roots.
const MAX_ROOTS: u64 = 1024 * 1024;

/// Why a look brought no bundle.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no bundle by which the endpoint could be recognised.
    #[error("the bundle of {0} is not known, by which the endpoint must be recognised")]
    NoTrust(TrustDomain),
    /// The roots of a web endpoint cannot be read.
    #[error("caFile: {0}")]
    Roots(#[from] FileError),
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Another status than 200.
    #[error("the answer has status {0}")]
    Status(u16),
    /// The answer is no text.
    #[error("the answer is not UTF-8")]
    NotText,
    /// The answer is no bundle.
    #[error("the answer is no SPIFFE bundle: {}", said(.0))]
    Bundle(InvalidSpiffeBundle),
    /// The answer does not replace what is held.
    #[error("the bundle is not taken: {0}")]
    NotNewer(#[from] NotNewer),
}

impl FetchError {
    /// A stable name, for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoTrust(_) => "no_trust",
            Self::Roots(_) => "no_roots",
            Self::Http(error) => error.code(),
            Self::Status(_) => "status",
            Self::NotText | Self::Bundle(_) => "invalid_bundle",
            Self::NotNewer(why) => why.code(),
        }
    }
}

/// An error with its causes.
pub(super) fn said(error: &InvalidSpiffeBundle) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A bundle as it came.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) bundle: SpiffeBundle,
    pub(super) document: String,
}

/// By whom the endpoint is recognised.
pub(super) enum Recognised {
    /// By the host name, and authorities of the web.
    Web { ca_file: Option<PathBuf> },
    /// By its SPIFFE ID.
    Spiffe(SpiffeServer),
}

impl Recognised {
    /// What the profile needs: the latest bundle of the endpoint's trust domain, where it is of one.
    pub(super) fn new(
        profile: &Profile,
        trust: impl FnOnce(&TrustDomain) -> Option<TrustBundle>,
        clock: &Clock,
    ) -> Result<Self, FetchError> {
        match profile {
            Profile::Web { ca_file } => Ok(Self::Web { ca_file: ca_file.clone() }),
            Profile::Spiffe(id) => {
                let domain = id.trust_domain();
                let bundle = trust(&domain).ok_or(FetchError::NoTrust(domain))?;
                Ok(Self::Spiffe(SpiffeServer::new(id.clone(), &bundle, clock.clone())))
            }
        }
    }
}

/// Reads the bundle. The connection is made anew each time, by what is trusted now.
pub(super) async fn fetch(
    relationship: &Relationship,
    recognised: Recognised,
) -> Result<Fetched, FetchError> {
    let options = match recognised {
        Recognised::Web { ca_file: None } => HttpOptions::system(),
        Recognised::Web { ca_file: Some(path) } => {
            HttpOptions { ca_pem: Some(read_bytes(&path, MAX_ROOTS)?), ..HttpOptions::system() }
        }
        Recognised::Spiffe(server) => {
            HttpOptions { roots: Roots::Judged(JudgedServer::new(server)), ..HttpOptions::system() }
        }
    };
    let client = HttpClient::new(&options)?;
    let accept = [(header::ACCEPT, HeaderValue::from_static("application/json"))];
    let answer = client.get(&relationship.url, &accept, LIMITS).await?;
    if answer.status != 200 {
        return Err(FetchError::Status(answer.status));
    }
    let document = String::from_utf8(answer.body).map_err(|_| FetchError::NotText)?;
    let bundle =
        SpiffeBundle::parse(&relationship.domain, &document).map_err(FetchError::Bundle)?;
    Ok(Fetched { bundle, document })
}
