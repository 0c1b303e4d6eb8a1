//! Which URLs may be asked and which addresses may be dialled.
//!
//! A URL in a resource, in a discovery document or in a redirect must not make hopgate ask the metadata service of
//! its machine, nor send a token over plain text. A URL is judged as it is written; a name is judged again by what it
//! resolved to, at the moment of dialling, so that a name which changes its address between the two gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::HttpError;

/// What one client may ask. Cloning shares it.
#[derive(Clone)]
pub(super) struct Guard(Arc<Lists>);

struct Lists {
    allow: Vec<IpNet>,
    plaintext_hosts: Vec<String>,
}

/// A name led only to addresses that are never dialled.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to {0}, which is never dialled")]
pub(super) struct ForbiddenName(pub(super) IpAddr);

impl Guard {
    pub(super) fn new(allow: &[IpNet], plaintext_hosts: &[String]) -> Self {
        let plaintext_hosts = plaintext_hosts.iter().map(|host| host.to_ascii_lowercase());
        Self(Arc::new(Lists { allow: allow.to_vec(), plaintext_hosts: plaintext_hosts.collect() }))
    }

    /// Reads a URL that may be asked.
    pub(super) fn url(&self, text: &str) -> Result<Url, HttpError> {
        let url = Url::parse(text).map_err(|_| HttpError::Url(unread(text)))?;
        self.judge(&url)?;
        Ok(url)
    }

    /// The rules for a URL, also for each one a redirect leads to.
    pub(super) fn judge(&self, url: &Url) -> Result<(), HttpError> {
        if !url.username().is_empty() || url.password().is_some() {
            // Not repeated: it holds a password.
            return Err(HttpError::Url("a URL with a user name".to_owned()));
        }
        let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")) else {
            return Err(HttpError::Url(shown(url)));
        };
        // The parser has written every spelling of an address in the one usual way by now.
        if let Some(ip) = literal(host)
            && self.forbids(ip)
        {
            return Err(HttpError::ForbiddenAddress(ip));
        }
        let plain = url.scheme() == "http";
        if plain && !is_loopback(host) && !self.0.plaintext_hosts.iter().any(|it| it == host) {
            return Err(HttpError::Insecure(shown(url)));
        }
        Ok(())
    }

    /// The address that stands in a URL, if it is no name.
    pub(super) fn address(url: &Url) -> Option<IpAddr> {
        url.host_str().and_then(literal)
    }

    /// True for addresses that no identity provider has, unless the operator listed them.
    pub(super) fn forbids(&self, ip: IpAddr) -> bool {
        let inner = embedded(ip);
        let allowed = |ip: IpAddr| self.0.allow.iter().any(|net| net.contains(&ip));
        (is_forbidden(inner) || is_forbidden(ip)) && !allowed(ip) && !allowed(inner)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            if name.as_str() == "localhost" {
                // No resolver says where this machine is.
                let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                let found = loopback.map(|ip| SocketAddr::new(ip, 0));
                let found: Addrs = Box::new(found.into_iter());
                return Ok(found);
            }
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (refused, dialled): (Vec<_>, Vec<_>) =
                found.partition(|address| guard.forbids(address.ip()));
            if let (Some(first), true) = (refused.first(), dialled.is_empty()) {
                return Err(ForbiddenName(first.ip()).into());
            }
            let dialled: Addrs = Box::new(dialled.into_iter());
            Ok(dialled)
        })
    }
}

/// True for `localhost` and the addresses of this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || literal(host).is_some_and(|ip| ip.is_loopback())
}

/// A URL without what may be secret in it: its query and fragment.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for a URL that cannot have any.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return format!("a URL of the scheme {}", url.scheme());
    }
    url.into()
}

/// What is told of a text that is no URL.
fn unread(text: &str) -> String {
    if text.contains('@') {
        return "a text that is no URL".to_owned();
    }
    text.split(['?', '#']).next().unwrap_or_default().chars().take(200).collect()
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, or behind the well-known NAT64 prefix.
fn embedded(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let prefix = [a, b, c, d, e, f];
    let compatible = prefix == [0; 6] && g != 0;
    if compatible || prefix == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [high, low] = [g, h].map(u16::to_be_bytes);
        let ([w, x], [y, z]) = (high, low);
        return Ipv4Addr::new(w, x, y, z).into();
    }
    ip
}

/// Link-local, unspecified, multicast, broadcast, and where clouds serve the credentials of a machine.
fn is_forbidden(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            let metadata = [[100, 100, 100, 200], [168, 63, 129, 16]].contains(&v4.octets());
            first == 0 || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || metadata
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            let metadata = (first, second) == (0xfd00, 0xec2) || (first, second) == (0xfd20, 0xce);
            v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast() || metadata
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str], plaintext: &[&str]) -> Guard {
        let allow: Vec<IpNet> = allow.iter().map(|net| net.parse().unwrap()).collect();
        let plaintext: Vec<String> = plaintext.iter().map(|host| (*host).to_owned()).collect();
        Guard::new(&allow, &plaintext)
    }

    fn code(guard: &Guard, url: &str) -> &'static str {
        guard.url(url).map_or_else(|error| error.code(), |_| "ok")
    }

    #[test]
    fn plain_text_never_leaves_the_machine() {
        let strict = guard(&[], &[]);
        for url in [
            "https://sso.example/keys",
            "http://127.0.0.1:8080/keys",
            "http://127.9.9.9/keys",
            "http://[::1]:8080/keys",
            "http://localhost:8080/keys",
            "HTTP://LOCALHOST/keys",
            "https://10.0.0.1/keys",
            "https://[fd00::1]/keys",
        ] {
            assert_eq!(code(&strict, url), "ok", "{url}");
        }
        for (url, expected) in [
            ("http://sso.example/keys", "insecure_uri"),
            ("http://10.0.0.1/keys", "insecure_uri"),
            ("http://localhost.evil.example/keys", "insecure_uri"),
            ("http://127.0.0.1.evil.example/keys", "insecure_uri"),
            ("https://user:password@sso.example/keys", "invalid_uri"),
            ("file:///etc/keys", "invalid_uri"),
            ("ftp://127.0.0.1/keys", "invalid_uri"),
            ("data:text/plain,keys", "invalid_uri"),
            ("/keys", "invalid_uri"),
            ("", "invalid_uri"),
        ] {
            assert_eq!(code(&strict, url), expected, "{url}");
        }
        let error = strict.url("http://sso.example/keys").unwrap_err().to_string();
        assert!(error.contains("allowed only to loopback addresses"), "{error}");

        let listed = guard(&[], &["Keycloak.sso.svc"]);
        assert_eq!(code(&listed, "http://keycloak.sso.svc:8080/keys"), "ok");
        assert_eq!(code(&listed, "http://keycloak.sso.svc.evil.example/"), "insecure_uri");
        assert_eq!(code(&listed, "http://other.sso.svc/"), "insecure_uri");
    }

    #[test]
    fn no_text_repeats_a_secret() {
        let strict = guard(&[], &[]);
        for url in [
            "https://user:hunter2@sso.example/",
            "http://sso.example/keys?token=hunter2",
            "http://sso.example/keys#hunter2",
            "https//user:hunter2@sso.example/",
            "keys?hunter2",
            "ftp://sso.example/?hunter2",
        ] {
            let error = strict.url(url).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn addresses_that_no_provider_has_are_refused_in_every_spelling() {
        let strict = guard(&[], &[]);
        for host in [
            "169.254.169.254",
            "169.254.169.254.",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.254.1",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[::169.254.169.254]",
            "[64:ff9b::169.254.169.254]",
            "[fe80::1]",
            "[febf::1]",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "[::ffff:100.100.100.200]",
            "0.0.0.0",
            "0",
            "[::]",
            "[::ffff:0.0.0.0]",
            "224.0.0.1",
            "[ff02::1]",
            "255.255.255.255",
        ] {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}/latest");
                assert_eq!(code(&strict, &url), "forbidden_address", "{url}");
            }
        }
        for host in ["169.253.0.1", "100.100.100.201", "[fec0::1]", "[fd00:ec3::254]", "1.1.1.1"] {
            assert_eq!(code(&strict, &format!("https://{host}/")), "ok", "{host}");
        }
    }

    #[test]
    fn the_operator_may_list_ranges() {
        let listed = guard(&["169.254.0.0/16", "fe80::/64"], &[]);
        for host in ["169.254.169.254", "[::ffff:169.254.1.1]", "[fe80::1]"] {
            assert_eq!(code(&listed, &format!("https://{host}/")), "ok", "{host}");
        }
        assert_eq!(code(&listed, "http://169.254.169.254/"), "insecure_uri");
        assert_eq!(code(&listed, "https://[fe80:0:0:1::1]/"), "forbidden_address");
        assert_eq!(code(&listed, "https://100.100.100.200/"), "forbidden_address");
    }
}
