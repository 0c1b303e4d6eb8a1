//! `from`: who calls.

use super::super::bound::{Bound, Difference};
use super::super::cel::any;
use super::super::out::Matcher;
use super::super::{ImportError, wrong};
use super::address::{blocks, common};
use super::draft::{Draft, Unsayable};
use super::peer::Peer;
use super::principal::{self, Principals};
use super::raw::RawSource;

/// The alternatives that together stand for one source; none where it is left out.
pub(super) fn translate(
    draft: &mut Draft<'_>,
    raw: &RawSource,
) -> Result<Vec<Matcher>, ImportError> {
    let RawSource {
        principals,
        not_principals,
        service_accounts,
        not_service_accounts,
        request_principals,
        not_request_principals,
        namespaces,
        not_namespaces,
        ip_blocks,
        not_ip_blocks,
        remote_ip_blocks,
        not_remote_ip_blocks,
    } = raw;
    if *raw == RawSource::default() {
        let field = format!("{}.from.source", draft.at);
        return Err(wrong(draft.document, field, "says nothing; leave it out for any caller"));
    }
    let mut all = vec![Matcher::default()];
    for (field, kind, list, not) in [
        ("principals", Kind::Principal, principals, not_principals),
        ("serviceAccounts", Kind::ServiceAccount, service_accounts, not_service_accounts),
        ("namespaces", Kind::Namespace, namespaces, not_namespaces),
    ] {
        peers(draft, (field, kind), list, &mut all);
        not_peers(draft, (field, kind), not, &mut all);
    }
    let field = "from.source.requestPrincipals";
    principal::positive(draft, field, &Principals::of(request_principals), &mut all);
    principal::negative(draft, field, &Principals::of(not_request_principals), &mut all);
    addresses(draft, ip_blocks, not_ip_blocks, &mut all)?;
    forwarded(draft, remote_ip_blocks, not_remote_ip_blocks, &mut all)?;
    Ok(all)
}

/// How a member names workloads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Principal,
    ServiceAccount,
    Namespace,
}

impl Kind {
    fn parse(self, text: &str, draft: &Draft<'_>) -> Option<Peer> {
        match self {
            Self::Principal => Peer::principal(text, draft.own()),
            Self::ServiceAccount => Peer::service_account(text, &draft.document.namespace),
            Self::Namespace => Peer::namespace(text),
        }
    }
}

/// The peer must be one of these.
pub(super) fn peers(
    draft: &mut Draft<'_>,
    (field, kind): (&str, Kind),
    list: &[String],
    all: &mut Vec<Matcher>,
) {
    if list.is_empty() {
        return;
    }
    let at = format!("from.source.{field}");
    let Some(peers) = members(draft, (&at, kind), list, draft.bound) else {
        if draft.unsayable(&at, "these workloads cannot be named here") == Unsayable::Drop {
            all.clear();
        }
        return;
    };
    let typed: Option<Vec<String>> =
        peers.iter().map(|peer| peer.typed(draft.bound, draft.own())).collect();
    if draft.bound == Bound::Inside && typed.is_some() {
        own_domain_only(draft, &at, &peers);
    }
    for matcher in all {
        match (&typed, &mut matcher.peers) {
            (Some(typed), peers @ None) => *peers = Some(deduplicated(typed.clone())),
            (_, restricted) => {
                restricted.get_or_insert_with(|| vec!["*".to_owned()]);
                let all: Vec<String> =
                    peers.iter().map(|peer| peer.condition(draft.own())).collect();
                matcher.when.push(any(&all));
            }
        }
    }
}

/// The peer must be none of these. Where there is no peer, that is so.
pub(super) fn not_peers(
    draft: &mut Draft<'_>,
    (field, kind): (&str, Kind),
    list: &[String],
    all: &mut Vec<Matcher>,
) {
    if list.is_empty() {
        return;
    }
    let at = format!("from.source.{field} (not)");
    let bound = draft.bound.negated();
    let Some(peers) = members(draft, (&at, kind), list, bound) else {
        if draft.unsayable(&at, "these workloads cannot be named here") == Unsayable::Drop {
            all.clear();
        }
        return;
    };
    let typed: Option<Vec<String>> =
        peers.iter().map(|peer| peer.typed(bound, draft.own())).collect();
    for matcher in all {
        match &typed {
            Some(typed) => {
                matcher.not_peers.extend(typed.iter().cloned());
                matcher.not_peers = deduplicated(std::mem::take(&mut matcher.not_peers));
            }
            None => {
                let any_of: Vec<String> =
                    peers.iter().map(|peer| peer.condition(draft.own())).collect();
                matcher.when.push(format!("!{}", bracketed(&any(&any_of))));
            }
        }
    }
    if typed.is_none() {
        draft.narrower(
            &at,
            "where there is no peer, this cannot be told and the request is refused",
        );
    }
}

fn bracketed(text: &str) -> String {
    if text.starts_with('(') { text.to_owned() } else { format!("({text})") }
}

/// Each member that can be named. Nothing where the list as a whole cannot stay on its side.
fn members(
    draft: &mut Draft<'_>,
    (at, kind): (&str, Kind),
    list: &[String],
    bound: Bound,
) -> Option<Vec<Peer>> {
    let mut peers = Vec::with_capacity(list.len());
    for text in list {
        match (kind.parse(text, draft), bound) {
            (Some(peer), _) => peers.push(peer),
            (None, Bound::Around) => return None,
            (None, Bound::Inside) => {
                draft.narrower(
                    at,
                    &format!("`{text}` has no translation and is left out of the list"),
                );
            }
        }
    }
    (!peers.is_empty()).then_some(peers)
}

fn own_domain_only(draft: &mut Draft<'_>, at: &str, peers: &[Peer]) {
    if peers.iter().any(Peer::is_of_any_domain) {
        draft.tell(
            at,
            Difference::AdmitsLess,
            "there it holds for every trust domain, here for the own one",
        );
    }
}

/// The address on the wire.
pub(super) fn addresses(
    draft: &mut Draft<'_>,
    list: &[String],
    not: &[String],
    all: &mut Vec<Matcher>,
) -> Result<(), ImportError> {
    let (list, not) = (blocks(draft, "ipBlocks", list)?, blocks(draft, "notIpBlocks", not)?);
    // An alternative that no address fits never matched.
    all.retain_mut(|matcher| narrow(&mut matcher.sources, &list));
    for matcher in all {
        matcher.not_sources.extend(not.iter().cloned());
        matcher.not_sources = deduplicated(std::mem::take(&mut matcher.not_sources));
    }
    Ok(())
}

/// The address that a trusted proxy forwarded. Where none did, it is that on the wire there; here the rule cannot be
/// decided then, which refuses.
pub(super) fn forwarded(
    draft: &mut Draft<'_>,
    list: &[String],
    not: &[String],
    all: &mut Vec<Matcher>,
) -> Result<(), ImportError> {
    let list = blocks(draft, "remoteIpBlocks", list)?;
    let not = blocks(draft, "notRemoteIpBlocks", not)?;
    if !list.is_empty() || !not.is_empty() {
        draft.narrower(
            "from.source.remoteIpBlocks",
            "only an address that a trusted proxy forwarded counts, never that on the wire; without one the request is refused",
        );
    }
    all.retain_mut(|matcher| narrow(&mut matcher.forwarded_for, &list));
    for matcher in all {
        matcher.not_forwarded_for.extend(not.iter().cloned());
        matcher.not_forwarded_for = deduplicated(std::mem::take(&mut matcher.not_forwarded_for));
    }
    Ok(())
}

/// Asks for one of these ranges too. False where no address is left.
fn narrow(held: &mut Option<Vec<String>>, list: &[String]) -> bool {
    if list.is_empty() {
        return true;
    }
    let both = match held.take() {
        Some(held) => common(&held, list),
        None => list.to_vec(),
    };
    let some = !both.is_empty();
    *held = Some(both);
    some
}

/// In their order, each once.
pub(super) fn deduplicated(list: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    list.into_iter().filter(|text| seen.insert(text.clone())).collect()
}
