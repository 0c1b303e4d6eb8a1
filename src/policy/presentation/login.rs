//! Where a browser is sent to sign in, and how it comes back.
//!
//! The way back is made of the policy's own words and the path that was asked for. The host that a request names never
//! gets into it: it only chooses among the origins that the policy lists, so that nobody is led to a host of somebody else's.

use super::raw::RawLogin;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::Checked;

const MAX_URL: usize = 2048;

/// Where a browser is sent to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The page: an absolute URL, or a path of the host that was asked.
    pub url: String,
    /// The parameter of it that tells the way back; without it none is told.
    pub return_parameter: Option<String>,
    /// The origins under which browsers know this service. A request for another host is not redirected. Empty only
    /// where `url` is a path: then the way back is a path too.
    pub origins: Vec<Origin>,
}

/// An origin under which browsers know this service (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `https://shop.example` or `https://shop.example:8443`, in lower case.
    text: String,
    /// The authority of requests that come there.
    authority: String,
    default_port: &'static str,
}

impl Login {
    pub(super) fn check(raw: RawLogin, at: &FieldPath) -> Checked<Self> {
        let RawLogin { url, return_parameter, origins } = raw;
        let url_at = at.field("url");
        let visible = url.bytes().all(|b| b.is_ascii_graphic() && !br#""<>\^`{|}#"#.contains(&b));
        if !visible || url.len() > MAX_URL {
            let message =
                format!("is no URL of at most {MAX_URL} visible characters and no fragment");
            return Err(Problem::new(url_at, message));
        }
        let is_path = url.starts_with('/') && !url.starts_with("//");
        let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?']).next());
        if !is_path && !host.is_some_and(is_authority) {
            return Err(Problem::new(url_at, format!("`{url}` is no page to sign in"))
                .hint("write https://.. or a path of this service such as /login"));
        }
        if let Some(name) = &return_parameter {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                let message = format!("`{name}` is no name of letters, digits, `-`, `_` and `.`");
                return Err(Problem::new(at.field("returnParameter"), message));
            }
        }
        let origins_at = at.field("origins");
        let origins = match origins {
            Some(list) if list.is_empty() => {
                return Err(Problem::new(origins_at, "is empty").hint("leave the field out"));
            }
            Some(list) => list
                .iter()
                .enumerate()
                .map(|(place, text)| Origin::check(text, &origins_at.item(place)))
                .collect::<Checked<Vec<_>>>()?,
            None => Vec::new(),
        };
        if !is_path && return_parameter.is_some() && origins.is_empty() {
            return Err(Problem::new(at.clone(), "needs `origins`: the page is elsewhere, and must be told where to lead back")
                .hint("list the origins under which browsers know this service, such as https://shop.example"));
        }
        Ok(Self { url, return_parameter, origins })
    }

    /// Where the way back begins for a request with this authority: an origin, or nothing for a path. An error when a
    /// request for this host is not redirected.
    ///
    /// # Errors
    /// When origins are listed, and this authority is that of none.
    pub fn back_to(&self, authority: &str) -> Result<&str, ForeignHost> {
        if self.origins.is_empty() {
            return Ok("");
        }
        let of = |origin: &&Origin| origin.is_of(authority);
        self.origins.iter().find(of).map(|origin| origin.text.as_str()).ok_or(ForeignHost)
    }
}

/// The request is for a host that is none of the listed origins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignHost;

impl Origin {
    fn check(text: &str, at: &FieldPath) -> Checked<Self> {
        let lower = text.to_ascii_lowercase();
        let parts = [("https://", ":443"), ("http://", ":80")]
            .into_iter()
            .find_map(|(scheme, port)| Some((lower.strip_prefix(scheme)?, port)));
        match parts {
            Some((authority, default_port)) if is_authority(authority) => {
                let authority = authority.strip_suffix(default_port).unwrap_or(authority);
                let text = lower.strip_suffix(default_port).unwrap_or(&lower).to_owned();
                Ok(Self { authority: authority.to_owned(), text, default_port })
            }
            Some(_) | None => Err(Problem::new(at.clone(), format!("`{text}` is no origin"))
                .hint("write a scheme, a host and a port where it is not the usual one: https://shop.example")),
        }
    }

    fn is_of(&self, authority: &str) -> bool {
        let authority = authority.strip_suffix(self.default_port).unwrap_or(authority);
        authority.eq_ignore_ascii_case(&self.authority)
    }
}

/// A host and perhaps a port, without user info.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(plain),
    };
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(url: &str, back: Option<&str>, origins: &[&str]) -> Result<Login, String> {
        let owned = |text: &&str| (*text).to_owned();
        let raw = RawLogin {
            url: url.to_owned(),
            return_parameter: back.as_ref().map(owned),
            origins: (!origins.is_empty()).then(|| origins.iter().map(owned).collect()),
        };
        Login::check(raw, &FieldPath::root()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn only_listed_origins_are_led_back_to() {
        let login = login(
            "https://sso.example/login?app=shop",
            Some("return_to"),
            &["https://Shop.example", "https://shop.example:8443", "http://[::1]:80"],
        )
        .unwrap();
        for (authority, origin) in [
            ("shop.example", Ok("https://shop.example")),
            ("SHOP.example:443", Ok("https://shop.example")),
            ("shop.example:8443", Ok("https://shop.example:8443")),
            ("[::1]", Ok("http://[::1]")),
            ("shop.example:80", Err(ForeignHost)),
            ("evil.example", Err(ForeignHost)),
            ("shop.example.evil.example", Err(ForeignHost)),
            ("", Err(ForeignHost)),
        ] {
            assert_eq!(login.back_to(authority), origin, "{authority}");
        }
    }

    #[test]
    fn a_page_on_the_same_host_leads_back_by_a_path() {
        let login = login("/login", Some("next"), &[]).unwrap();
        assert_eq!(login.back_to("whatever.example"), Ok(""));
    }

    #[test]
    fn pages_that_could_lead_astray_are_refused() {
        for url in [
            "//evil.example/login",
            "http://sso.example/login",
            "javascript:alert(1)",
            "login",
            "",
            "https://",
            "https://user@sso.example/",
            "/log in",
            "/login#a",
            "/a\\b",
            "https://a b/",
        ] {
            assert!(login(url, None, &[]).is_err(), "{url}");
        }
        let needs = login("https://sso.example/", Some("back"), &[]).unwrap_err();
        assert!(needs.contains("needs `origins`"), "{needs}");
        for origin in
            ["shop.example", "https://", "https://a/b", "ftp://a", "https://u@a", "https://a:0"]
        {
            assert!(login("/login", Some("back"), &[origin]).is_err(), "{origin}");
        }
        assert!(login("/login", Some("a&b"), &[]).is_err());
    }
}
