//! Who is on the wire: a workload, a workload or client that a named proxy speaks for, or a client of a provider.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use crate::authn::certificate::{ClientAuthorities, MAX_CHAIN, ProvenClient, Reading};
use crate::authn::evidence::PeerEvidence;
use crate::authn::recent::Recent;
use crate::identity::Members;
use crate::policy::Headers;

use super::forward::{
    Absent, ForwardHeader, ForwardRules, ForwardTrust, Forwarded, Line, Owner, ProxyRule,
};
use super::pem;
use super::refused::{ForwardFault, PeerRefused};
use super::xfcc::Element;
use super::{Peer, WorkloadRoots};

/// Places in each table, and the longest text it remembers. A header may carry a whole chain.
const RECENT: usize = 256;
const LONGEST: usize = 4 * 1024;
const LONGEST_HEADER: usize = 16 * 1024;

/// Everything a request brings about who is on the wire.
#[derive(Clone, Copy)]
pub struct WireEvidence<'a> {
    /// What Envoy saw of the connection.
    pub peer: PeerEvidence<'a>,
    /// The headers; they are believed only if the peer is a named proxy. Nothing on a bare connection.
    pub headers: Option<&'a dyn Headers>,
}

/// What a request's evidence is judged by.
#[derive(Clone, Copy)]
pub struct WireRules<'a> {
    /// Who belongs to this mesh.
    pub members: Members<'a>,
    /// The proxies that are believed about their clients.
    pub forward: &'a ForwardRules,
    /// The roots of the mesh and of those it federates with; without them forwarded workload certificates are refused
    /// unless the rule of the proxy says otherwise.
    pub roots: Option<&'a WorkloadRoots>,
    /// The authorities of X.509 clients.
    pub clients: &'a ClientAuthorities,
}

/// Who is proven to be on the wire.
#[derive(Debug, Clone)]
pub struct OnTheWire {
    /// Who calls.
    pub caller: Caller,
    /// The named proxy that spoke for the caller; nothing when the caller itself holds the connection.
    pub via: Option<Arc<Peer>>,
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A workload of the mesh, or of one that it federates with.
    Workload(Arc<Peer>),
    /// An X.509 client that a provider knows.
    Client(ProvenClient),
}

/// What was read of peers a moment ago. Each is judged anew at every use.
pub(in crate::authn) struct Peers {
    workloads: Recent<Arc<Peer>>,
    /// Certificates on the wire that are of no workload.
    others: Recent<Arc<Other>>,
    forwarded: Recent<Arc<Forwarded>>,
}

/// A certificate on the wire that names no workload.
struct Other {
    leaf: CertificateDer<'static>,
    /// What Envoy makes the principal of; nothing where that is the whole subject, whose text is not compared.
    principal: Option<String>,
}

impl Peers {
    pub(in crate::authn) fn new() -> Self {
        Self {
            workloads: Recent::new(RECENT, LONGEST),
            others: Recent::new(RECENT, LONGEST),
            forwarded: Recent::new(RECENT, LONGEST_HEADER),
        }
    }

    /// The strict way: this certificate, with this principal, of a workload of this mesh.
    pub(in crate::authn) fn workload(
        &self,
        peer: PeerEvidence<'_>,
        members: Members<'_>,
        now: SystemTime,
    ) -> Result<Arc<Peer>, PeerRefused> {
        let PeerEvidence { principal, certificate } = peer;
        if principal.is_empty() {
            return Err(PeerRefused::PrincipalMissing);
        }
        if certificate.is_empty() {
            return Err(PeerRefused::CertificateMissing);
        }
        if let Some(peer) = self.workloads.find(certificate.as_bytes()) {
            peer.judge(principal, members, now)?;
            return Ok(peer);
        }
        let peer = Arc::new(Peer::read(certificate)?);
        peer.judge(principal, members, now)?;
        self.workloads.put(certificate.as_bytes(), Arc::clone(&peer));
        Ok(peer)
    }

    /// Whoever is on the wire; nobody without any evidence.
    pub(in crate::authn) fn on_the_wire(
        &self,
        evidence: &WireEvidence<'_>,
        rules: &WireRules<'_>,
        now: SystemTime,
    ) -> Result<Option<OnTheWire>, PeerRefused> {
        let peer = evidence.peer;
        // Whatever headers say: without a certificate on the wire there is no proxy to believe.
        if peer.principal.is_empty() && peer.certificate.is_empty() {
            return Ok(None);
        }
        if !rules.clients.is_empty()
            && let Some(other) = self.others.find(peer.certificate.as_bytes())
        {
            return client(peer, &other, rules, now).map(Some);
        }
        match self.workload(peer, rules.members, now) {
            Ok(workload) => {
                of_the_mesh(&workload, evidence, rules, now)?;
                match rules.forward.of(workload.id()) {
                    None => Ok(Some(OnTheWire { caller: Caller::Workload(workload), via: None })),
                    Some(rule) => {
                        self.spoken_for(workload, (rule, evidence.headers), rules, now).map(Some)
                    }
                }
            }
            // It may still be a client of a provider, unless it pretends to be a workload.
            Err(PeerRefused::CertificateInvalid(invalid)) if !rules.clients.is_empty() => {
                let other = other(peer.certificate).filter(|(_, claims)| *claims == Claims::Client);
                let (other, _) = other.ok_or(PeerRefused::CertificateInvalid(invalid))?;
                let client = client(peer, &other, rules, now)?;
                self.others.put(peer.certificate.as_bytes(), Arc::new(other));
                Ok(Some(client))
            }
            Err(refused @ PeerRefused::ForeignTrustDomain(_)) => {
                self.foreign(evidence, rules, now, refused).map(Some)
            }
            Err(refused) => Err(refused),
        }
    }

    /// A workload of another mesh: by the roots of the trust domain that it names, if this mesh federates with it. It
    /// speaks for itself alone. Else it may be a client here, if a provider's authority says so.
    fn foreign(
        &self,
        evidence: &WireEvidence<'_>,
        rules: &WireRules<'_>,
        now: SystemTime,
        refused: PeerRefused,
    ) -> Result<OnTheWire, PeerRefused> {
        let peer = evidence.peer;
        let proven = match rules.roots {
            None => Err(refused),
            Some(roots) => {
                let workload = match self.workloads.find(peer.certificate.as_bytes()) {
                    Some(workload) => workload,
                    None => Arc::new(Peer::read(peer.certificate)?),
                };
                if roots.know(workload.id(), rules.members) {
                    let hints = || hints(evidence, &workload);
                    workload
                        .judge_foreign(peer.principal, now)
                        .and_then(|()| {
                            roots
                                .prove(&workload, (&[], &hints), (rules.members, now))
                                .map_err(PeerRefused::ForeignUntrusted)
                        })
                        .map(|()| workload)
                } else {
                    Err(refused)
                }
            }
        };
        match proven {
            Ok(workload) => {
                self.workloads.put(peer.certificate.as_bytes(), Arc::clone(&workload));
                Ok(OnTheWire { caller: Caller::Workload(workload), via: None })
            }
            Err(_) if !rules.clients.is_empty() => {
                let unreadable = PeerRefused::CertificateUnreadable;
                let (other, _) = other(peer.certificate).ok_or(unreadable)?;
                client(peer, &other, rules, now)
            }
            Err(refused) => Err(refused),
        }
    }

    /// Whoever a named proxy speaks for.
    fn spoken_for(
        &self,
        proxy: Arc<Peer>,
        (rule, headers): (&ProxyRule, Option<&dyn Headers>),
        rules: &WireRules<'_>,
        now: SystemTime,
    ) -> Result<OnTheWire, PeerRefused> {
        let line = match headers {
            Some(headers) => Line::among(headers, rule.header).map_err(PeerRefused::Forwarded)?,
            None => None,
        };
        let Some(line) = line else {
            return match rule.absent {
                Absent::Proxy => Ok(OnTheWire { caller: Caller::Workload(proxy), via: None }),
                Absent::Refuse => Err(PeerRefused::ForwardedAbsent),
            };
        };
        let key = line.key();
        let known = self.forwarded.find(&key);
        let forwarded = match &known {
            Some(known) => Arc::clone(known),
            None => Arc::new(Forwarded::read(line).map_err(PeerRefused::Forwarded)?),
        };
        if forwarded.leaf == proxy.der {
            return Err(PeerRefused::Forwarded(ForwardFault::OwnCertificate));
        }
        let caller = judge(&forwarded, rule.trust, rules, now)?;
        if known.is_none() {
            self.forwarded.put(&key, forwarded);
        }
        Ok(OnTheWire { caller, via: Some(proxy) })
    }
}

/// What a forwarded certificate is worth now.
fn judge(
    forwarded: &Forwarded,
    trust: ForwardTrust,
    rules: &WireRules<'_>,
    now: SystemTime,
) -> Result<Caller, PeerRefused> {
    let client = || rules.clients.prove(&forwarded.leaf, &forwarded.chain, now).map(Caller::Client);
    match &forwarded.owner {
        Owner::Neither(invalid) => Err(PeerRefused::CertificateInvalid(invalid.clone())),
        Owner::Client => Ok(client()?),
        Owner::Workload(peer) => match peer.judge_in(rules.members, now) {
            // The word of a proxy is enough for workloads of the mesh only: of another they are proven, always.
            Err(PeerRefused::ForeignTrustDomain(_))
                if rules.roots.is_some_and(|roots| roots.know(peer.id(), rules.members)) =>
            {
                let roots = rules.roots.ok_or(PeerRefused::ForwardedUnverifiable)?;
                peer.judge_dates(now)?;
                roots
                    .prove(peer, (&forwarded.chain, &Vec::new), (rules.members, now))
                    .map_err(PeerRefused::ForwardedUntrusted)?;
                Ok(Caller::Workload(Arc::clone(peer)))
            }
            // A workload of another mesh may be a client here, if a provider's authority says so.
            Err(PeerRefused::ForeignTrustDomain(_)) if !rules.clients.is_empty() => Ok(client()?),
            Err(refused) => Err(refused),
            Ok(()) => {
                match (trust, rules.roots) {
                    (ForwardTrust::Proxy, _) => {
                        let (leaf, chain) = (&forwarded.leaf, &forwarded.chain);
                        if let Some(provider) = rules.clients.maker(leaf, chain, now) {
                            return Err(PeerRefused::WorkloadOfProvider(Arc::clone(provider)));
                        }
                    }
                    (ForwardTrust::Roots, None) => return Err(PeerRefused::ForwardedUnverifiable),
                    (ForwardTrust::Roots, Some(roots)) => roots
                        .prove(peer, (&forwarded.chain, &Vec::new), (rules.members, now))
                        .map_err(PeerRefused::ForwardedUntrusted)?,
                }
                Ok(Caller::Workload(Arc::clone(peer)))
            }
        },
    }
}

/// Envoy accepts a certificate by any authority that it is told to trust. Once those of providers or of other meshes are
/// among them, a workload is one only by the roots of the mesh: nobody else makes workloads of ours.
fn of_the_mesh(
    workload: &Peer,
    evidence: &WireEvidence<'_>,
    rules: &WireRules<'_>,
    now: SystemTime,
) -> Result<(), PeerRefused> {
    let federated = rules.roots.is_some_and(WorkloadRoots::are_federated);
    if rules.clients.is_empty() && !federated {
        return Ok(());
    }
    let roots = rules.roots.ok_or(PeerRefused::WorkloadUnverifiable)?;
    let hints = || hints(evidence, workload);
    roots
        .prove(workload, (&[], &hints), (rules.members, now))
        .map_err(PeerRefused::WorkloadUntrusted)
}

/// The authorities that stand in the chain of `x-forwarded-client-cert`, where that is about this very certificate. Envoy
/// tells the gate only the leaf, and writes the chain there if it is told to (`chain: true`). Whoever wrote it proves
/// nothing by it: each signature on the way to a root is checked.
fn hints(evidence: &WireEvidence<'_>, workload: &Peer) -> Vec<CertificateDer<'static>> {
    let Some(headers) = evidence.headers else { return Vec::new() };
    let Ok(Some(Line::Xfcc(value))) = Line::among(headers, ForwardHeader::Xfcc) else {
        return Vec::new();
    };
    let chain = Element::parse(value).and_then(|element| element.chain(&workload.der));
    chain.ok().filter(|chain| chain.len() <= MAX_CHAIN).unwrap_or_default()
}

/// A client of a provider that holds the connection itself.
fn client(
    peer: PeerEvidence<'_>,
    other: &Other,
    rules: &WireRules<'_>,
    now: SystemTime,
) -> Result<OnTheWire, PeerRefused> {
    if peer.principal.is_empty() {
        return Err(PeerRefused::PrincipalMissing);
    }
    if other.principal.as_deref().is_some_and(|expected| expected != peer.principal) {
        return Err(PeerRefused::PrincipalMismatch);
    }
    let client = rules.clients.prove(&other.leaf, &[], now)?;
    Ok(OnTheWire { caller: Caller::Client(client), via: None })
}

/// What a certificate of no workload of this mesh claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claims {
    Client,
    Workload,
}

fn other(certificate: &str) -> Option<(Other, Claims)> {
    let leaf = pem::one(certificate)?;
    let reading = Reading::of(&leaf)?;
    let claims = if reading.names_a_workload() { Claims::Workload } else { Claims::Client };
    let principal = reading.uris.into_iter().chain(reading.dns_names).next();
    Some((Other { leaf, principal }, claims))
}

impl OnTheWire {
    /// The workload of the mesh that calls; nothing when it is another client.
    #[must_use]
    pub fn workload(&self) -> Option<&Arc<Peer>> {
        match &self.caller {
            Caller::Workload(peer) => Some(peer),
            Caller::Client(_) => None,
        }
    }

    /// SHA-256 of the caller's certificate, for tokens that are bound to it (RFC 8705).
    #[must_use]
    pub fn thumbprint(&self) -> &[u8; 32] {
        match &self.caller {
            Caller::Workload(peer) => peer.thumbprint(),
            Caller::Client(proven) => proven.client.thumbprint(),
        }
    }
}

impl fmt::Debug for WireEvidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireEvidence").field("peer", &self.peer).finish_non_exhaustive()
    }
}
