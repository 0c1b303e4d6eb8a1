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

impl Http {
    /// Refuses a URL of plain http to another machine that is not one of `plaintextHosts`: no gate would ask there, and one
    /// that cannot use its provider judges nothing.
    pub(in crate::policy) fn admits(&self, url: &str, at: &FieldPath) -> Checked<()> {
        let uri: Option<::http::Uri> = url.parse().ok();
        let plain = uri.as_ref().filter(|uri| uri.scheme_str() == Some("http"));
        let Some(host) = plain.and_then(::http::Uri::host).map(str::to_ascii_lowercase) else {
            return Ok(());
        };
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        if here || self.plaintext_hosts.contains(&host) {
            return Ok(());
        }
        let message = format!("`{url}` is plain http: whoever is on the way could answer instead");
        Err(Problem::new(at.clone(), message).hint(format!(
            "use https, or say that this network is trusted: http: {{ plaintextHosts: [{host}] }}"
        )))
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
