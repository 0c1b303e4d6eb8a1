//! What the application and the client see of a decision: headers told by who calls, changes of the query, headers of
//! the response, where browsers sign in, the texts of refusals, and fields of the metadata.
//!
//! Each policy chooses what it cares for. What several policies of one workload say is joined; two that differ are a
//! mistake, because there is no order among policies by which one of them could win.

mod body;
mod content;
mod join;
mod login;
mod name;
mod raw;
mod response;
mod source;

pub use body::{Bodies, Body, BodyWords};
pub use content::{Content, ResponseHeader, WhenPresent};
pub use login::{ForeignHost, Login, Origin as LoginOrigin};
pub(super) use raw::{RawIdentity, RawResponse};
pub use response::{Response, ResponseChoice};
pub use source::{Form, Part, PeerPart, Source, Told, TooLong, Value, Written};

use super::field::FieldPath;
use super::problem::{InvalidRule, Problem};
use super::resource::Checked;
use super::set::SelectedPolicy;
use join::{agreed, union};
use raw::{RawCredentials, RawNamed};

const DEFAULT_USER_HEADER: &str = "x-hopgate-user";
const DEFAULT_PEER_HEADER: &str = "x-hopgate-peer";
/// Envoy refuses requests of more than 100 headers or 60 KiB.
const MAX_HEADERS: usize = 32;
const MAX_BYTES_OF_ALL: usize = 32 * 1024;

/// How the verified identity is presented to the application, and what clients see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presentation {
    /// The header that carries the user.
    pub user_header: String,
    /// The header that carries the peer.
    pub peer_header: String,
    /// What happens to the caller's credentials.
    pub credentials: Credentials,
    /// Further headers for the application.
    pub headers: Vec<Named>,
    /// What else becomes of requests and refusals.
    pub response: Response,
}

/// What happens to the credentials of a permitted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// Removed: the application cannot pass them on by mistake.
    Strip,
    /// Passed to the application.
    Keep,
}

/// A value under a name: a header, or a field of the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Value,
}

/// What one policy says of the presentation; what it leaves out is for others or the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentationChoice {
    /// The header that carries the user.
    pub user_header: Option<String>,
    /// The header that carries the peer.
    pub peer_header: Option<String>,
    /// What happens to the caller's credentials.
    pub credentials: Option<Credentials>,
    /// Further headers for the application.
    pub headers: Vec<Named>,
}

impl PresentationChoice {
    pub(super) fn check(raw: RawIdentity, at: &FieldPath) -> Checked<Self> {
        let RawIdentity { user_header, peer_header, credentials, headers } = raw;
        for (name, field) in [(&user_header, "userHeader"), (&peer_header, "peerHeader")] {
            if let Some(name) = name {
                name::check_request(name, &at.field(field))?;
            }
        }
        if user_header.is_none()
            && peer_header.is_none()
            && credentials.is_none()
            && headers.is_none()
        {
            return Err(Problem::new(at.clone(), "says nothing: leave it out"));
        }
        let at = at.field("headers");
        let headers = match headers {
            Some(raw) => Named::check_all(raw, &at, name::check_request)?,
            None => Vec::new(),
        };
        Ok(Self {
            user_header,
            peer_header,
            credentials: credentials.map(|choice| match choice {
                RawCredentials::Strip => Credentials::Strip,
                RawCredentials::Keep => Credentials::Keep,
            }),
            headers,
        })
    }
}

impl Named {
    fn check_all(
        raw: Vec<RawNamed>,
        at: &FieldPath,
        check_name: fn(&str, &FieldPath) -> Checked<()>,
    ) -> Checked<Vec<Self>> {
        let mut all: Vec<Self> = Vec::with_capacity(raw.len());
        for (place, raw) in raw.into_iter().enumerate() {
            let at = at.item(place);
            let RawNamed { name, from, form, max_bytes, too_long } = raw;
            check_name(&name, &at.field("name"))?;
            if all.iter().any(|named| name::is_same(&named.name, &name)) {
                let message = format!("`{name}` is in the list already");
                return Err(Problem::new(at.field("name"), message));
            }
            all.push(Self { name, value: Value::check((from, &at), form, max_bytes, too_long)? });
        }
        if all.is_empty() {
            return Err(Problem::new(at.clone(), "is empty").hint("leave the field out"));
        }
        Ok(all)
    }
}

impl Presentation {
    /// Joins what the policies of one workload say.
    pub(super) fn join(selected: &[SelectedPolicy<'_>]) -> Result<Self, Vec<InvalidRule>> {
        let mut problems = Vec::new();
        let identity = FieldPath::root().field("spec").field("identity");
        let header = |field: &str, choice: fn(&PresentationChoice) -> &Option<String>| {
            (identity.field(field), choice)
        };
        let mut one = |(at, choice): (FieldPath, fn(&PresentationChoice) -> &Option<String>)| {
            let choice =
                |policy: &SelectedPolicy<'_>| choice(policy.spec.identity.as_ref()?).clone();
            agreed(selected, &at, choice, &mut problems)
        };
        let user_header = one(header("userHeader", |choice| &choice.user_header))
            .unwrap_or_else(|| DEFAULT_USER_HEADER.to_owned());
        let peer_header = one(header("peerHeader", |choice| &choice.peer_header))
            .unwrap_or_else(|| DEFAULT_PEER_HEADER.to_owned());
        let credentials = agreed(
            selected,
            &identity.field("credentials"),
            |policy| policy.spec.identity.as_ref()?.credentials,
            &mut problems,
        )
        .unwrap_or(Credentials::Strip);
        let headers = union(
            selected,
            &identity.field("headers"),
            |policy| policy.spec.identity.as_ref().map_or(&[][..], |choice| &choice.headers),
            |a, b| name::is_same(&a.name, &b.name),
            &mut problems,
        );
        let response = Response::join(selected, &mut problems);
        let joined = Self { user_header, peer_header, credentials, headers, response };
        problems.extend(joined.conflict(selected, &identity));
        if problems.is_empty() { Ok(joined) } else { Err(problems) }
    }

    /// What no policy can be blamed for alone: one header for two things, or too many.
    fn conflict(&self, selected: &[SelectedPolicy<'_>], at: &FieldPath) -> Option<InvalidRule> {
        let (user, peer) = (&self.user_header, &self.peer_header);
        let twice = self
            .headers
            .iter()
            .find(|header| name::is_same(&header.name, user) || name::is_same(&header.name, peer));
        let bytes: usize = self.headers.iter().map(|header| header.value.max_bytes).sum();
        let message = if name::is_same(user, peer) {
            format!("the user and the peer would both be told in `{user}`")
        } else if let Some(header) = twice {
            format!("`{}` tells the user or the peer already", header.name)
        } else if self.headers.len() > MAX_HEADERS || bytes > MAX_BYTES_OF_ALL {
            format!(
                "all policies of this workload have {} headers of up to {bytes} bytes; at most {MAX_HEADERS} of \
                 {MAX_BYTES_OF_ALL} bytes are taken by Envoy",
                self.headers.len()
            )
        } else {
            return None;
        };
        // The defaults do not conflict, so some policy chose.
        let chooser = selected.iter().find(|policy| policy.spec.identity.is_some())?;
        Some(chooser.problem(Problem::new(at.clone(), message)))
    }
}

#[cfg(test)]
mod tests;
