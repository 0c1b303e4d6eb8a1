//! Where in a request a credential may stand.

use super::raw::{RawChoose, RawCsrf, RawDoubleSubmit, RawPlace};
use super::value::check_origin;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list, is_token};

const MAX_PLACES: usize = 8;
/// Headers that say something else, or that Envoy and the gate write themselves.
const TAKEN: [&str; 14] = [
    "host",
    "cookie",
    "dpop",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "upgrade",
    "origin",
    "referer",
    "x-request-id",
    "x-forwarded-client-cert",
    "client-cert",
    "client-cert-chain",
];

/// Where the credentials of one provider may stand, in order, and what several at once mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The places. Empty only for providers of client certificates.
    pub list: Vec<Place>,
    /// What several credentials at once mean.
    pub choose: Choose,
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A header.
    Header {
        /// Its name, in lower case.
        name: String,
        /// The authentication scheme before the credential, compared without case; without one the whole value is it.
        scheme: Option<String>,
    },
    /// A cookie, which a browser sends along with requests that other sites cause.
    Cookie {
        /// Its name.
        name: String,
        /// How a request that changes something shows that it comes from our own pages.
        csrf: Csrf,
    },
    /// A parameter of the query. It is removed before the application sees the request.
    Query {
        /// Its name.
        name: String,
    },
}

/// How a request with a cookie shows that it comes from our own pages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Csrf {
    /// Its `Origin`, or without one the origin of its `Referer`, is one of these.
    Origins(Vec<String>),
    /// A header repeats the value of a second cookie, which other sites cannot read.
    DoubleSubmit {
        /// The cookie.
        cookie: String,
        /// The header, in lower case.
        header: String,
    },
}

/// What it means when several places hold a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choose {
    /// The request is refused.
    ExactlyOne,
    /// The first place of the list counts.
    First,
}

impl Places {
    /// `Authorization: Bearer` (RFC 6750, section 2.1).
    #[must_use]
    pub fn bearer() -> Self {
        let list = vec![Place::bearer()];
        Self { list, choose: Choose::ExactlyOne }
    }

    /// No place: the credential is the client certificate.
    pub(super) fn connection() -> Self {
        Self { list: Vec::new(), choose: Choose::ExactlyOne }
    }

    pub(super) fn check(
        list: Option<Vec<RawPlace>>,
        choose: Option<RawChoose>,
        at: &FieldPath,
    ) -> Checked<Self> {
        let choose = match choose {
            Some(RawChoose::First) => Choose::First,
            Some(RawChoose::ExactlyOne) | None => Choose::ExactlyOne,
        };
        let Some(list) = list else { return Ok(Self { choose, ..Self::bearer() }) };
        let at = at.field("from");
        let list = list
            .into_iter()
            .enumerate()
            .map(|(place, raw)| Place::check(raw, &at.item(place)))
            .collect::<Checked<Vec<Place>>>()?;
        let list = check_list(list, &at)?;
        if list.len() > MAX_PLACES {
            return Err(Problem::new(at, format!("has more than {MAX_PLACES} places")));
        }
        Ok(Self { list, choose })
    }
}

impl Place {
    /// `Authorization: Bearer`.
    #[must_use]
    pub fn bearer() -> Self {
        Self::Header { name: "authorization".to_owned(), scheme: Some("Bearer".to_owned()) }
    }

    fn check(raw: RawPlace, at: &FieldPath) -> Checked<Self> {
        let RawPlace { header, scheme, cookie, csrf, query } = raw;
        match (header, scheme, cookie, csrf, query) {
            (Some(name), scheme, None, None, None) => {
                let name = check_header(&name, &at.field("header"))?;
                if name == "authorization" && scheme.is_none() {
                    return Err(Problem::new(
                        at.clone(),
                        "needs a `scheme`: it is part of that header",
                    )
                    .hint("for example scheme: Bearer"));
                }
                if let Some(scheme) = &scheme
                    && !is_token(scheme)
                {
                    let message = format!("`{scheme}` is no authentication scheme");
                    return Err(Problem::new(at.field("scheme"), message));
                }
                Ok(Self::Header { name, scheme })
            }
            (None, None, Some(name), csrf, None) => {
                check_name(&name, &at.field("cookie"))?;
                let csrf = csrf.ok_or_else(|| {
                    Problem::new(at.clone(), "a cookie needs `csrf`").hint(
                        "browsers send cookies with requests that other sites cause: csrf: { origins: [https://shop.example] }",
                    )
                })?;
                Ok(Self::Cookie { name, csrf: Csrf::check(csrf, &at.field("csrf"))? })
            }
            (None, None, None, None, Some(name)) => {
                check_name(&name, &at.field("query"))?;
                Ok(Self::Query { name })
            }
            _ => Err(Problem::new(at.clone(), "is no place for a credential").hint(
                "write one of { header: .., scheme: .. }, { cookie: .., csrf: .. }, { query: .. }",
            )),
        }
    }
}

impl Csrf {
    fn check(raw: RawCsrf, at: &FieldPath) -> Checked<Self> {
        let RawCsrf { origins, double_submit } = raw;
        match (origins, double_submit) {
            (Some(list), None) => {
                let at = at.field("origins");
                let list = check_list(list, &at)?;
                for (place, origin) in list.iter().enumerate() {
                    check_origin(origin, &at.item(place))?;
                }
                Ok(Self::Origins(list))
            }
            (None, Some(RawDoubleSubmit { cookie, header })) => {
                let at = at.field("doubleSubmit");
                check_name(&cookie, &at.field("cookie"))?;
                let header = check_header(&header, &at.field("header"))?;
                Ok(Self::DoubleSubmit { cookie, header })
            }
            (Some(_), Some(_)) | (None, None) => {
                Err(Problem::new(at.clone(), "needs one of `origins` and `doubleSubmit`"))
            }
        }
    }
}

/// A header name in lower case that a credential may stand in.
fn check_header(name: &str, at: &FieldPath) -> Checked<String> {
    let name = name.to_ascii_lowercase();
    if !is_token(&name) || name.contains('_') {
        return Err(Problem::new(at.clone(), format!("`{name}` is no header name")));
    }
    if TAKEN.contains(&name.as_str()) {
        return Err(Problem::new(at.clone(), format!("`{name}` has a meaning of its own")));
    }
    Ok(name)
}

/// A name of a cookie or parameter that needs no escaping.
fn check_name(name: &str, at: &FieldPath) -> Checked<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
        return Err(Problem::new(at.clone(), format!("`{name}` is no plain name"))
            .hint("letters, digits, dashes, dots and underscores"));
    }
    Ok(())
}
