//! The part of a sidecar's configuration that says whom to believe about callers, and when to make them wait.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use super::config::{Config, InvalidConfig, invalid};
use crate::authn::{
    Absent, BrakeRules, BrakesRules, ForwardHeader, ForwardRules, ForwardTrust, ProxyRule,
};
use crate::identity::{SpiffeId, TrustDomain};
use crate::mesh::ForwardedCertificates;
use crate::policy::yaml::present;

/// A proxy that is believed about the certificates of its clients.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Proxy {
    /// `ns/<namespace>/sa/<account>` of the mesh, or a whole SPIFFE ID.
    pub peer: String,
    /// The header it speaks in.
    pub header: ProxyHeader,
    /// What a request without that header is.
    #[serde(default)]
    pub absent: ProxyAbsent,
    /// How far its word is believed for workload certificates.
    #[serde(default)]
    pub trust: ProxyTrust,
}

/// The header a proxy speaks in.
#[derive(Debug, Clone, Copy, Deserialize)]
pub enum ProxyHeader {
    /// `x-forwarded-client-cert`, as Envoy writes it.
    Xfcc,
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    ClientCert,
}

/// What a request from a proxy without its header is.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub enum ProxyAbsent {
    /// Refused.
    #[default]
    Refuse,
    /// The proxy's own.
    Proxy,
}

/// How far the word of a proxy is believed for workload certificates.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub enum ProxyTrust {
    /// The certificate must chain to the mesh's roots, checked here.
    #[default]
    Roots,
    /// Its word is enough: whoever controls the proxy can be any workload of the mesh.
    Proxy,
}

/// When whoever sends bad credentials has to wait.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BrakeConfig {
    /// For bad credentials from one address, unless it is that of a proven workload of the mesh.
    #[serde(default, deserialize_with = "present")]
    pub addresses: Option<BrakeLimits>,
    /// For bad credentials that are like one another.
    #[serde(default, deserialize_with = "present")]
    pub credentials: Option<BrakeLimits>,
}

/// How many bad credentials are too many.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BrakeLimits {
    /// So many bad credentials
    pub failures: NonZeroU32,
    /// within this time
    #[serde(with = "humantime_serde")]
    pub within: Duration,
    /// are answered with 429 for so long.
    #[serde(with = "humantime_serde")]
    pub hold: Duration,
}

impl Config {
    /// The proxies that are believed about their clients.
    ///
    /// # Errors
    /// With the field and what to write instead.
    pub fn forward_rules(&self) -> Result<ForwardRules, InvalidConfig> {
        let domain = self.identity()?.workload.trust_domain;
        let rules = self.proxies.iter().flatten().enumerate().map(|(place, proxy)| {
            let Proxy { peer, header, absent, trust } = proxy;
            let field = format!("proxies[{place}].peer");
            Ok(ProxyRule {
                id: peer_id(peer, &domain).map_err(|problem| invalid(&field, problem))?,
                header: match header {
                    ProxyHeader::Xfcc => ForwardHeader::Xfcc,
                    ProxyHeader::ClientCert => ForwardHeader::ClientCert,
                },
                absent: match absent {
                    ProxyAbsent::Refuse => Absent::Refuse,
                    ProxyAbsent::Proxy => Absent::Proxy,
                },
                trust: match trust {
                    ProxyTrust::Roots => ForwardTrust::Roots,
                    ProxyTrust::Proxy => ForwardTrust::Proxy,
                },
            })
        });
        let rules = rules.collect::<Result<Vec<_>, InvalidConfig>>()?;
        ForwardRules::new(rules).map_err(|twice| invalid("proxies", twice.to_string()))
    }

    /// What the Envoy beside this sidecar does with `x-forwarded-client-cert`.
    #[must_use]
    pub fn forwarded_certificates(&self) -> ForwardedCertificates {
        let reads = |proxy: &Proxy| matches!(proxy.header, ProxyHeader::Xfcc);
        if self.proxies.iter().flatten().any(reads) {
            ForwardedCertificates::Passed
        } else {
            ForwardedCertificates::Replaced
        }
    }

    /// The brakes on bad credentials.
    #[must_use]
    pub fn brake_rules(&self) -> BrakesRules {
        let usual = BrakesRules::usual();
        let Some(BrakeConfig { addresses, credentials }) = &self.brake else { return usual };
        let rules = |limits: &Option<BrakeLimits>, usual: BrakeRules| match limits {
            Some(BrakeLimits { failures, within, hold }) => {
                BrakeRules { failures: *failures, within: *within, hold: *hold, ..usual }
            }
            None => usual,
        };
        BrakesRules {
            addresses: rules(addresses, usual.addresses),
            credentials: rules(credentials, usual.credentials),
        }
    }
}

/// `ns/<namespace>/sa/<account>` of this trust domain, or a whole SPIFFE ID.
fn peer_id(text: &str, domain: &TrustDomain) -> Result<SpiffeId, String> {
    if text.starts_with("spiffe://") {
        return SpiffeId::parse(text).map_err(|error| format!("{text:?} {error}"));
    }
    let account = text.strip_prefix("ns/").and_then(|rest| rest.split_once("/sa/"));
    let (namespace, account) =
        account.ok_or_else(|| format!("{text:?} is no ns/<namespace>/sa/<account>"))?;
    SpiffeId::for_service_account(domain, namespace, account)
        .map_err(|error| format!("{text:?} {error}"))
}
