//! Revocations as JSON: in the control plane's store, in a sidecar's state, and on the operator's socket.
//!
//! Read strictly: an unknown field, version or kind refuses the whole document, because what is left out would be trusted
//! again.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::entry::{InvalidWords, Revocation, Until, Words, rfc3339};
use super::subject::{InvalidSerial, RevokedWorkload, Serial, Subject};
use crate::identity::{InvalidSpiffeId, SpiffeId};

/// One revocation as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RawRevocation {
    /// What is revoked.
    pub kind: RawKind,
    /// Its SPIFFE ID.
    pub id: String,
    /// The serial number of its one certificate that is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// RFC 3339.
    pub since: String,
    /// RFC 3339; nothing until it is lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
}

/// What is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RawKind {
    /// A workload, or one certificate of it.
    Workload,
}

/// A field of a revocation cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRevocation {
    /// The SPIFFE ID.
    #[error("id: {0:?} {1}")]
    Id(String, #[source] InvalidSpiffeId),
    /// The serial number.
    #[error("serial: {0}")]
    Serial(#[from] InvalidSerial),
    /// A time.
    #[error("{field}: {text:?} is no moment of RFC 3339 between 1970 and 9999")]
    Time {
        /// Which field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// A text.
    #[error("{field}: {invalid}")]
    Words {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        invalid: InvalidWords,
    },
}

impl From<&Revocation> for RawRevocation {
    fn from(revocation: &Revocation) -> Self {
        let Revocation { subject, since, until, reason, by } = revocation;
        let Subject::Workload(RevokedWorkload { id, serial }) = subject;
        Self {
            kind: RawKind::Workload,
            id: id.to_string(),
            serial: serial.as_ref().map(ToString::to_string),
            since: rfc3339(*since),
            until: match until {
                Until::Lifted => None,
                Until::Moment(end) => Some(rfc3339(*end)),
            },
            reason: reason.to_string(),
            by: by.to_string(),
        }
    }
}

impl TryFrom<RawRevocation> for Revocation {
    type Error = InvalidRevocation;

    fn try_from(raw: RawRevocation) -> Result<Self, InvalidRevocation> {
        let RawRevocation { kind: RawKind::Workload, id, serial, since, until, reason, by } = raw;
        let words = |field, text: &str| {
            Words::parse(text).map_err(|invalid| InvalidRevocation::Words { field, invalid })
        };
        let id = SpiffeId::parse(&id).map_err(|invalid| InvalidRevocation::Id(id, invalid))?;
        let serial = serial.map(|serial| Serial::parse(&serial)).transpose()?;
        Ok(Self {
            subject: Subject::Workload(RevokedWorkload { id, serial }),
            since: moment("since", &since)?,
            until: match until {
                None => Until::Lifted,
                Some(end) => Until::Moment(moment("until", &end)?),
            },
            reason: words("reason", &reason)?,
            by: words("by", &by)?,
        })
    }
}

impl Revocation {
    /// Reads what somebody says now, whatever stands in `since`.
    ///
    /// # Errors
    /// When a field cannot be read.
    pub fn said_at(raw: RawRevocation, now: SystemTime) -> Result<Self, InvalidRevocation> {
        Self::try_from(RawRevocation { since: rfc3339(now), ..raw })
    }
}

/// A moment of RFC 3339 from 1970 on.
fn moment(field: &'static str, text: &str) -> Result<SystemTime, InvalidRevocation> {
    let invalid = || InvalidRevocation::Time { field, text: text.chars().take(80).collect() };
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| invalid())?;
    if at.unix_timestamp() < 0 {
        return Err(invalid());
    }
    Ok(at.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"kind":"workload","id":"spiffe://m/ns/a/sa/b","since":"2026-09-21T14:13:20Z","reason":"r","by":"uid 0"}"#;

    fn read(json: &str) -> Result<Revocation, String> {
        let raw: RawRevocation = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Revocation::try_from(raw).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let whole = read(WHOLE).unwrap();
        assert_eq!(whole.until, Until::Lifted);
        assert_eq!(serde_json::to_string(&RawRevocation::from(&whole)).unwrap(), WHOLE);
        let one = WHOLE.replace(
            r#""reason""#,
            r#""serial":"00AB","until":"2026-09-21T16:13:20+02:00","reason""#,
        );
        let one = read(&one).unwrap();
        let raw = RawRevocation::from(&one);
        assert_eq!(
            (raw.serial.as_deref(), raw.until.as_deref()),
            (Some("ab"), Some("2026-09-21T14:13:20Z"))
        );
        assert_eq!(Revocation::try_from(raw).unwrap(), one);
    }

    #[test]
    fn nothing_odd_is_read() {
        for (from, to, named) in [
            ("spiffe://m/ns/a/sa/b", "spiffe://M/a", "id:"),
            ("\"workload\"", "\"user\"", "unknown variant"),
            ("2026-09-21T14:13:20Z", "tomorrow", "since:"),
            ("2026-09-21T14:13:20Z", "1969-01-01T00:00:00Z", "since:"),
            ("\"r\"", "\"\"", "reason:"),
            ("uid 0", "a\\nb", "by:"),
            ("\"reason\"", "\"serial\":\"zz\",\"reason\"", "serial:"),
            ("\"reason\"", "\"until\":\"x\",\"reason\"", "until:"),
            ("\"reason\"", "\"untill\":null,\"reason\"", "unknown field"),
        ] {
            let error = read(&WHOLE.replace(from, to)).expect_err(to);
            assert!(error.contains(named), "{error}");
        }
    }
}
