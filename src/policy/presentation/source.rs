//! Where a value that is told by who calls comes from, and how it is written.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value as Json;

use super::raw::{RawClaim, RawForm, RawSource, RawTooLong};
use crate::identity::SpiffeId;
use crate::policy::facts::{Confirmation, Groups, UserFacts};
use crate::policy::field::FieldPath;
use crate::policy::problem::{Problem, did_you_mean, quoted};
use crate::policy::resource::Checked;

const DEFAULT_BYTES: usize = 2048;
const MAX_BYTES: usize = 8192;
const MAX_PATH: usize = 8;

/// A value that is told by who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Where it comes from.
    pub source: Source,
    /// How it is written.
    pub form: Form,
    /// The longest it may be as it is written, in bytes.
    pub max_bytes: usize,
    /// What happens when it is longer.
    pub too_long: TooLong,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Whoever the credential speaks for.
    User(Part),
    /// The program that calls for the user.
    Client(Part),
    /// The workload on the wire.
    Peer(PeerPart),
}

/// A part of a user or client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Whom the credential speaks for.
    Subject,
    /// The name of the identity provider: subjects are unique only within one.
    Provider,
    /// The roles.
    Roles,
    /// The scopes.
    Scopes,
    /// The groups; absent where the provider does not say which.
    Groups,
    /// The tenant or organization.
    Tenant,
    /// The mail address.
    Email,
    /// How the credential is bound to a key of its holder: `Dpop` or `Certificate`.
    BoundBy,
    /// A claim, by the names on the way to it.
    Claim(Vec<String>),
}

/// A part of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerPart {
    /// The SPIFFE ID.
    Id,
    /// The trust domain.
    TrustDomain,
    /// The namespace; absent where the ID has none.
    Namespace,
    /// The service account; absent where the ID has none.
    ServiceAccount,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text, numbers and booleans as they are; a list joined by commas. What holds anything else, or is empty, is absent.
    Text,
    /// JSON in ASCII.
    Json,
    /// JSON in base64url without padding.
    Base64Url,
}

/// What happens when a value is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLong {
    /// It is absent.
    Drop,
    /// The request is refused.
    Refuse,
}

/// Who calls, for values to be told by.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// Whoever the credential speaks for.
    pub user: Option<&'a UserFacts>,
    /// The program that calls for the user.
    pub client: Option<&'a UserFacts>,
    /// The workload on the wire.
    pub peer: Option<&'a SpiffeId>,
}

/// A value as it is written, before the place where it goes has encoded it.
#[derive(Debug, PartialEq, Eq)]
pub enum Written<'a> {
    /// Text of somebody else's choice: anything may stand in it.
    Text(Cow<'a, str>),
    /// Printable ASCII by its making.
    Plain(String),
}

/// What stands at a source.
enum Found<'a> {
    Text(Cow<'a, str>),
    List(&'a [String]),
    Json(&'a Json),
}

impl Value {
    pub(super) fn check(
        (from, at): (RawSource, &FieldPath),
        form: Option<RawForm>,
        max_bytes: Option<u64>,
        too_long: Option<RawTooLong>,
    ) -> Checked<Self> {
        let max_bytes = match max_bytes {
            None => DEFAULT_BYTES,
            Some(bytes) => match usize::try_from(bytes) {
                Ok(bytes) if (1..=MAX_BYTES).contains(&bytes) => bytes,
                Ok(_) | Err(_) => {
                    let message = format!("is {bytes}; it may be 1 to {MAX_BYTES}");
                    return Err(Problem::new(at.field("maxBytes"), message));
                }
            },
        };
        Ok(Self {
            source: Source::check(from, &at.field("from"))?,
            form: match form {
                None | Some(RawForm::Text) => Form::Text,
                Some(RawForm::Json) => Form::Json,
                Some(RawForm::Base64Url) => Form::Base64Url,
            },
            max_bytes,
            too_long: match too_long {
                None | Some(RawTooLong::Refuse) => TooLong::Refuse,
                Some(RawTooLong::Drop) => TooLong::Drop,
            },
        })
    }

    /// The value for these callers; nothing where it is absent. Never empty.
    #[must_use]
    pub fn write<'a>(&self, told: &Told<'a>) -> Option<Written<'a>> {
        let found = self.source.find(told)?;
        match self.form {
            Form::Text => found.text(),
            Form::Json => found.json().map(|json| Written::Plain(ascii(&json))),
            Form::Base64Url => {
                found.json().map(|json| Written::Plain(URL_SAFE_NO_PAD.encode(json)))
            }
        }
    }
}

/// The fields by name.
static FIELDS: [(&str, Source); 20] = [
    ("user.subject", Source::User(Part::Subject)),
    ("user.provider", Source::User(Part::Provider)),
    ("user.roles", Source::User(Part::Roles)),
    ("user.scopes", Source::User(Part::Scopes)),
    ("user.groups", Source::User(Part::Groups)),
    ("user.tenant", Source::User(Part::Tenant)),
    ("user.email", Source::User(Part::Email)),
    ("user.boundBy", Source::User(Part::BoundBy)),
    ("client.subject", Source::Client(Part::Subject)),
    ("client.provider", Source::Client(Part::Provider)),
    ("client.roles", Source::Client(Part::Roles)),
    ("client.scopes", Source::Client(Part::Scopes)),
    ("client.groups", Source::Client(Part::Groups)),
    ("client.tenant", Source::Client(Part::Tenant)),
    ("client.email", Source::Client(Part::Email)),
    ("client.boundBy", Source::Client(Part::BoundBy)),
    ("peer.id", Source::Peer(PeerPart::Id)),
    ("peer.trustDomain", Source::Peer(PeerPart::TrustDomain)),
    ("peer.namespace", Source::Peer(PeerPart::Namespace)),
    ("peer.serviceAccount", Source::Peer(PeerPart::ServiceAccount)),
];

impl Source {
    fn check(raw: RawSource, at: &FieldPath) -> Checked<Self> {
        match raw {
            RawSource::Field(text) => {
                let names = || FIELDS.iter().map(|(name, _)| *name);
                let found = FIELDS.iter().find(|(name, _)| *name == text);
                found.map(|(_, source)| source.clone()).ok_or_else(|| {
                    let message = format!("`{text}` is no field; there are {}", quoted(names()));
                    let close = did_you_mean(&text, names());
                    let claim = "a claim is written { user: [name] }".to_owned();
                    Problem::new(at.clone(), message).hint(close.unwrap_or(claim))
                })
            }
            RawSource::Claim(RawClaim { user, client }) => match (user, client) {
                (Some(path), None) => Ok(Self::User(claim(path, &at.field("user"))?)),
                (None, Some(path)) => Ok(Self::Client(claim(path, &at.field("client"))?)),
                (Some(_), Some(_)) => Err(Problem::new(at.clone(), "has both `user` and `client`")),
                (None, None) => Err(Problem::new(at.clone(), "needs `user` or `client`")),
            },
        }
    }

    fn find<'a>(&self, told: &Told<'a>) -> Option<Found<'a>> {
        match self {
            Self::User(part) => part.find(told.user?),
            Self::Client(part) => part.find(told.client?),
            Self::Peer(part) => part.find(told.peer?),
        }
    }
}

fn claim(path: Vec<String>, at: &FieldPath) -> Checked<Part> {
    if path.is_empty() || path.len() > MAX_PATH || path.iter().any(String::is_empty) {
        let message = format!("is no path of 1 to {MAX_PATH} names");
        return Err(Problem::new(at.clone(), message));
    }
    Ok(Part::Claim(path))
}

impl Part {
    fn find<'a>(&self, user: &'a UserFacts) -> Option<Found<'a>> {
        let text = |text: &'a str| Some(Found::Text(Cow::Borrowed(text)));
        match self {
            Self::Subject => text(user.subject()),
            Self::Provider => text(user.provider()),
            Self::Roles => Some(Found::List(user.roles())),
            Self::Scopes => Some(Found::List(user.scopes())),
            Self::Groups => match user.groups() {
                Groups::Known(groups) => Some(Found::List(groups)),
                Groups::Unknown => None,
            },
            Self::Tenant => user.tenant().and_then(text),
            Self::Email => user.email().and_then(text),
            Self::BoundBy => user.confirmation().and_then(|confirmation| match confirmation {
                Confirmation::Dpop => text("Dpop"),
                Confirmation::Certificate => text("Certificate"),
            }),
            Self::Claim(path) => {
                let (first, rest) = path.split_first()?;
                let first = user.claims().get(first)?;
                rest.iter().try_fold(first, |value, name| value.get(name)).map(Found::Json)
            }
        }
    }
}

impl PeerPart {
    fn find(self, peer: &SpiffeId) -> Option<Found<'_>> {
        let text = match self {
            Self::Id => Cow::Borrowed(peer.as_str()),
            Self::TrustDomain => Cow::Owned(peer.trust_domain().as_str().to_owned()),
            Self::Namespace => Cow::Borrowed(peer.service_account()?.0),
            Self::ServiceAccount => Cow::Borrowed(peer.service_account()?.1),
        };
        Some(Found::Text(text))
    }
}

impl<'a> Found<'a> {
    fn text(self) -> Option<Written<'a>> {
        let written = match self {
            Self::Text(text) => Written::Text(text),
            Self::List(members) => Written::Plain(joined(members.iter().map(String::as_str))),
            Self::Json(Json::String(text)) => Written::Text(Cow::Borrowed(text)),
            Self::Json(Json::Array(members)) => {
                let members: Option<Vec<Cow<'_, str>>> = members.iter().map(scalar).collect();
                Written::Plain(joined(members?.iter().map(Cow::as_ref)))
            }
            Self::Json(value) => Written::Plain(scalar(value)?.into_owned()),
        };
        let is_empty = match &written {
            Written::Text(text) => text.is_empty(),
            Written::Plain(text) => text.is_empty(),
        };
        (!is_empty).then_some(written)
    }

    fn json(&self) -> Option<String> {
        match self {
            Self::Text(text) => json(text.as_ref()),
            Self::List(members) => json(members),
            Self::Json(Json::Null) => None,
            Self::Json(value) => json(value),
        }
    }
}

fn json(value: &(impl Serialize + ?Sized)) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// Text, number or boolean.
fn scalar(value: &Json) -> Option<Cow<'_, str>> {
    match value {
        Json::String(text) => Some(Cow::Borrowed(text)),
        Json::Number(number) => Some(Cow::Owned(number.to_string())),
        Json::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Members with commas between them, and none inside: commas, blanks, percent signs and what is no printable ASCII are
/// percent-encoded.
fn joined<'m>(members: impl Iterator<Item = &'m str>) -> String {
    const MEMBER: &AsciiSet = &CONTROLS.add(b'%').add(b',').add(b' ');
    let mut text = String::new();
    for (place, member) in members.enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.extend(utf8_percent_encode(member, MEMBER));
    }
    text
}

/// The same JSON in printable ASCII: whatever else there is stands inside texts, where `\u` says it.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii_graphic() || c == ' ' {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests;
