//! What a Workload API gives whoever runs this command: a SPIRE agent's, or a sidecar's.

use std::path::Path;

use anyhow::Context as _;

use super::{Group, GroupKind, Loaded, ReadArgs};
use crate::certs::{Given, GivenSvid, look};
use crate::identity::TrustDomain;
use crate::runtime::Address;

pub(super) async fn ask(path: &Path, args: &ReadArgs) -> anyhow::Result<Loaded> {
    let socket = Address::Unix(path.to_path_buf());
    let answer = tokio::time::timeout(args.timeout, look(&socket)).await;
    let Given { svids, federated } =
        answer.with_context(|| format!("no answer within {:?}", args.timeout))??;
    let mut groups = Vec::new();
    for GivenSvid { id, chain, roots } in svids {
        let domain = id.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next());
        groups.push(Group::read(Some(&id), GroupKind::Chain(None), &chain)?);
        groups.push(bundle(domain.unwrap_or_default(), &roots)?);
    }
    for (name, roots) in &federated {
        groups.push(bundle(name.strip_prefix("spiffe://").unwrap_or(name), roots)?);
    }
    Ok(Loaded { place: String::new(), form: "Workload API", groups, notes: Vec::new() })
}

fn bundle(
    name: &str,
    roots: &[rustls::pki_types::CertificateDer<'static>],
) -> anyhow::Result<Group> {
    let domain = TrustDomain::parse(name).with_context(|| format!("trust domain {name:?}"))?;
    let title = format!("bundle of {domain}");
    Group::read(Some(&title), GroupKind::Bundle(Some(domain)), roots)
}
