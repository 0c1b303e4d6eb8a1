//! A workload, or one certificate of it, that is no longer trusted.

use std::time::{Duration, SystemTime};

use prost::Message as _;

use crate::identity::{InvalidSpiffeId, SpiffeId};
use crate::proto::discovery;
use crate::revocation::{Revocation, Serial, Subject, Until, Words};

use super::Encoded;

/// The longest serial number: 20 octets (RFC 5280 section 4.1.2.2) and a zero in front.
const MAX_SERIAL: usize = 42;
/// How much of the operator's reason is sent.
const MAX_REASON_CHARACTERS: usize = 200;

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedWorkload {
    /// The workload.
    pub id: SpiffeId,
    /// Only the certificate of this serial number, in lower-case hexadecimal; `None` for every one.
    pub serial: Option<String>,
    /// When it ends by itself; `None` for never. Whole seconds on the wire.
    pub until: Option<SystemTime>,
    /// Why, as the operator said it; cut to 200 characters on the wire.
    pub reason: String,
    /// Who revoked it.
    pub by: String,
}

/// A message is no revocation. It must not be passed over: what it revokes would stay trusted.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRevoked {
    /// The bytes are no such message.
    #[error("the revocation {name:?} is no RevokedWorkload message")]
    Unreadable {
        /// The name of the resource.
        name: String,
        /// What is wrong.
        #[source]
        source: prost::DecodeError,
    },
    /// The workload is no SPIFFE ID.
    #[error("the revocation {name:?} names no workload")]
    Id {
        /// The name of the resource.
        name: String,
        /// What is wrong.
        #[source]
        source: InvalidSpiffeId,
    },
    /// The serial number is not one.
    #[error("the revocation {0:?} has a serial number that is not lower-case hexadecimal")]
    Serial(String),
    /// The end is out of range.
    #[error("the revocation {0:?} ends at no moment that there is")]
    Until(String),
    /// Name and content differ.
    #[error("the revocation {name:?} is about {found:?}")]
    Name {
        /// The name of the resource.
        name: String,
        /// What the content would be named.
        found: String,
    },
}

impl RevokedWorkload {
    /// The name of the resource: the SPIFFE ID, or the SPIFFE ID, a space and the serial number.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.serial {
            None => self.id.as_str().to_owned(),
            Some(serial) => format!("{} {serial}", self.id),
        }
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// When the message is damaged, or name and content differ.
    pub fn decode(name: &str, content: &[u8]) -> Result<Self, InvalidRevoked> {
        let discovery::RevokedWorkload { spiffe_id, serial, until, reason, by } =
            discovery::RevokedWorkload::decode(content)
                .map_err(|source| InvalidRevoked::Unreadable { name: name.to_owned(), source })?;
        let id = SpiffeId::parse(&spiffe_id)
            .map_err(|source| InvalidRevoked::Id { name: name.to_owned(), source })?;
        let serial = if serial.is_empty() { None } else { Some(serial) };
        let hexadecimal = |serial: &String| {
            serial.len() <= MAX_SERIAL
                && serial.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !serial.as_ref().is_none_or(hexadecimal) {
            return Err(InvalidRevoked::Serial(name.to_owned()));
        }
        let until = match until {
            0 => None,
            seconds => Some(
                SystemTime::UNIX_EPOCH
                    .checked_add(Duration::from_secs(seconds))
                    .ok_or_else(|| InvalidRevoked::Until(name.to_owned()))?,
            ),
        };
        let revoked = Self { id, serial, until, reason, by };
        let found = revoked.name();
        if found == name {
            return Ok(revoked);
        }
        Err(InvalidRevoked::Name { name: name.to_owned(), found })
    }

    /// The resource that says this.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let since = |until: SystemTime| until.duration_since(SystemTime::UNIX_EPOCH);
        let message = discovery::RevokedWorkload {
            spiffe_id: self.id.as_str().to_owned(),
            serial: self.serial.clone().unwrap_or_default(),
            // Zero would mean for ever; an end before 1970 is as over as one a second later.
            until: self.until.map_or(0, |until| since(until).map_or(1, |s| s.as_secs().max(1))),
            reason: self.reason.chars().take(MAX_REASON_CHARACTERS).collect(),
            by: self.by.chars().take(MAX_REASON_CHARACTERS).collect(),
        };
        Encoded { name: self.name(), content: message.encode_to_vec() }
    }
}

impl From<&Revocation> for RevokedWorkload {
    fn from(revocation: &Revocation) -> Self {
        let Revocation { subject: Subject::Workload(workload), since: _, until, reason, by } =
            revocation;
        Self {
            id: workload.id.clone(),
            serial: workload.serial.as_ref().map(ToString::to_string),
            until: match until {
                Until::Lifted => None,
                Until::Moment(end) => Some(*end),
            },
            reason: reason.to_string(),
            by: by.to_string(),
        }
    }
}

impl From<&RevokedWorkload> for Revocation {
    /// Never fails, because what is left out would be trusted: a serial number that is none revokes the whole workload.
    /// When it was said is not told.
    fn from(revoked: &RevokedWorkload) -> Self {
        let RevokedWorkload { id, serial, until, reason, by } = revoked;
        let serial = serial.as_deref().and_then(|serial| Serial::parse(serial).ok());
        Self {
            subject: Subject::Workload(crate::revocation::RevokedWorkload {
                id: id.clone(),
                serial,
            }),
            since: SystemTime::UNIX_EPOCH,
            until: until.map_or(Until::Lifted, Until::Moment),
            reason: Words::lossy(reason, "no reason was told"),
            by: Words::lossy(by, "the control plane"),
        }
    }
}
