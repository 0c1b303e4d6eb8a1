//! Which workloads on the wire a rule is for.

use crate::identity::{SpiffeId, TrustDomain};
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list};

/// A workload on the wire, or the absence of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerPattern {
    /// Any workload with a verified certificate: `*`.
    Any,
    /// No verified workload, such as a caller without a certificate: `none`.
    Nobody,
    /// `ns/<namespace>/sa/<service account>` of the mesh's own trust domain.
    ServiceAccount {
        /// The namespace.
        namespace: String,
        /// The service account.
        account: String,
    },
    /// `ns/<namespace>`: every service account of a namespace of the mesh's own trust domain.
    Namespace(String),
    /// `spiffe://<trust domain>`: every workload of that trust domain.
    TrustDomain(TrustDomain),
    /// Exactly this SPIFFE ID.
    Id(SpiffeId),
}

/// The patterns of one rule with the trust domains of the mesh filled in.
#[derive(Debug, Clone)]
pub(in crate::policy) enum Peers {
    /// Whoever it is, and nobody too.
    Unrestricted,
    /// One of these.
    Of(Vec<PeerKind>),
}

/// A pattern that needs nothing but the peer to be compared with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::policy) enum PeerKind {
    Any,
    Nobody,
    Id(String),
    Namespace { domain: String, namespace: String },
    Domain(String),
}

impl PeerPattern {
    pub(super) fn check_all(raw: Vec<String>, at: &FieldPath) -> Checked<Vec<Self>> {
        check_list(raw, at)?
            .iter()
            .enumerate()
            .map(|(place, text)| Self::check(text, at.item(place)))
            .collect()
    }

    fn check(text: &str, at: FieldPath) -> Checked<Self> {
        match text {
            "*" => return Ok(Self::Any),
            "none" => return Ok(Self::Nobody),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("spiffe://") {
            return if rest.contains('/') {
                SpiffeId::parse(text).map(Self::Id).map_err(|error| {
                    Problem::new(at, format!("`{text}` is no SPIFFE ID: it {error}"))
                })
            } else {
                TrustDomain::parse(rest).map(Self::TrustDomain).map_err(|error| {
                    Problem::new(at, format!("`{text}` is no trust domain: it {error}"))
                })
            };
        }
        let mut parts = text.split('/');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        let (namespace, account) = match parts {
            [Some("ns"), Some(namespace), None, ..] => (namespace, None),
            [Some("ns"), Some(namespace), Some("sa"), Some(account), None] => {
                (namespace, Some(account))
            }
            _ => {
                return Err(Problem::new(at, format!("`{text}` is no peer")).hint(
                    "write ns/<namespace>/sa/<service account>, ns/<namespace>, a full spiffe:// ID, \
                     spiffe://<trust domain>, \"*\" for any workload or \"none\" for no workload",
                ));
            }
        };
        // Which domain it is makes no difference to the shape.
        let probe = TrustDomain::parse("probe").and_then(|domain| {
            SpiffeId::for_service_account(&domain, namespace, account.unwrap_or("any"))
        });
        match (probe, account) {
            (Ok(_), Some(account)) => Ok(Self::ServiceAccount {
                namespace: namespace.to_owned(),
                account: account.to_owned(),
            }),
            (Ok(_), None) => Ok(Self::Namespace(namespace.to_owned())),
            (Err(error), _) => Err(Problem::new(at, format!("`{text}` is no peer: it {error}"))
                .hint("no part of it can be a pattern")),
        }
    }
}

impl Peers {
    /// Fills in the trust domains that count as the mesh's own.
    ///
    /// # Errors
    /// When a name does not fit into a SPIFFE ID of one of the domains, which are of different lengths.
    pub(in crate::policy) fn of(
        patterns: Option<&[PeerPattern]>,
        own: &[TrustDomain],
    ) -> Result<Self, Problem> {
        let Some(patterns) = patterns else { return Ok(Self::Unrestricted) };
        let mut kinds = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            match pattern {
                PeerPattern::Any => kinds.push(PeerKind::Any),
                PeerPattern::Nobody => kinds.push(PeerKind::Nobody),
                PeerPattern::Id(id) => kinds.push(PeerKind::Id(id.as_str().to_owned())),
                PeerPattern::TrustDomain(domain) => {
                    kinds.push(PeerKind::Domain(domain.as_str().to_owned()));
                }
                PeerPattern::Namespace(namespace) => {
                    kinds.extend(own.iter().map(|domain| PeerKind::Namespace {
                        domain: domain.as_str().to_owned(),
                        namespace: namespace.clone(),
                    }));
                }
                PeerPattern::ServiceAccount { namespace, account } => {
                    for domain in own {
                        let id = SpiffeId::for_service_account(domain, namespace, account)
                            .map_err(|error| {
                                let message = format!("the peer {namespace}/{account} {error}");
                                Problem::new(FieldPath::root(), message)
                            })?;
                        kinds.push(PeerKind::Id(id.as_str().to_owned()));
                    }
                }
            }
        }
        kinds.sort();
        kinds.dedup();
        Ok(Self::Of(kinds))
    }

    /// True when the peer, or its absence, is one of them.
    pub(in crate::policy) fn has(&self, peer: Option<&SpiffeId>) -> bool {
        match self {
            Self::Unrestricted => true,
            Self::Of(kinds) => kinds.iter().any(|kind| kind.is(peer)),
        }
    }
}

impl PeerKind {
    fn is(&self, peer: Option<&SpiffeId>) -> bool {
        let Some(peer) = peer else { return *self == Self::Nobody };
        match self {
            Self::Any => true,
            Self::Nobody => false,
            Self::Id(id) => id == peer.as_str(),
            Self::Domain(domain) => domain == peer.trust_domain().as_str(),
            Self::Namespace { domain, namespace } => {
                domain == peer.trust_domain().as_str()
                    && peer.service_account().is_some_and(|(of, _)| of == namespace)
            }
        }
    }
}
