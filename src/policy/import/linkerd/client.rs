//! Who may call: `MeshTLSAuthentication`, `NetworkAuthentication`, and the client of a `ServerAuthorization`.

use super::super::bound::Difference;
use super::super::document::Foreign;
use super::super::note::Notes;
use super::super::out::Matcher;
use super::super::{ImportError, wrong};
use super::raw::{
    RawAccount, RawClient, RawClientTls, RawMeshTls, RawNetwork, RawNetworks, RawRef,
};
use crate::identity::SpiffeId;

/// Every way to prove who calls, by kind and name.
pub(super) struct Clients {
    known: Vec<(Key, Matcher)>,
}

/// Kind, namespace, name.
type Key = (String, String, String);

impl Clients {
    pub(super) fn read(documents: &[&Foreign], notes: &mut Notes) -> Result<Self, ImportError> {
        let mut known = Vec::new();
        for document in documents {
            let matcher = match document.kind.as_str() {
                "MeshTLSAuthentication" => mesh_tls(document, notes)?,
                "NetworkAuthentication" => {
                    let RawNetworks { networks } = document.spec()?;
                    Some(ranges(document, &networks)?)
                }
                _ => continue,
            };
            let key = (document.kind.clone(), document.namespace.clone(), document.name.clone());
            known.extend(matcher.map(|matcher| (key, matcher)));
        }
        Ok(Self { known })
    }

    /// Whoever fits all of them; nothing where one has no translation.
    pub(super) fn all(
        &self,
        document: &Foreign,
        refs: &[RawRef],
        notes: &mut Notes,
    ) -> Option<Matcher> {
        let mut all = Matcher::default();
        for RawRef { kind, name, namespace, .. } in refs {
            let namespace = namespace.clone().unwrap_or_else(|| document.namespace.clone());
            let one = match kind.as_str() {
                "ServiceAccount" => Some(Matcher {
                    peers: Some(vec![format!("ns/{namespace}/sa/{name}")]),
                    ..Matcher::default()
                }),
                _ => {
                    let key = (kind.clone(), namespace, name.clone());
                    self.known.iter().find(|(known, _)| *known == key).map(|(_, one)| one.clone())
                }
            };
            let joined = one.and_then(|one| join(&all, &one));
            let Some(joined) = joined else {
                let message = format!(
                    "the {kind} {name} is not among the files, has no translation, or cannot be joined with the others; it is left out"
                );
                let field = "spec.requiredAuthenticationRefs";
                notes.add(&document.subject(), field, Difference::LeftOut, message);
                return None;
            };
            all = joined;
        }
        Some(if refs.is_empty() { Matcher::everything() } else { all })
    }
}

/// Both: peers that are in both lists, addresses only where one of the two asks for them.
fn join(one: &Matcher, other: &Matcher) -> Option<Matcher> {
    let peers = match (&one.peers, &other.peers) {
        (None, peers) | (peers, None) => peers.clone(),
        (Some(any), Some(peers)) | (Some(peers), Some(any)) if *any == ["*"] => Some(peers.clone()),
        (Some(one), Some(other)) => {
            let both: Vec<String> =
                one.iter().filter(|peer| other.contains(peer)).cloned().collect();
            if both.is_empty() {
                return None;
            }
            Some(both)
        }
    };
    if one.sources.is_some() && other.sources.is_some() {
        return None;
    }
    let sources = one.sources.clone().or_else(|| other.sources.clone());
    let not_sources = [one.not_sources.clone(), other.not_sources.clone()].concat();
    Some(Matcher { peers, sources, not_sources, ..Matcher::default() })
}

fn mesh_tls(document: &Foreign, notes: &mut Notes) -> Result<Option<Matcher>, ImportError> {
    let RawMeshTls { identities, identity_refs } = document.spec()?;
    let mut peers = named(document, ("spec.identities", &identities), notes);
    for RawRef { kind, name, namespace, .. } in identity_refs {
        let namespace = namespace.unwrap_or_else(|| document.namespace.clone());
        match kind.as_str() {
            "ServiceAccount" if name.is_empty() => peers.push(format!("ns/{namespace}")),
            "ServiceAccount" => peers.push(format!("ns/{namespace}/sa/{name}")),
            "Namespace" if !name.is_empty() => peers.push(format!("ns/{name}")),
            other => {
                let message =
                    format!("a reference to a {other} has no translation and is left out");
                let field = "spec.identityRefs";
                notes.add(&document.subject(), field, Difference::AdmitsLess, message);
            }
        }
    }
    Ok(restricted(peers))
}

fn restricted(mut peers: Vec<String>) -> Option<Matcher> {
    if peers.iter().any(|peer| peer == "*") {
        peers = vec!["*".to_owned()];
    }
    peers.sort();
    peers.dedup();
    (!peers.is_empty()).then(|| Matcher { peers: Some(peers), ..Matcher::default() })
}

/// `<account>.<namespace>.serviceaccount.identity.…`, the same with a star for the account, `*`, or a SPIFFE ID.
fn named(document: &Foreign, (field, list): (&str, &[String]), notes: &mut Notes) -> Vec<String> {
    let mut peers = Vec::new();
    for text in list {
        let parts: Vec<&str> = text.splitn(4, '.').collect();
        let peer = match parts.as_slice() {
            ["*"] => Some("*".to_owned()),
            ["*", namespace, "serviceaccount", rest] if rest.starts_with("identity.") => {
                Some(format!("ns/{namespace}"))
            }
            [account, namespace, "serviceaccount", rest]
                if rest.starts_with("identity.") && !account.contains('*') =>
            {
                Some(format!("ns/{namespace}/sa/{account}"))
            }
            _ => SpiffeId::parse(text).ok().map(|id| id.as_str().to_owned()),
        };
        match peer {
            Some(peer) => peers.push(peer),
            None => {
                let message = format!("the identity `{text}` has no translation and is left out");
                notes.add(&document.subject(), field, Difference::AdmitsLess, message);
            }
        }
    }
    peers
}

/// Addresses in one of the ranges, and in none of what any of them excepts.
fn ranges(document: &Foreign, networks: &[RawNetwork]) -> Result<Matcher, ImportError> {
    let read = |text: &String| {
        let range = text
            .parse::<ipnet::IpNet>()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from));
        range
            .map(|range| range.trunc().to_string())
            .map_err(|_| wrong(document, "networks", format!("`{text}` is no range of addresses")))
    };
    let list = |texts: Vec<&String>| {
        let mut ranges: Vec<String> = texts.into_iter().map(read).collect::<Result<_, _>>()?;
        ranges.sort();
        ranges.dedup();
        Ok::<_, ImportError>(ranges)
    };
    Ok(Matcher {
        sources: Some(list(networks.iter().map(|network| &network.cidr).collect())?),
        not_sources: list(networks.iter().flat_map(|network| &network.except).collect())?,
        ..Matcher::default()
    })
}

/// The alternatives that a `ServerAuthorization` allows.
pub(super) fn of_authorization(
    document: &Foreign,
    client: &RawClient,
    notes: &mut Notes,
) -> Result<Vec<Matcher>, ImportError> {
    let RawClient { networks, unauthenticated, mesh_tls } = client;
    let subject = document.subject();
    let matcher = match (unauthenticated, mesh_tls) {
        (true, _) => Some(Matcher::everything()),
        (false, None) => None,
        (false, Some(RawClientTls { unauthenticated_tls: true, .. })) => {
            let message =
                "TLS without an identity proves nobody; workloads with an identity are allowed";
            let field = "spec.client.meshTLS.unauthenticatedTLS";
            notes.add(&subject, field, Difference::AdmitsLess, message);
            Some(Matcher { peers: Some(vec!["*".to_owned()]), ..Matcher::default() })
        }
        (
            false,
            Some(RawClientTls { unauthenticated_tls: false, identities, service_accounts }),
        ) => {
            let mut peers = named(document, ("spec.client.meshTLS.identities", identities), notes);
            peers.extend(service_accounts.iter().map(|RawAccount { name, namespace }| {
                let namespace = namespace.as_ref().unwrap_or(&document.namespace);
                format!("ns/{namespace}/sa/{name}")
            }));
            restricted(peers)
        }
    };
    let Some(matcher) = matcher else {
        notes.add(&subject, "spec.client", Difference::LeftOut, "no client is left that it allows");
        return Ok(Vec::new());
    };
    if networks.is_empty() {
        return Ok(vec![matcher]);
    }
    let ranges = ranges(document, networks)?;
    Ok(join(&matcher, &ranges).into_iter().collect())
}
