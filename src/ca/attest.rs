//! Who asks for a certificate. [`Attested`] is made here only, so nothing can be signed for anybody else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;

use tokio::sync::watch;

use crate::identity::{InvalidLeaf, Leaf, Members, SpiffeId, TrustDomain};
use crate::revocation::{Certificate, RevocationList, Subject};

use super::any_authority::{AnyAuthority, is_unknown_issuer};
use super::authority::Authority;
use super::dns_names::DnsNames;
use super::service_account::{ServiceAccountRefused, TokenFacts, judge};
use super::token::{PendingToken, TokenRefused, TokenStore};
use super::x509_proof::{ForeignAuthority, X509Refused};

mod holder;

pub use holder::Holder;

/// What a caller shows to prove who it is.
pub struct Credentials<'a> {
    /// The token that it sent.
    pub token: Option<Token<'a>>,
    /// The certificates of its TLS connection, leaf first.
    pub certificates: Option<&'a [CertificateDer<'static>]>,
}

/// A token of one of two kinds. Which one it is, its form says; none is ever tried as the other.
#[derive(Clone, Copy)]
pub enum Token<'a> {
    /// A join token.
    Join(&'a str),
    /// A Kubernetes service-account token: what was learned of it.
    ServiceAccount(&'a TokenFacts),
}

/// Proof that a caller is the workload it will be certified as.
#[derive(Debug)]
pub struct Attested {
    id: SpiffeId,
    dns_names: Vec<String>,
    by: Attestation,
    token: Option<PendingToken>,
}

/// By what a caller proved itself; a field of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attestation {
    /// A join token.
    JoinToken,
    /// A Kubernetes service-account token and its live pod.
    ServiceAccount,
    /// Its current certificate.
    Certificate,
    /// A certificate of a foreign authority.
    ForeignCertificate,
    /// A token and a certificate that name the same workload.
    Both,
}

/// Why a caller proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum AttestRefused {
    /// Neither token nor certificate.
    #[error("no credentials")]
    NoCredentials,
    /// No certificate, where nothing else counts.
    #[error("no client certificate")]
    NoCertificate,
    /// A foreign authority's certificate, where only one of this authority counts.
    #[error("client certificate of a foreign authority")]
    ForeignAuthority,
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenRefused),
    /// The service-account token is refused.
    #[error(transparent)]
    ServiceAccount(#[from] ServiceAccountRefused),
    /// The certificate of a foreign authority is refused.
    #[error(transparent)]
    X509(#[from] X509Refused),
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
    /// Of service-account tokens; without one none is taken.
    audience: Option<String>,
    foreign: Vec<ForeignAuthority>,
    dns_names: DnsNames,
}

/// True for the control plane's own identity. No token and no certificate gives it to anybody else.
#[must_use]
pub fn is_reserved(id: &SpiffeId) -> bool {
    id.is_control_plane()
}

impl Attestation {
    /// As a word of the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JoinToken => "join_token",
            Self::ServiceAccount => "service_account",
            Self::Certificate => "certificate",
            Self::ForeignCertificate => "foreign_certificate",
            Self::Both => "token_and_certificate",
        }
    }
}

impl Attested {
    /// Who the caller is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The DNS names that its certificate carries.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
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
        Ok(Self {
            domain: authority.domain().clone(),
            verifier,
            tokens,
            revoked,
            audience: None,
            foreign: Vec::new(),
            dns_names: DnsNames::default(),
        })
    }

    /// Refuses whoever these lists revoke, as each becomes known.
    #[must_use]
    pub fn refusing(self, revoked: watch::Receiver<Arc<RevocationList>>) -> Self {
        Self { revoked, ..self }
    }

    /// Takes Kubernetes service-account tokens, too, if they are good for `audience`.
    #[must_use]
    pub fn with_service_accounts(mut self, audience: &str) -> Self {
        self.audience = Some(audience.to_owned());
        self
    }

    /// Takes certificates of foreign authorities, too.
    #[must_use]
    pub fn with_foreign(mut self, foreign: Vec<ForeignAuthority>) -> Self {
        self.foreign = foreign;
        self
    }

    /// Gives workloads DNS names beside their SPIFFE IDs.
    #[must_use]
    pub fn with_dns_names(mut self, names: DnsNames) -> Self {
        self.dns_names = names;
        self
    }

    /// Which client certificates a handshake may let in.
    #[must_use]
    pub fn client_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let foreign = self.foreign.iter().map(|authority| Arc::clone(authority.verifier()));
        Arc::new(AnyAuthority { own: Arc::clone(&self.verifier), foreign: foreign.collect() })
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
        let token = credentials.token.map(|token| self.told(token, now)).transpose()?;
        let certified =
            credentials.certificates.map(|chain| self.certified(chain, now)).transpose()?;
        // A token proves the workload by itself, so a certificate beside it may be a revoked one.
        let (id, by, certificate) = match (&token, &certified) {
            (None, None) => return Err(AttestRefused::NoCredentials),
            (Some(token), None) => {
                (token.workload().clone(), token.attestation(), Certificate::Unneeded)
            }
            (None, Some(Certified::Own(leaf))) => {
                let serial = Certificate::Serial(leaf.serial());
                (leaf.id().clone(), Attestation::Certificate, serial)
            }
            // Its serial number is one of somebody else's.
            (None, Some(Certified::Foreign(id))) => {
                (id.clone(), Attestation::ForeignCertificate, Certificate::Unneeded)
            }
            (Some(token), Some(certified)) if token.workload() == certified.id() => {
                (certified.id().clone(), Attestation::Both, Certificate::Unneeded)
            }
            (Some(_), Some(_)) => return Err(AttestRefused::Disagree),
        };
        self.not_withheld(&id, certificate, now)?;
        let dns_names = self.dns_names.of(&id).to_vec();
        Ok(Attested { id, dns_names, by, token: token.and_then(Told::pending) })
    }

    /// Refuses the identity that nobody gets, and those that the operator took back.
    fn not_withheld(
        &self,
        id: &SpiffeId,
        certificate: Certificate<'_>,
        now: SystemTime,
    ) -> Result<(), AttestRefused> {
        if is_reserved(id) {
            return Err(AttestRefused::Reserved);
        }
        let revoked = Arc::clone(&self.revoked.borrow());
        match revoked.find(id.as_str(), certificate, Members::of(&self.domain), now) {
            Some(entry) => Err(AttestRefused::Revoked(entry.subject.clone())),
            None => Ok(()),
        }
    }

    fn told(&self, token: Token<'_>, now: SystemTime) -> Result<Told, AttestRefused> {
        match token {
            Token::Join(text) => Ok(Told::Join(self.tokens.look_up(text, &self.domain, now)?)),
            Token::ServiceAccount(facts) => {
                let audience = self.audience.as_ref().ok_or(ServiceAccountRefused::NotTaken)?;
                Ok(Told::ServiceAccount(judge(facts, audience, &self.domain)?))
            }
        }
    }

    /// The handshake verified the chain already; it is verified again, because a connection can be older
    /// than the end of its certificate.
    fn certified(
        &self,
        chain: &[CertificateDer<'static>],
        now: SystemTime,
    ) -> Result<Certified, AttestRefused> {
        let Some((first, intermediates)) = chain.split_first() else {
            return Err(AttestRefused::NoCredentials);
        };
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let time = UnixTime::since_unix_epoch(since);
        match self.verifier.verify_client_cert(first, intermediates, time) {
            Ok(_) => {}
            Err(error) if is_unknown_issuer(&error) => {
                for authority in &self.foreign {
                    if let Some(id) = authority.certified((first, intermediates), now)? {
                        return Ok(Certified::Foreign(id));
                    }
                }
                return Err(AttestRefused::Certificate(error));
            }
            Err(error) => return Err(AttestRefused::Certificate(error)),
        }
        let leaf = Leaf::parse(first)?;
        if !leaf.id().is_member_of(&self.domain) || leaf.id().service_account().is_none() {
            return Err(AttestRefused::Foreign);
        }
        Ok(Certified::Own(leaf))
    }
}

/// What a good certificate says.
enum Certified {
    Own(Leaf),
    Foreign(SpiffeId),
}

impl Certified {
    fn id(&self) -> &SpiffeId {
        match self {
            Self::Own(leaf) => leaf.id(),
            Self::Foreign(id) => id,
        }
    }
}

/// What a good token says.
enum Told {
    Join(PendingToken),
    ServiceAccount(SpiffeId),
}

impl Told {
    fn workload(&self) -> &SpiffeId {
        match self {
            Self::Join(token) => token.workload(),
            Self::ServiceAccount(id) => id,
        }
    }

    fn attestation(&self) -> Attestation {
        match self {
            Self::Join(_) => Attestation::JoinToken,
            Self::ServiceAccount(_) => Attestation::ServiceAccount,
        }
    }

    /// What must be used up before a certificate is handed out.
    fn pending(self) -> Option<PendingToken> {
        match self {
            Self::Join(token) => Some(token),
            Self::ServiceAccount(_) => None,
        }
    }
}
