//! Which proxies are believed, in which header, and what a header says.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::authn::certificate::{MAX_CHAIN, Reading};
use crate::identity::{InvalidLeaf, SpiffeId};
use crate::policy::{HeaderValue, Headers};

use super::refused::ForwardFault;
use super::{Peer, client_cert, xfcc};

const XFCC: &str = "x-forwarded-client-cert";
const CLIENT_CERT: &str = "client-cert";
const CLIENT_CERT_CHAIN: &str = "client-cert-chain";

/// The proxies that are believed about their clients' certificates. Nobody else is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardRules(Vec<ProxyRule>);

/// One proxy that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyRule {
    /// The proxy, as it is proven on the wire.
    pub id: SpiffeId,
    /// The one header it speaks in. It must remove this header from what its own clients send.
    pub header: ForwardHeader,
    /// What a request without the header is.
    pub absent: Absent,
    /// How far its word is believed for workloads.
    pub trust: ForwardTrust,
}

/// The header a proxy speaks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardHeader {
    /// Envoy's `x-forwarded-client-cert`, with `cert: true` and at best `chain: true`.
    Xfcc,
    /// `client-cert` and `client-cert-chain` of RFC 9440.
    ClientCert,
}

/// What a request from a named proxy without its header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// The proxy's own request: the proxy is the peer. Rules that allow the proxy then allow whoever comes to it
    /// without a certificate.
    Proxy,
    /// Refused.
    Refuse,
}

/// How far the word of a proxy is believed for a workload's certificate. Certificates of other clients are always
/// checked against the authority of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardTrust {
    /// The certificate must chain to the mesh's roots, checked here.
    Roots,
    /// The proxy's word is enough: whoever controls the proxy can be any workload of the mesh.
    Proxy,
}

/// Rules that say two things of one proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the proxy {0} is named twice")]
pub struct InvalidForwardRules(pub SpiffeId);

impl ForwardRules {
    /// One rule for each proxy.
    ///
    /// # Errors
    /// When a proxy is named twice.
    pub fn new(rules: Vec<ProxyRule>) -> Result<Self, InvalidForwardRules> {
        for (index, rule) in rules.iter().enumerate() {
            if rules.iter().take(index).any(|earlier| earlier.id == rule.id) {
                return Err(InvalidForwardRules(rule.id.clone()));
            }
        }
        Ok(Self(rules))
    }

    /// Nobody is believed.
    #[must_use]
    pub fn nobody() -> Self {
        Self(Vec::new())
    }

    /// True when nobody is believed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of(&self, id: &SpiffeId) -> Option<&ProxyRule> {
        self.0.iter().find(|rule| rule.id == *id)
    }
}

/// The header values of one request that the rule of its proxy names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Line<'a> {
    Xfcc(&'a [u8]),
    ClientCert { leaf: &'a [u8], chain: Option<&'a [u8]> },
}

impl<'a> Line<'a> {
    /// What is there; nothing if the header is absent.
    pub(super) fn among(
        headers: &'a dyn Headers,
        header: ForwardHeader,
    ) -> Result<Option<Self>, ForwardFault> {
        let value = |name| match headers.value(name) {
            HeaderValue::Absent => Ok(None),
            HeaderValue::One(value) => Ok(Some(value)),
            HeaderValue::Many => Err(ForwardFault::Ambiguous),
        };
        match header {
            ForwardHeader::Xfcc => Ok(value(XFCC)?.map(Self::Xfcc)),
            ForwardHeader::ClientCert => match (value(CLIENT_CERT)?, value(CLIENT_CERT_CHAIN)?) {
                (Some(leaf), chain) => Ok(Some(Self::ClientCert { leaf, chain })),
                (None, None) => Ok(None),
                (None, Some(_)) => Err(ForwardFault::CertificateMissing),
            },
        }
    }

    /// By what it is remembered: no two lines have the same, whatever stands in them.
    pub(super) fn key(self) -> Vec<u8> {
        match self {
            Self::Xfcc(value) => [b"x", value].concat(),
            Self::ClientCert { leaf, chain: None } => [b"l", leaf].concat(),
            Self::ClientCert { leaf, chain: Some(chain) } => {
                [b"c", &leaf.len().to_be_bytes()[..], leaf, chain].concat()
            }
        }
    }
}

/// A forwarded certificate, read and found to agree with what the header says of it. Not believed yet.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) leaf: CertificateDer<'static>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) owner: Owner,
}

/// Whose certificate it is by its own word.
#[derive(Debug)]
pub(super) enum Owner {
    /// One strict SPIFFE ID.
    Workload(Arc<Peer>),
    /// No SPIFFE ID at all.
    Client,
    /// It names a workload, but not as a workload's certificate must.
    Neither(InvalidLeaf),
}

impl Forwarded {
    /// Reads a header.
    pub(super) fn read(line: Line<'_>) -> Result<Self, ForwardFault> {
        let unreadable = ForwardFault::CertificateUnreadable;
        let (leaf, chain, reading) = match line {
            Line::Xfcc(value) => {
                let element = xfcc::Element::parse(value)?;
                let leaf = element.leaf()?;
                let reading = Reading::of(&leaf).ok_or(unreadable)?;
                element.agrees_with(&leaf, &reading)?;
                let chain = element.chain(&leaf)?;
                (leaf, chain, reading)
            }
            Line::ClientCert { leaf, chain } => {
                let leaf = client_cert::item(leaf)?;
                let reading = Reading::of(&leaf).ok_or(unreadable)?;
                (leaf, chain.map(client_cert::list).transpose()?.unwrap_or_default(), reading)
            }
        };
        let readable = chain.iter().all(|certificate| Reading::of(certificate).is_some());
        if chain.len() > MAX_CHAIN || !readable {
            return Err(unreadable);
        }
        let owner = match Peer::from_der(leaf.clone()) {
            Ok(peer) => Owner::Workload(Arc::new(peer)),
            Err(invalid) if reading.names_a_workload() => Owner::Neither(invalid),
            Err(_) => Owner::Client,
        };
        Ok(Self { leaf, chain, owner })
    }
}
