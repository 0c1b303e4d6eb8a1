//! What a policy changes in the query of a permitted request. The rules have judged the query as it came.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::denial;
use super::presentation::{bounded, plain};
use super::request::HttpRequest;
use super::target;
use super::verdict::Denial;
use crate::policy::presentation::{Content, Response, Told, Value};

/// All but the unreserved characters of RFC 3986, section 2.3.
const PARAMETER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is cut out of the query, and what is set behind it.
#[derive(Debug)]
pub(super) struct QueryEdits {
    /// The parameters that are credentials. They are always cut: queries end up in logs.
    credentials: Vec<String>,
    /// Those that the policy removes or sets.
    others: Vec<String>,
    set: Vec<Parameter>,
}

#[derive(Debug)]
enum Parameter {
    /// `name=value`, encoded.
    Same(String),
    /// `name=`, encoded, and what is told by who calls.
    Told(String, Value),
}

impl QueryEdits {
    pub(super) fn new(credentials: Vec<String>, response: &Response) -> Self {
        let names = response.query_set.iter().map(|(name, _)| name);
        let others = names.chain(&response.query_removed).cloned().collect();
        let set = response.query_set.iter().map(|(name, content)| {
            let start = format!("{}=", utf8_percent_encode(name, PARAMETER));
            match content {
                Content::Literal(text) => {
                    Parameter::Same(format!("{start}{}", utf8_percent_encode(text, PARAMETER)))
                }
                Content::Told(value) => Parameter::Told(start, value.clone()),
            }
        });
        Self { credentials, others, set: set.collect() }
    }

    /// The target with its query changed; nothing where it stays as it is.
    pub(super) fn rewritten(
        &self,
        http: &HttpRequest<'_>,
        told: &Told<'_>,
    ) -> Result<Option<String>, Denial<'static>> {
        let path = http.path.as_str();
        // A request without a path (CONNECT) has no query either, and must not be given one.
        if path.is_empty() {
            return Ok(None);
        }
        let is_cut = |name: &str| self.is_cut(name);
        let untouched = self.credentials.is_empty() && self.others.is_empty();
        let query = http.path.query().filter(|_| !untouched);
        let mut left = query.and_then(|query| target::without(query, is_cut));
        for parameter in &self.set {
            let parameter = match parameter {
                Parameter::Same(text) => text.clone(),
                Parameter::Told(start, value) => {
                    let Some(written) = value.write(told) else { continue };
                    let text = utf8_percent_encode(&plain(written), PARAMETER).to_string();
                    match bounded(value, text, String::len) {
                        Ok(Some(text)) => format!("{start}{text}"),
                        Ok(None) => continue,
                        Err(()) => return Err(denial::identity_too_long(start)),
                    }
                }
            };
            let query =
                left.get_or_insert_with(|| http.path.query().unwrap_or_default().to_owned());
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(&parameter);
        }
        Ok(left.map(|query| target::join(path, &query)))
    }

    /// True when the target could be written anew.
    pub(super) fn rewrites(&self, http: &HttpRequest<'_>) -> bool {
        let is_cut = |name: &str| self.is_cut(name);
        let query = http.path.query().unwrap_or_default();
        !http.path.as_str().is_empty()
            && (!self.set.is_empty() || target::without(query, is_cut).is_some())
    }

    /// The query without credentials; nothing where there are none.
    pub(super) fn without_credentials(&self, query: &str) -> Option<String> {
        target::without(query, |name| self.credentials.iter().any(|parameter| parameter == name))
    }

    fn is_cut(&self, name: &str) -> bool {
        self.credentials.iter().chain(&self.others).any(|parameter| parameter == name)
    }
}
