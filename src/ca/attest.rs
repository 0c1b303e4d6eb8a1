//! Who asks for a certificate. [`Attested`] is made here only, so nothing can be signed for anybody else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;

use tokio::sync::watch;

use crate::identity::{InvalidLeaf, Leaf, Members, SpiffeId, TrustDomain};
use crate::revocation::{Certificate, RevocationList, Subject};

use super::authority::Authority;
use super::token::{PendingToken, TokenRefused, TokenStore};

/// The control plane's own identity. No token and no certificate gives it to anybody else.
const RESERVED: (&str, &str) = ("hopgate-system", "hopgate-control");

/// What a caller shows to prove who it is.
pub struct Credentials<'a> {
    /// A join token.
    pub token: Option<&'a str>,
    /// The certificates of its TLS connection, leaf first.
    pub certificates: Option<&'a [CertificateDer<'static>]>,
}

/// Proof that a caller is the workload it will be certified as.
#[derive(Debug)]
pub struct Attested {
    id: SpiffeId,
    by: Attestation,
    token: Option<PendingToken>,
}

/// By what a caller proved itself; a field of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attestation {
    /// A join token.
    JoinToken,
    /// Its current certificate.
    Certificate,
    /// Both, naming the same workload.
    Both,
}

/// Why a caller proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum AttestRefused {
    /// Neither token nor certificate.
    #[error("no credentials")]
    NoCredentials,
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenRefused),
    /// The certificate does not chain to this authority, or is not valid now.
    #[error("client certificate not trusted")]
    Certificate(#[source] rustls::Error),
    /// The certificate is no workload's leaf.
    #[error("client certificate is no workload's")]
    Leaf(#[from] InvalidLeaf),
    /// The certificate is of another trust domain, or names no service account.
    #[error("client certificate of another trust domain")]
    Foreign,
    /// Token and certificate name different workloads.
    #[error("token and certificate name different workloads")]
    Disagree,
    /// The control plane's identity is nobody else's.
    #[error("this identity is reserved")]
    Reserved,
    /// The operator trusts it no longer.
    #[error("{0} is revoked")]
    Revoked(Subject),
}

/// Proves callers against one authority.
pub struct Attestor {
    domain: TrustDomain,
    verifier: Arc<dyn ClientCertVerifier>,
    tokens: Arc<TokenStore>,
    revoked: watch::Receiver<Arc<RevocationList>>,
}

/// True for the control plane's own identity.
#[must_use]
pub fn is_reserved(id: &SpiffeId) -> bool {
    id.service_account() == Some(RESERVED)
}

/// The control plane's own identity in `domain`.
pub(super) fn own_identity(
    domain: &TrustDomain,
) -> Result<SpiffeId, crate::identity::InvalidSpiffeId> {
    SpiffeId::for_service_account(domain, RESERVED.0, RESERVED.1)
}

impl Attestation {
    /// As a word of the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JoinToken => "join_token",
            Self::Certificate => "certificate",
            Self::Both => "join_token_and_certificate",
        }
    }
}

impl Attested {
    /// Who the caller is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// By what it proved that.
    #[must_use]
    pub fn by(&self) -> Attestation {
        self.by
    }

    pub(super) fn into_parts(self) -> (SpiffeId, Attestation, Option<PendingToken>) {
        (self.id, self.by, self.token)
    }
}

impl Attestor {
    /// Proves callers against the roots that `authority` trusts at that time and the tokens of `tokens`.
    ///
    /// # Errors
    /// When the roots make no verifier.
    pub fn new(
        authority: &Authority,
        tokens: Arc<TokenStore>,
    ) -> Result<Self, rustls::server::VerifierBuilderError> {
        let verifier = authority.client_verifier()?;
        let (_, revoked) = watch::channel(Arc::default());
        Ok(Self { domain: authority.domain().clone(), verifier, tokens, revoked })
    }

    /// Refuses whoever these lists revoke, as each becomes known.
    #[must_use]
    pub fn refusing(self, revoked: watch::Receiver<Arc<RevocationList>>) -> Self {
        Self { revoked, ..self }
    }

    /// Says who the caller is, or why that is not known. A token is not used up by this.
    ///
    /// # Errors
    /// When a credential is missing, refused, or contradicts the other.
    pub fn attest(
        &self,
        credentials: &Credentials<'_>,
        now: SystemTime,
    ) -> Result<Attested, AttestRefused> {
        let token = credentials
            .token
            .map(|token| self.tokens.look_up(token, &self.domain, now))
            .transpose()?;
        let certified =
            credentials.certificates.map(|chain| self.certified(chain, now)).transpose()?;
        // A token proves the workload by itself, so a certificate beside it may be a revoked one.
        let (id, by, certificate) = match (&token, &certified) {
            (None, None) => return Err(AttestRefused::NoCredentials),
            (Some(token), None) => {
                (token.workload().clone(), Attestation::JoinToken, Certificate::Unneeded)
            }
            (None, Some(leaf)) => {
                let serial = Certificate::Serial(leaf.serial());
                (leaf.id().clone(), Attestation::Certificate, serial)
            }
            (Some(token), Some(leaf)) if token.workload() == leaf.id() => {
                (leaf.id().clone(), Attestation::Both, Certificate::Unneeded)
            }
            (Some(_), Some(_)) => return Err(AttestRefused::Disagree),
        };
        if is_reserved(&id) {
            return Err(AttestRefused::Reserved);
        }
        let revoked = Arc::clone(&self.revoked.borrow());
        let members = Members::of(&self.domain);
        if let Some(entry) = revoked.find(id.as_str(), certificate, members, now) {
            return Err(AttestRefused::Revoked(entry.subject.clone()));
        }
        Ok(Attested { id, by, token })
    }

    /// The handshake verified the chain already; it is verified again, because a connection can be older
    /// than the end of its certificate.
    fn certified(
        &self,
        chain: &[CertificateDer<'static>],
        now: SystemTime,
    ) -> Result<Leaf, AttestRefused> {
        let Some((first, intermediates)) = chain.split_first() else {
            return Err(AttestRefused::NoCredentials);
        };
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.verifier
            .verify_client_cert(first, intermediates, UnixTime::since_unix_epoch(since))
            .map_err(AttestRefused::Certificate)?;
        let leaf = Leaf::parse(first)?;
        if !leaf.id().is_member_of(&self.domain) || leaf.id().service_account().is_none() {
            return Err(AttestRefused::Foreign);
        }
        Ok(leaf)
    }
}
