//! Whether a refused browser is sent to sign in, and to where exactly.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::headers::ClientKind;
use super::request::HttpRequest;
use super::snapshot::Snapshot;
use super::target;
use super::verdict::Denial;
use crate::policy::presentation::Login;
use crate::policy::{HeaderValue, Headers as _};
use crate::proto::answer::RefusalStatus;

/// What is longer is not led back to: some programs cut long URLs.
const MAX_WAY_BACK: usize = 2048;

/// All but the unreserved characters of RFC 3986, section 2.3.
const PARAMETER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the client is sent; nothing where it is refused in place: it is no browser that opens a page, what is wrong
/// is no missing or bad credential, or the request is for a host that nobody is led back to.
pub(super) fn location(
    snapshot: &Snapshot,
    denial: &Denial<'_>,
    (http, client): (&HttpRequest<'_>, ClientKind),
) -> Option<String> {
    let login = snapshot.policies().presentation().response.login.as_ref()?;
    if denial.status() != RefusalStatus::Unauthorized
        || !denial.challenge().is_met_by_signing_in()
        || !opens_a_page(http, client)
    {
        return None;
    }
    let path = http.path.as_str();
    // Whoever is refused at the page itself would be sent there for ever.
    let page = login.url.split('?').next().unwrap_or_default();
    let origin = login.back_to(http.authority).ok()?;
    if page.strip_prefix(origin).unwrap_or(page) == path {
        return None;
    }
    Some(url(login, way_back(snapshot, origin, http).as_deref()))
}

/// The address that was asked for, without credentials; nothing where it is none to come back to.
fn way_back(snapshot: &Snapshot, origin: &str, http: &HttpRequest<'_>) -> Option<String> {
    let path = http.path.as_str();
    let query = http.path.query().unwrap_or_default();
    let shown = snapshot.presentation().shown_query(query);
    let address = format!("{origin}{}", target::join(path, shown.as_deref().unwrap_or(query)));
    let plain = address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (is_own_path(path) && plain && address.len() <= MAX_WAY_BACK).then_some(address)
}

/// False for what a browser takes for a host (`//evil.example`), however leniently the mesh lets paths be read.
fn is_own_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| !rest.starts_with(['/', '\\']))
}

fn url(login: &Login, way_back: Option<&str>) -> String {
    let mut url = login.url.clone();
    if let (Some(name), Some(way_back)) = (&login.return_parameter, way_back) {
        let separator = if url.contains('?') { '&' } else { '?' };
        url.push_str(&format!("{separator}{name}={}", utf8_percent_encode(way_back, PARAMETER)));
    }
    url
}

/// True for a person's browser that opens a page: scripts want an answer that they can read.
fn opens_a_page(http: &HttpRequest<'_>, client: ClientKind) -> bool {
    let is = |name: &str, wanted: &[u8]| match http.headers.value(name) {
        HeaderValue::One(value) => Some(value.eq_ignore_ascii_case(wanted)),
        HeaderValue::Absent => None,
        HeaderValue::Many => Some(false),
    };
    let accepts = match http.headers.value("accept") {
        HeaderValue::One(value) => {
            value.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"text/html"))
        }
        HeaderValue::Absent | HeaderValue::Many => false,
    };
    client != ClientKind::Grpc
        && matches!(http.method.as_ref(), "GET" | "HEAD")
        && accepts
        // Browsers say since 2020 what a request is for (Fetch Metadata); others leave it out.
        && is("sec-fetch-mode", b"navigate") != Some(false)
        && is("x-requested-with", b"XMLHttpRequest").is_none()
        && is("upgrade", b"websocket").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_browser_takes_for_a_host_is_no_way_back() {
        for path in ["/", "/a", "/a//b", "/.."] {
            assert!(is_own_path(path), "{path}");
        }
        for path in ["", "a", "//evil.example", "//evil.example/a", "/\\evil.example", "\\\\evil"] {
            assert!(!is_own_path(path), "{path}");
        }
    }
}
