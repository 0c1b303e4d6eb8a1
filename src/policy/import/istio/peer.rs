//! `principals`, `namespaces` and `serviceAccounts`: workloads on the wire.

use super::super::bound::Bound;
use super::super::cel::literal;
use super::text::Text;
use crate::identity::{SpiffeId, TrustDomain};

/// Some workloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    /// Every workload with a certificate.
    Any,
    /// One service account.
    Account { domain: Domain, namespace: String, account: String },
    /// All service accounts of a namespace.
    Namespace { domain: Domain, namespace: String },
    /// All workloads of a trust domain.
    Everybody(Domain),
    /// Those whose ID, without its scheme, begins so.
    Prefix(String),
    /// Those whose ID ends so.
    Suffix(String),
}

/// The trust domain of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Domain {
    Own,
    Any,
    Named(String),
}

impl Domain {
    fn parse(text: &str, own: &str) -> Self {
        match text {
            "cluster.local" => Self::Own,
            text if text == own => Self::Own,
            other => Self::Named(other.to_owned()),
        }
    }

    fn name<'a>(&'a self, own: &'a str) -> Option<&'a str> {
        match self {
            Self::Own => Some(own),
            Self::Named(name) => Some(name),
            Self::Any => None,
        }
    }
}

/// Any peer. Not `true`: where there is none this has no answer, and so has not what is made of it.
const ANY: &str = "peer.id != \"\"";

impl Peer {
    /// A principal: an ID without its scheme, or part of one with a star.
    pub(super) fn principal(text: &str, own: &str) -> Option<Self> {
        match Text::parse(text) {
            Text::Present => Some(Self::Any),
            Text::Exactly(text) => Self::exact(text, own),
            Text::Suffix(rest) => match rest.split('/').collect::<Vec<_>>().as_slice() {
                ["", "ns", namespace, "sa", account] => Some(Self::Account {
                    domain: Domain::Any,
                    namespace: (*namespace).to_owned(),
                    account: (*account).to_owned(),
                }),
                _ => Some(Self::Suffix(rest.to_owned())),
            },
            Text::Prefix(rest) => {
                let (domain, path) = rest.split_once('/')?;
                let domain = Domain::parse(domain, own);
                match path.split('/').collect::<Vec<_>>().as_slice() {
                    [""] => Some(Self::Everybody(domain)),
                    ["ns", namespace, ""] | ["ns", namespace, "sa", ""] => {
                        Some(Self::Namespace { domain, namespace: (*namespace).to_owned() })
                    }
                    _ => Some(Self::Prefix(format!("{}/{path}", domain.name(own)?))),
                }
            }
        }
    }

    fn exact(text: &str, own: &str) -> Option<Self> {
        let id = SpiffeId::parse(&format!("spiffe://{text}")).ok()?;
        // Every identity there has a service account; another ID never matched anything.
        let (namespace, account) = id.service_account()?;
        let (domain, _) = text.split_once('/')?;
        Some(Self::Account {
            domain: Domain::parse(domain, own),
            namespace: namespace.to_owned(),
            account: account.to_owned(),
        })
    }

    /// A namespace, whatever the trust domain. Nothing for part of a name with a star.
    pub(super) fn namespace(text: &str) -> Option<Self> {
        match Text::parse(text) {
            Text::Present => Some(Self::Any),
            Text::Exactly(text) => {
                Some(Self::Namespace { domain: Domain::Any, namespace: text.to_owned() })
            }
            Text::Prefix(_) | Text::Suffix(_) => None,
        }
    }

    /// `<namespace>/<account>`, or an account of the policy's own namespace.
    pub(super) fn service_account(text: &str, own_namespace: &str) -> Option<Self> {
        let (namespace, account) = text.split_once('/').unwrap_or((own_namespace, text));
        let named = |text: &str| (!text.is_empty() && !text.contains('*')).then(|| text.to_owned());
        Some(Self::Account {
            domain: Domain::Any,
            namespace: named(namespace)?,
            account: named(account)?,
        })
    }

    /// As a member of `peers`, where one stays on the right side.
    pub(super) fn typed(&self, bound: Bound, own: &str) -> Option<String> {
        let here = |domain: &Domain| match (domain, bound) {
            (Domain::Own, _) | (Domain::Any, Bound::Inside) => true,
            (Domain::Any, Bound::Around) | (Domain::Named(_), _) => false,
        };
        match self {
            Self::Any => Some("*".to_owned()),
            Self::Account { domain: Domain::Named(domain), namespace, account } => {
                let domain = TrustDomain::parse(domain).ok()?;
                let id = SpiffeId::for_service_account(&domain, namespace, account).ok()?;
                Some(id.as_str().to_owned())
            }
            Self::Account { domain, namespace, account } => {
                here(domain).then(|| format!("ns/{namespace}/sa/{account}"))
            }
            Self::Namespace { domain, namespace } => {
                here(domain).then(|| format!("ns/{namespace}"))
            }
            Self::Everybody(domain) => Some(format!("spiffe://{}", domain.name(own)?)),
            Self::Prefix(_) | Self::Suffix(_) => None,
        }
    }

    /// True where [`Self::typed`] leaves out other trust domains.
    pub(super) fn is_of_any_domain(&self) -> bool {
        matches!(
            self,
            Self::Account { domain: Domain::Any, .. } | Self::Namespace { domain: Domain::Any, .. }
        )
    }

    /// As a condition over `peer`, exactly.
    pub(super) fn condition(&self, own: &str) -> String {
        let within = |domain: &Domain, names: String| match domain.name(own) {
            Some(domain) => {
                format!("(peer.trustDomain == {} && {names})", literal(domain))
            }
            None => format!("({names})"),
        };
        match self {
            Self::Any => ANY.to_owned(),
            Self::Account { domain, namespace, account } => within(
                domain,
                format!(
                    "has(peer.namespace) && peer.namespace == {} && peer.serviceAccount == {}",
                    literal(namespace),
                    literal(account)
                ),
            ),
            Self::Namespace { domain, namespace } => within(
                domain,
                format!("has(peer.namespace) && peer.namespace == {}", literal(namespace)),
            ),
            Self::Everybody(domain) => match domain.name(own) {
                Some(domain) => format!("peer.trustDomain == {}", literal(domain)),
                None => ANY.to_owned(),
            },
            Self::Prefix(text) => {
                format!("peer.id.startsWith({})", literal(&format!("spiffe://{text}")))
            }
            Self::Suffix(text) => format!("peer.id.endsWith({})", literal(text)),
        }
    }
}
