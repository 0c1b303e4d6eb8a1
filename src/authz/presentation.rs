//! What the application sees of the identities, and what is taken away from the request first.

use super::headers::is_spelling;
use super::request::HttpRequest;
use super::target;
use crate::authn::CredentialNames;
use crate::policy;
use crate::proto::answer;

/// In which a proxy tells of its client's certificate: Envoy's own, and those of RFC 9440.
const CERTIFICATE_HEADERS: [&str; 3] =
    ["x-forwarded-client-cert", "client-cert", "client-cert-chain"];

/// The header names of one snapshot, with the removals encoded once.
///
/// Envoy removes after it sets, so a name that is set must not be removed as well; setting overwrites every
/// copy. Every look-alike (an underscore for a dash, which many servers read as the same name) is always
/// removed, and so is a name that is not set because that identity is absent. The removals do not depend on which
/// headers the client sent: Envoy may have been told to hide some from us.
#[derive(Debug)]
pub(super) struct Presentation {
    pub(super) user_header: String,
    pub(super) peer_header: String,
    /// The cookies that are credentials, where they are to be removed.
    cookies: Vec<String>,
    /// The parameters that are credentials. They are always removed: queries end up in logs.
    parameters: Vec<String>,
    /// By `[user present][peer present]`.
    removed: [[Vec<u8>; 2]; 2],
}

/// Headers that repeat the target of the request. Where that is written anew, they would still say the old one.
const TARGET_HEADERS: [&str; 8] = [
    "x-original-url",
    "x-original_url",
    "x_original-url",
    "x_original_url",
    "x-rewrite-url",
    "x-rewrite_url",
    "x_rewrite-url",
    "x_rewrite_url",
];

/// What is taken from one request beyond what is taken from every one.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The cookies that are left, where some were taken.
    pub(super) cookies: Option<String>,
    /// Path and query without the parameters that were taken, where some were.
    pub(super) target: Option<String>,
    /// Further headers.
    pub(super) removed: Vec<&'static str>,
}

impl Presentation {
    pub(super) fn new(policy: &policy::Presentation, places: CredentialNames) -> Self {
        let CredentialNames { headers, cookies, parameters } = places;
        let removal = |user: bool, peer: bool| {
            let mut names = Vec::new();
            for (header, present) in [(&policy.user_header, user), (&policy.peer_header, peer)] {
                names.extend(
                    look_alikes(header).into_iter().filter(|name| !(present && name == header)),
                );
            }
            match policy.credentials {
                policy::Credentials::Strip => names.extend(headers.iter().cloned()),
                policy::Credentials::Keep => {}
            }
            // What Envoy makes of them depends on how it is configured, which is not known here; an application that
            // looks at one could be told anything. Who calls stands in the header of the peer.
            names.extend(CERTIFICATE_HEADERS.iter().flat_map(|name| look_alikes(name)));
            answer::removals(names.iter().map(String::as_str))
        };
        Self {
            user_header: policy.user_header.clone(),
            peer_header: policy.peer_header.clone(),
            cookies: match policy.credentials {
                policy::Credentials::Strip => cookies,
                policy::Credentials::Keep => Vec::new(),
            },
            parameters,
            removed: [
                [removal(false, false), removal(false, true)],
                [removal(true, false), removal(true, true)],
            ],
        }
    }

    /// What is taken from this request so that the application cannot pass credentials on by mistake.
    pub(super) fn without_credentials(&self, http: &HttpRequest<'_>) -> Taken {
        let mut taken = Taken::default();
        let evidence = http.evidence();
        if self.cookies.iter().any(|name| evidence.has_cookie(name)) {
            match evidence.cookies_without(&self.cookies) {
                Some(left) => taken.cookies = Some(left),
                None => taken.removed.push("cookie"),
            }
        }
        // A request without a path (CONNECT) has no query either, and must not be given one.
        let query = http.path.query().filter(|_| !self.parameters.is_empty());
        let is_credential = |name: &str| self.parameters.iter().any(|parameter| parameter == name);
        if let Some(left) = query.and_then(|query| target::without(query, is_credential)) {
            taken.target = Some(target::join(http.path.as_str(), &left));
            taken.removed.extend(TARGET_HEADERS);
        }
        taken
    }

    /// Whether the answer writes path and query anew.
    pub(super) fn rewrites_target(&self, http: &HttpRequest<'_>) -> bool {
        self.without_credentials(http).target.is_some()
    }

    /// The header, in whichever spelling, by which the request itself tells of an identity.
    pub(super) fn identity_told_by<'h>(&self, http: &'h HttpRequest<'_>) -> Option<&'h str> {
        let told = [self.user_header.as_str(), self.peer_header.as_str()];
        let told = |line: &str| {
            told.into_iter().chain(CERTIFICATE_HEADERS).any(|name| is_spelling(line, name))
        };
        http.headers.lines().iter().map(|(line, _)| *line).find(|line| told(line))
    }

    pub(super) fn removed(&self, user: bool, peer: bool) -> &[u8] {
        let [[neither, only_peer], [only_user, both]] = &self.removed;
        match (user, peer) {
            (false, false) => neither,
            (false, true) => only_peer,
            (true, false) => only_user,
            (true, true) => both,
        }
    }
}

/// The name itself and every variant with underscores for dashes. A name has at most five dashes, so 32 at most.
fn look_alikes(name: &str) -> Vec<String> {
    let mut variants = vec![String::new()];
    for c in name.chars() {
        let choices: &[char] = if c == '-' { &['-', '_'] } else { &[c] };
        variants = variants
            .iter()
            .flat_map(|variant| choices.iter().map(move |choice| format!("{variant}{choice}")))
            .collect();
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_underscore_variant_is_named() {
        assert_eq!(look_alikes("x-a-b"), ["x-a-b", "x-a_b", "x_a-b", "x_a_b"].map(String::from));
    }
}
