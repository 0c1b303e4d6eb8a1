//! What the application sees of the identities, and what is taken away from the request first.

use std::borrow::Cow;

use super::denial;
use super::headers::is_spelling;
use super::query::QueryEdits;
use super::request::HttpRequest;
use super::verdict::Denial;
use crate::authn::CredentialNames;
use crate::policy;
use crate::policy::presentation::{
    Content, Named, ResponseHeader, Told, TooLong, Value, WhenPresent, Written,
};
use crate::proto::answer::{self, HeaderText, Mutations, Present};

/// In which a proxy tells of its client's certificate: Envoy's own, and those of RFC 9440.
const CERTIFICATE_HEADERS: [&str; 3] =
    ["x-forwarded-client-cert", "client-cert", "client-cert-chain"];

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

/// The header names of one snapshot, with the removals encoded once.
///
/// Envoy removes after it sets, so a name that is set must not be removed as well; setting overwrites every
/// copy. Every look-alike (an underscore for a dash, which many servers read as the same name) is always
/// removed, and so is a name that is not set because that identity is absent. The removals do not depend on which
/// headers the client sent: Envoy may have been told to hide some from us.
#[derive(Debug)]
pub(super) struct Presentation {
    user_header: String,
    peer_header: String,
    /// Further headers. Each is set or removed.
    headers: Vec<Named>,
    /// The cookies that are credentials, where they are to be removed.
    cookies: Vec<String>,
    query: QueryEdits,
    /// By `[user present][peer present]`.
    removed: [[Vec<u8>; 2]; 2],
    /// Headers of the response that are the same for all.
    response: Vec<u8>,
    /// Those that are told by who calls.
    response_told: Vec<(String, Value, Present)>,
}

impl Presentation {
    pub(super) fn new(policy: &policy::Presentation, places: CredentialNames) -> Self {
        let CredentialNames { headers: credentials, cookies, parameters } = places;
        let removal = |user: bool, peer: bool| {
            let told = [(&policy.user_header, user), (&policy.peer_header, peer)];
            // Whether one of these is set is known at each request only; then its own name is removed or not.
            let further = policy.headers.iter().map(|header| (&header.name, true));
            let told: Vec<(&String, bool)> = told.into_iter().chain(further).collect();
            let is_set = |name: &String| told.iter().any(|(told, set)| *set && *told == name);
            let mut names: Vec<String> =
                told.iter().flat_map(|(header, _)| look_alikes(header)).collect();
            match policy.credentials {
                policy::Credentials::Strip => names.extend(credentials.iter().cloned()),
                policy::Credentials::Keep => {}
            }
            // What Envoy makes of them depends on how it is configured, which is not known here; an application that
            // looks at one could be told anything. Who calls stands in the header of the peer.
            names.extend(CERTIFICATE_HEADERS.iter().flat_map(|name| look_alikes(name)));
            names.retain(|name| !is_set(name));
            answer::removals(names.iter().map(String::as_str))
        };
        let (response, response_told) = response_headers(&policy.response.headers);
        Self {
            user_header: policy.user_header.clone(),
            peer_header: policy.peer_header.clone(),
            headers: policy.headers.clone(),
            cookies: match policy.credentials {
                policy::Credentials::Strip => cookies,
                policy::Credentials::Keep => Vec::new(),
            },
            query: QueryEdits::new(parameters, &policy.response),
            removed: [
                [removal(false, false), removal(false, true)],
                [removal(true, false), removal(true, true)],
            ],
            response,
            response_told,
        }
    }

    /// How a permitted request is changed on its way to the application, and its response on the way back.
    ///
    /// # Errors
    /// When it cannot be changed as it must be.
    pub(super) fn mutations<'a>(
        &'a self,
        http: Option<&HttpRequest<'_>>,
        told: &Told<'a>,
    ) -> Result<Mutations<'a>, Denial<'static>> {
        let user = told.user.map(policy::UserFacts::subject);
        let peer = told.peer.map(crate::identity::SpiffeId::as_str);
        let mut changes = Mutations {
            set: Vec::with_capacity(3 + self.headers.len()),
            removed: self.removed(user.is_some(), peer.is_some()),
            response: &self.response,
            ..Mutations::default()
        };
        let told_of = [(&self.user_header, user), (&self.peer_header, peer)];
        for (name, who) in told_of {
            changes.set.extend(who.map(|who| (name.as_str(), HeaderText::encode(who))));
        }
        for Named { name, value } in &self.headers {
            match header(name, value, told)? {
                Some(text) => changes.set.push((name, text)),
                None => changes.removed_too.push(name),
            }
        }
        for (name, value, present) in &self.response_told {
            let text = header(name, value, told)?;
            changes.response_too.extend(text.map(|text| (name.as_str(), text, *present)));
        }
        if let Some(http) = http {
            self.without_credentials(http, &mut changes)?;
            if let Some(target) = self.query.rewritten(http, told)? {
                // A part of it may have been judged, so what cannot be written is not just left out.
                let target = HeaderText::target(target);
                changes.set.push((":path", target.ok_or_else(|| denial::not_rewritable(":path"))?));
                changes.removed_too.extend(TARGET_HEADERS);
            }
        }
        Ok(changes)
    }

    /// Whether the answer could write path and query anew.
    pub(super) fn rewrites_target(&self, http: &HttpRequest<'_>) -> bool {
        self.query.rewrites(http)
    }

    /// The header, in whichever spelling, by which the request itself tells of an identity.
    pub(super) fn identity_told_by<'h>(&self, http: &'h HttpRequest<'_>) -> Option<&'h str> {
        let own = [self.user_header.as_str(), self.peer_header.as_str()];
        let further = self.headers.iter().map(|header| header.name.as_str());
        let told: Vec<&str> = own.into_iter().chain(CERTIFICATE_HEADERS).chain(further).collect();
        let tells = |line: &&str| told.iter().any(|name| is_spelling(line, name));
        http.headers.lines().iter().map(|(line, _)| *line).find(tells)
    }

    /// The query without credentials.
    pub(super) fn shown_query(&self, query: &str) -> Option<String> {
        self.query.without_credentials(query)
    }

    /// Takes the cookies that are credentials, so that the application cannot pass them on by mistake.
    fn without_credentials(
        &self,
        http: &HttpRequest<'_>,
        changes: &mut Mutations<'_>,
    ) -> Result<(), Denial<'static>> {
        let evidence = http.evidence();
        if !self.cookies.iter().any(|name| evidence.has_cookie(name)) {
            return Ok(());
        }
        match evidence.cookies_without(&self.cookies) {
            Some(left) => {
                let left = HeaderText::verbatim(left);
                changes.set.push(("cookie", left.ok_or_else(|| denial::not_rewritable("cookie"))?));
            }
            None => changes.removed_too.push("cookie"),
        }
        Ok(())
    }

    fn removed(&self, user: bool, peer: bool) -> &[u8] {
        let [[neither, only_peer], [only_user, both]] = &self.removed;
        match (user, peer) {
            (false, false) => neither,
            (false, true) => only_peer,
            (true, false) => only_user,
            (true, true) => both,
        }
    }
}

/// The value as a header holds it.
fn header<'a>(
    name: &str,
    value: &Value,
    told: &Told<'a>,
) -> Result<Option<HeaderText<'a>>, Denial<'static>> {
    let text = match value.write(told) {
        None => return Ok(None),
        Some(Written::Text(text)) => Some(HeaderText::encode(text)),
        // Printable by its making.
        Some(Written::Plain(text)) => HeaderText::verbatim(text),
    };
    let text = text.ok_or_else(|| denial::not_rewritable(name))?;
    bounded(value, text, |text| text.as_str().len()).map_err(|()| denial::identity_too_long(name))
}

/// The value if it is no longer than it may be; nothing where it is then dropped.
pub(super) fn bounded<T>(
    value: &Value,
    text: T,
    length: impl Fn(&T) -> usize,
) -> Result<Option<T>, ()> {
    match value.too_long {
        _ if length(&text) <= value.max_bytes => Ok(Some(text)),
        TooLong::Drop => Ok(None),
        TooLong::Refuse => Err(()),
    }
}

/// The text of a value, whatever stands in it.
pub(super) fn plain(written: Written<'_>) -> Cow<'_, str> {
    match written {
        Written::Text(text) => text,
        Written::Plain(text) => Cow::Owned(text),
    }
}

type Headers = (Vec<u8>, Vec<(String, Value, Present)>);

/// What is the same for all, encoded once, and what is told by who calls.
fn response_headers(all: &[ResponseHeader]) -> Headers {
    let (mut same, mut told) = (Vec::new(), Vec::new());
    for ResponseHeader { name, content, when_present } in all {
        let present = match when_present {
            WhenPresent::Replace => Present::Replace,
            WhenPresent::Keep => Present::Keep,
        };
        match content {
            Content::Literal(text) => {
                same.extend(HeaderText::verbatim(text).map(|text| (name.as_str(), text, present)));
            }
            Content::Told(value) => told.push((name.clone(), value.clone(), present)),
        }
    }
    (answer::response_headers(&same), told)
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
