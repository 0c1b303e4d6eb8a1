//! A running sidecar, asked by its admin pages: what it serves now, and when it plans to renew.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Group, GroupKind, Loaded};
use crate::cli::admin::AdminPages;
use crate::identity::{JwtBundle, SpiffeId, TrustBundle, TrustDomain};
use crate::runtime::Address;

/// `/certificates`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    id: Option<String>,
    chain: Option<String>,
    next_renewal: Option<String>,
    bundles: BTreeMap<String, PageBundle>,
}

/// Whom the sidecar trusts for one trust domain.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageBundle {
    roots: String,
    jwt_keys: Option<Value>,
}

/// The bundles of a running sidecar, and which of them is that of its own trust domain.
pub(in crate::cli) struct Trusted {
    pub(in crate::cli) own: Option<TrustDomain>,
    pub(in crate::cli) bundles: Vec<(TrustBundle, JwtBundle)>,
}

pub(super) async fn ask(admin: &Address, timeout: Duration) -> anyhow::Result<Loaded> {
    let Page { id: _, chain, next_renewal, bundles } = page(admin, timeout).await?;
    let mut groups = Vec::new();
    if let Some(pem) = &chain {
        let renewal = next_renewal.as_deref().map(|at| OffsetDateTime::parse(at, &Rfc3339));
        let renewal = renewal.transpose()?.map(SystemTime::from);
        let kind = GroupKind::Chain(renewal);
        groups.push(Group::read(Some("served"), kind, &certificates(pem)?)?);
    }
    for (domain, bundle) in &bundles {
        let domain = TrustDomain::parse(domain).with_context(|| format!("{domain:?}"))?;
        let title = format!("bundle of {domain}");
        let kind = GroupKind::Bundle(Some(domain));
        groups.push(Group::read(Some(&title), kind, &certificates(&bundle.roots)?)?);
    }
    anyhow::ensure!(!groups.is_empty(), "the sidecar has no certificate now");
    Ok(Loaded { place: String::new(), form: "running sidecar", groups, notes: Vec::new() })
}

/// Asks whom a running sidecar trusts.
///
/// # Errors
/// When it does not answer, or with something else.
pub(in crate::cli) fn trusted(admin: &Address, timeout: Duration) -> anyhow::Result<Trusted> {
    let Page { id, chain: _, next_renewal: _, bundles } = super::wait(page(admin, timeout))?;
    let own = id.as_deref().map(SpiffeId::parse).transpose()?.map(|id| id.trust_domain());
    let bundles = bundles.into_iter().map(|(domain, PageBundle { roots, jwt_keys })| {
        let domain = TrustDomain::parse(&domain)?;
        let jwt = match jwt_keys {
            Some(keys) => JwtBundle::from_jwks(domain.clone(), &keys.to_string())?,
            None => JwtBundle::empty(domain.clone()),
        };
        Ok((TrustBundle::from_pem(domain, &roots)?, jwt))
    });
    Ok(Trusted { own, bundles: bundles.collect::<anyhow::Result<_>>()? })
}

async fn page(admin: &Address, timeout: Duration) -> anyhow::Result<Page> {
    let pages = AdminPages::new(admin, timeout)?;
    let page: Option<Page> = pages.json_if_there("/certificates").await?;
    page.with_context(|| {
        format!("the sidecar at {admin} has no certificate: there is no `certificates` in its configuration")
    })
}

fn certificates(pem: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| anyhow::anyhow!("the PEM text cannot be read"))
}
