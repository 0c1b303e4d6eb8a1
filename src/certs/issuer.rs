//! Asks a control plane for a certificate, and believes nothing of the answer that is not verified.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::metadata::MetadataValue;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::identity::{
    InvalidKey, InvalidSvid, PrivateKey, SpiffeId, TrustBundle, WorkloadIdentity, X509Svid,
};
use crate::proto::istio::IstioCertificateRequest;
use crate::proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use crate::runtime::{Clock, FileError, read_limited, read_secret};

use super::config::Token;
use super::retry_after::RetryAfter;
use super::server::{ConnectError, ControlServer};

/// One attempt, from the first packet to the verified answer.
const ATTEMPT: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 256 * 1024;
const MAX_TOKEN: u64 = 12 * 1024;

/// No certificate could be had.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// There is neither a valid certificate nor a join token to prove this workload with.
    #[error(
        "nothing to prove this workload with: no valid certificate, no join token and no service account token; make \
         a join token with: hopgate control token"
    )]
    NoCredentials,
    /// The token cannot be read.
    #[error("the token cannot be read")]
    Token(#[source] FileError),
    /// The token is empty or holds what no header can carry.
    #[error("the token is not readable text")]
    UnusableToken,
    /// The key or the request cannot be made.
    #[error("a key cannot be made")]
    Key(#[from] InvalidKey),
    /// The request cannot be made.
    #[error("a signing request cannot be made")]
    Request(#[source] rcgen::Error),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No answer in time.
    #[error("no answer from the control plane within {ATTEMPT:?}")]
    TimedOut,
    /// The control plane refuses.
    #[error("the control plane refuses ({code:?}): {message}")]
    Refused {
        /// The gRPC code.
        code: tonic::Code,
        /// The control plane's words.
        message: String,
        /// When it says to come again.
        retry_after: Option<RetryAfter>,
    },
    /// The answer is no chain of PEM certificates.
    #[error("the answer is no certificate chain")]
    Unreadable,
    /// The answer was signed by an authority whose root came with it, and is not trusted here.
    #[error(
        "the answer carries a foreign root: whoever signed it is not trusted here; if it should be, add its root to \
         certificates.control.caFile"
    )]
    ForeignRoot,
    /// The answer does not verify.
    #[error("the answer is refused")]
    Svid(#[from] InvalidSvid),
    /// The answer names another workload.
    #[error("the answer is for {found}, not for {expected}")]
    OtherWorkload {
        /// Whom it names.
        found: SpiffeId,
        /// Who asked.
        expected: SpiffeId,
    },
}

impl IssueError {
    /// When the control plane says to come again, if it says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A control plane, seen from one workload.
pub(super) struct Issuer {
    server: ControlServer,
    workload: SpiffeId,
    token: Token,
    clock: Clock,
}

/// With what an attempt proves who asks. Never with both: one must be enough.
enum Proof<'a> {
    Certificate(&'a WorkloadIdentity),
    Token(Zeroizing<String>),
}

impl Issuer {
    pub(super) fn new(
        server: ControlServer,
        token: Token,
        workload: SpiffeId,
        clock: Clock,
    ) -> Self {
        Self { server, workload, token, clock }
    }

    /// Gets a new certificate. With the token of a service account it is proven by that alone, each time: whoever may
    /// not have it any more gets nothing, and an outage of any length heals by itself. Else it is proven by `current`
    /// while that is valid, then by the join token. If the control plane does not take the certificate (its root may be
    /// new), the join token is tried as well.
    pub(super) async fn issue(
        &self,
        current: Option<&WorkloadIdentity>,
        bundle: &TrustBundle,
    ) -> Result<X509Svid, IssueError> {
        let now = self.clock.now();
        let by_certificate = match self.token {
            Token::ServiceAccountFile(_) => None,
            Token::None | Token::Join(_) | Token::JoinFile(_) => current,
        };
        let valid = by_certificate.filter(|held| {
            let leaf = held.svid.leaf();
            leaf.not_before() <= now && now <= leaf.not_after()
        });
        let Some(identity) = valid else {
            return self.attempt(Proof::Token(self.read_token()?), bundle).await;
        };
        let refusal = match self.attempt(Proof::Certificate(identity), bundle).await {
            Ok(svid) => return Ok(svid),
            Err(refusal) => refusal,
        };
        // A refused client certificate shows itself in TLS 1.3 only after the handshake, as a broken call.
        let not_taken = match &refusal {
            IssueError::Refused { code, .. } => {
                matches!(code, tonic::Code::Unauthenticated | tonic::Code::Unknown)
            }
            _ => false,
        };
        match self.read_token() {
            Ok(token) if not_taken => {
                tracing::warn!(error = %refusal, "certificate not taken, trying the join token");
                self.attempt(Proof::Token(token), bundle).await.map_err(|second| {
                    tracing::warn!(error = %second, "the join token does not help either");
                    refusal
                })
            }
            Ok(_) | Err(_) => Err(refusal),
        }
    }

    async fn attempt(
        &self,
        proof: Proof<'_>,
        bundle: &TrustBundle,
    ) -> Result<X509Svid, IssueError> {
        let key = PrivateKey::generate()?;
        let csr = self.signing_request(&key)?;
        let call = self.call(&proof, csr, bundle);
        let answer =
            tokio::time::timeout(ATTEMPT, call).await.map_err(|_| IssueError::TimedOut)??;
        verify(&answer, key, (&self.workload, bundle), self.clock.now())
    }

    fn signing_request(&self, key: &PrivateKey) -> Result<String, IssueError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let uri = self.workload.as_str().try_into().map_err(IssueError::Request)?;
        params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
        let request = params.serialize_request(&key.to_key_pair()?);
        request.and_then(|request| request.pem()).map_err(IssueError::Request)
    }

    async fn call(
        &self,
        proof: &Proof<'_>,
        csr: String,
        bundle: &TrustBundle,
    ) -> Result<Vec<String>, IssueError> {
        let current = match proof {
            Proof::Certificate(identity) => Some(*identity),
            Proof::Token(_) => None,
        };
        let channel = self.server.connect(current, bundle, &self.clock).await?;
        let mut client =
            IstioCertificateServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        let message = IstioCertificateRequest { csr, validity_duration: 0, metadata: None };
        let mut request = tonic::Request::new(message);
        if let Proof::Token(token) = proof {
            let header = Zeroizing::new(format!("Bearer {}", token.as_str()));
            let mut value =
                MetadataValue::try_from(header.as_str()).map_err(|_| IssueError::UnusableToken)?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        let answer =
            client.create_certificate(request).await.map_err(|status| IssueError::Refused {
                code: status.code(),
                message: status.message().to_owned(),
                retry_after: RetryAfter::read(status.metadata()),
            })?;
        Ok(answer.into_inner().cert_chain)
    }

    fn read_token(&self) -> Result<Zeroizing<String>, IssueError> {
        let text = match &self.token {
            Token::None => return Err(IssueError::NoCredentials),
            Token::Join(token) => Zeroizing::new(token.to_string()),
            Token::JoinFile(path) => read_secret(path, MAX_TOKEN).map_err(IssueError::Token)?,
            Token::ServiceAccountFile(path) => {
                let text = read_limited(path, MAX_TOKEN).map_err(IssueError::Token)?;
                Zeroizing::new(text)
            }
        };
        let text = Zeroizing::new(text.trim_ascii().to_owned());
        if text.is_empty() { Err(IssueError::UnusableToken) } else { Ok(text) }
    }
}

fn verify(
    answer: &[String],
    key: PrivateKey,
    (workload, bundle): (&SpiffeId, &TrustBundle),
    now: SystemTime,
) -> Result<X509Svid, IssueError> {
    let (chain, foreign_roots) = read_chain(answer, bundle)?;
    let svid = X509Svid::new(chain, key, bundle, now).map_err(|refused| match refused {
        // The likely cause, and one that the operator can remove.
        InvalidSvid::Untrusted(_) if foreign_roots > 0 => IssueError::ForeignRoot,
        refused => refused.into(),
    })?;
    if svid.id() != workload {
        let (found, expected) = (svid.id().clone(), workload.clone());
        return Err(IssueError::OtherWorkload { found, expected });
    }
    Ok(svid)
}

/// The certificates of an answer, leaf first, without roots, and how many roots in it are not trusted here. A root in
/// an answer never adds trust: those of the configuration alone count. Other authorities send several, such as the one
/// before and the one to come, and several certificates in one text.
fn read_chain(
    answer: &[String],
    bundle: &TrustBundle,
) -> Result<(Vec<CertificateDer<'static>>, usize), IssueError> {
    let (mut chain, mut foreign_roots) = (Vec::new(), 0);
    for text in answer {
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|_| IssueError::Unreadable)?;
            // The first is the leaf, whatever it says: it must not be found further down.
            if !chain.is_empty() {
                if bundle.roots().contains(&certificate) {
                    continue;
                }
                if is_root(&certificate)? {
                    foreign_roots += 1;
                    continue;
                }
            }
            chain.push(certificate);
        }
    }
    Ok((chain, foreign_roots))
}

/// A root is an authority that names itself as its issuer.
fn is_root(certificate: &CertificateDer<'_>) -> Result<bool, IssueError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| IssueError::Unreadable)?;
    Ok(parsed.is_ca() && parsed.subject().as_raw() == parsed.issuer().as_raw())
}
