//! The file of API keys as it is written. Each part is judged as it is read, so that a mistake has a line.

use std::fmt;
use std::marker::PhantomData;
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::policy::yaml::present;

use super::ApiKey;

/// The longest id, subject, role and so on.
const LONGEST: usize = 256;
/// Names that a rule would take for something that was proven by a token, or for one of the fields.
const RESERVED: [&str; 15] = [
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf", "roles", "groups", "scope", "scopes",
    "scp", "tenant", "email",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    id: Spanned<Read<Name>>,
    sha256: Read<Digest>,
    #[serde(default, deserialize_with = "present")]
    subject: Option<Read<Name>>,
    #[serde(default, deserialize_with = "present")]
    roles: Option<Vec<Read<Name>>>,
    #[serde(default, deserialize_with = "present")]
    scopes: Option<Vec<Read<Word>>>,
    #[serde(default, deserialize_with = "present")]
    groups: Option<Vec<Read<Name>>>,
    #[serde(default, deserialize_with = "present")]
    tenant: Option<Read<Name>>,
    #[serde(default, deserialize_with = "present")]
    email: Option<Read<Name>>,
    #[serde(default, deserialize_with = "present")]
    expires: Option<Read<Moment>>,
    #[serde(default, deserialize_with = "claims")]
    claims: Map<String, Value>,
}

impl Entry {
    /// The line of the entry's id.
    pub(super) fn line(&self) -> u64 {
        self.id.referenced.line()
    }
}

impl From<Entry> for ApiKey {
    fn from(entry: Entry) -> Self {
        let Entry { id, sha256, subject, roles, scopes, groups, tenant, email, expires, claims } =
            entry;
        let names = |list: Option<Vec<Read<Name>>>| {
            list.into_iter().flatten().map(|name| name.0).collect::<Vec<_>>()
        };
        let id = id.value.0;
        Self {
            digest: sha256.0,
            subject: subject.map_or_else(|| id.clone(), |subject| subject.0),
            id,
            roles: names(roles),
            scopes: scopes.into_iter().flatten().map(|scope| scope.0).collect(),
            groups: names(groups),
            tenant: tenant.map(|tenant| tenant.0),
            email: email.map(|email| email.0),
            expires: expires.map(|expires| expires.0),
            claims,
        }
    }
}

/// What a text must be.
trait Kind {
    type Value;
    const EXPECTED: &'static str;

    fn read(text: &str) -> Option<Self::Value>;
}

/// A text that was read as a kind. A mistake never shows the text: somebody will write the key itself one day.
struct Read<K: Kind>(K::Value);

/// Visible text without blanks at its ends.
struct Name;
/// Visible text without any blank.
struct Word;
/// SHA-256 in hexadecimal.
struct Digest;
/// A time of RFC 3339.
struct Moment;

impl Kind for Name {
    type Value = String;
    const EXPECTED: &'static str =
        "1 to 256 characters without control characters and without blanks at the ends";

    fn read(text: &str) -> Option<String> {
        let good = !text.is_empty()
            && text.len() <= LONGEST
            && text.trim() == text
            && !text.chars().any(char::is_control);
        good.then(|| text.to_owned())
    }
}

impl Kind for Word {
    type Value = String;
    const EXPECTED: &'static str = "1 to 256 characters without blanks";

    fn read(text: &str) -> Option<String> {
        Name::read(text).filter(|text| !text.contains(char::is_whitespace))
    }
}

impl Kind for Digest {
    type Value = [u8; 32];
    const EXPECTED: &'static str = "the SHA-256 of the key in 64 hexadecimal digits";

    fn read(text: &str) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        if text.len() != 2 * digest.len() {
            return None;
        }
        let mut digits = text.chars().map(|digit| digit.to_digit(16));
        for byte in &mut digest {
            let (high, low) = (digits.next()??, digits.next()??);
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(digest)
    }
}

impl Kind for Moment {
    type Value = SystemTime;
    const EXPECTED: &'static str = "a time such as 2027-01-01T00:00:00Z";

    fn read(text: &str) -> Option<SystemTime> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Read<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ReadVisitor(PhantomData))
    }
}

struct ReadVisitor<K>(PhantomData<K>);

impl<K: Kind> Visitor<'_> for ReadVisitor<K> {
    type Value = Read<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Read<K>, E> {
        K::read(text)
            .map(Read)
            .ok_or_else(|| E::invalid_value(Unexpected::Other("another text"), &self))
    }
}

fn claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let claims: Map<String, Value> = Deserialize::deserialize(deserializer)?;
    match RESERVED.iter().find(|name| claims.contains_key(**name)) {
        Some(name) => Err(D::Error::custom(format!(
            "the claim `{name}` may not stand here; roles, groups, scopes, tenant and email are fields"
        ))),
        None => Ok(claims),
    }
}
