//! How a provider's servers are reached.

use std::net::IpAddr;

use ipnet::IpNet;

use super::file::FileRef;
use super::raw::RawHttp;
use super::value::check_uri;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list};

/// How a provider's servers are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Http {
    /// Whom to trust for https, in PEM; nothing for the system's authorities.
    pub ca: Option<FileRef>,
    /// A proxy.
    pub proxy: Option<String>,
    /// Link-local and metadata addresses that may be dialled all the same.
    pub allow_addresses: Vec<IpNet>,
    /// Hosts to which plain http may go: whoever is on the way can read and change it.
    pub plaintext_hosts: Vec<String>,
}

impl Http {
    pub(in crate::policy) fn check(
        raw: Option<RawHttp>,
        at: &FieldPath,
        source: &str,
    ) -> Checked<Self> {
        let Some(RawHttp { ca_file, proxy, allow_addresses, plaintext_hosts }) = raw else {
            return Ok(Self::default());
        };
        if let Some(proxy) = &proxy {
            check_uri(proxy, &at.field("proxy"))?;
        }
        let ca =
            ca_file.map(|text| FileRef::check(text, at.field("caFile"), source)).transpose()?;
        Ok(Self {
            ca,
            proxy,
            allow_addresses: addresses(allow_addresses, &at.field("allowAddresses"))?,
            plaintext_hosts: hosts(plaintext_hosts, &at.field("plaintextHosts"))?,
        })
    }
}

fn addresses(list: Option<Vec<String>>, at: &FieldPath) -> Checked<Vec<IpNet>> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let read = |(place, text): (usize, String)| {
        let range = text.parse::<IpNet>().ok();
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        range.or_else(address).ok_or_else(|| {
            Problem::new(at.item(place), format!("`{text}` is no address or range of addresses"))
                .hint("for example 169.254.169.254 or fd00:ec2::/32")
        })
    };
    check_list(list, at)?.into_iter().enumerate().map(read).collect()
}

fn hosts(list: Option<Vec<String>>, at: &FieldPath) -> Checked<Vec<String>> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let plain =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | ':');
    for (place, host) in list.iter().enumerate() {
        if host.is_empty() || !host.chars().all(plain) {
            return Err(Problem::new(at.item(place), format!("`{host}` is no host name"))
                .hint("in lower case, without scheme and port: keycloak.sso.svc"));
        }
    }
    check_list(list, at)
}
