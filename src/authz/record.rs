//! The decision record: one JSON line per Check. It says who, what, which rule, why, and how long, and never holds
//! a token, a cookie, a signature or a query.

use std::io::Write as _;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::gate::Judged;
use super::verdict::Verdict;
use crate::policy::{Groups, UserFacts};

/// Every field a record can have, in order. A golden list: readers of the log key on these names.
pub const RECORD_FIELDS: &[&str] = &[
    "time",
    "decision",
    "code",
    "reason",
    "hint",
    "credential.provider",
    "revoked.id",
    "rule.name",
    "audit.decision",
    "audit.code",
    "audit.rule",
    "peer.id",
    "peer.via",
    "user.provider",
    "user.id",
    "token.id",
    "user.roles",
    "user.groups",
    "user.scopes",
    "user.tenant",
    "client.provider",
    "client.id",
    "client.roles",
    "client.groups",
    "client.scopes",
    "client.tenant",
    "request.id",
    "request.method",
    "request.host",
    "request.path",
    "source.address",
    "trace.id",
    "revision",
    "duration_us",
];

/// Longer texts that a client chose are cut in the record.
const MAX_TEXT: usize = 1024;
/// Longer lists are left out: half a list would be taken for all of it.
const MAX_NAMES: usize = 64;

/// Whether records say more of users and clients than who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallerAttributes {
    /// They do not.
    #[default]
    Omit,
    /// Roles, groups, scopes and the tenant, so that a record can be judged again under other rules. Other claims are
    /// never recorded.
    Record,
}

/// One record, borrowed from the judged request.
pub(super) struct Record<'j> {
    judged: &'j Judged<'j, 'j>,
    elapsed: Duration,
    attributes: CallerAttributes,
}

impl<'j> Record<'j> {
    pub(super) fn of(
        judged: &'j Judged<'_, '_>,
        elapsed: Duration,
        attributes: CallerAttributes,
    ) -> Self {
        Self { judged, elapsed, attributes }
    }

    /// Appends the line, with its line break.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let judged = self.judged;
        out.extend_from_slice(b"{\"time\":\"");
        // Writing to a Vec does not fail; a year past 9999 leaves the field empty.
        drop(OffsetDateTime::from(judged.received).format_into(out, &Rfc3339));
        out.push(b'"');
        match &judged.verdict {
            Verdict::Permit(_) => out.extend_from_slice(b",\"decision\":\"allow\""),
            Verdict::Denial(denial) => {
                out.extend_from_slice(b",\"decision\":\"deny\",\"code\":\"");
                out.extend_from_slice(denial.code().as_bytes());
                out.push(b'"');
                text(out, "reason", denial.reason());
                if let Some(hint) = denial.hint() {
                    text(out, "hint", hint);
                }
                if let Some(provider) = denial.provider() {
                    text(out, "credential.provider", provider);
                }
                if let Some(id) = denial.revoked_workload() {
                    text(out, "revoked.id", id);
                }
            }
        }
        if let Some(rule) = judged.verdict.rule() {
            text(out, "rule.name", rule.as_str());
        }
        if let Some(audited) = &judged.audited {
            let is_allowed = audited.code == "allow";
            text(out, "audit.decision", if is_allowed { "allow" } else { "deny" });
            if !is_allowed {
                text(out, "audit.code", audited.code);
            }
            if let Some(rule) = audited.rule {
                text(out, "audit.rule", rule.as_str());
            }
        }
        self.write_principals(out);
        text(out, "request.id", judged.request_id.as_str());
        self.write_request(out);
        text(out, "revision", judged.snapshot.revision());
        out.extend_from_slice(b",\"duration_us\":");
        let micros = u64::try_from(self.elapsed.as_micros()).unwrap_or(u64::MAX);
        out.extend_from_slice(itoa::Buffer::new().format(micros).as_bytes());
        out.extend_from_slice(b"}\n");
    }

    fn write_principals(&self, out: &mut Vec<u8>) {
        let callers = &self.judged.callers;
        if let Some(peer) = callers.peer() {
            text(out, "peer.id", peer.as_str());
        }
        if let Some(proxy) = callers.via() {
            text(out, "peer.via", proxy.as_str());
        }
        if let Some(user) = callers.user() {
            text(out, "user.provider", user.provider());
            text(out, "user.id", user.subject());
            if let Some(id) = callers.token_id() {
                text(out, "token.id", id);
            }
            self.write_attributes(out, USER_ATTRIBUTES, user);
        }
        if let Some(client) = callers.client() {
            text(out, "client.provider", client.provider());
            text(out, "client.id", client.subject());
            self.write_attributes(out, CLIENT_ATTRIBUTES, client);
        }
    }

    fn write_attributes(&self, out: &mut Vec<u8>, fields: [&'static str; 4], of: &UserFacts) {
        match self.attributes {
            CallerAttributes::Omit => return,
            CallerAttributes::Record => {}
        }
        let [roles, groups, scopes, tenant] = fields;
        names(out, roles, of.roles());
        match of.groups() {
            Groups::Known(known) => names(out, groups, known),
            Groups::Unknown => {}
        }
        names(out, scopes, of.scopes());
        if let Some(name) = of.tenant() {
            text(out, tenant, name);
        }
    }

    fn write_request(&self, out: &mut Vec<u8>) {
        let envelope = &self.judged.envelope;
        if let Some(target) = envelope.http {
            text(out, "request.method", target.method);
            text(out, "request.host", target.host);
            text(out, "request.path", target.path);
        }
        if let Some(address) = envelope.source_address {
            text(out, "source.address", address);
        }
        if let Some(trace) = envelope.trace_id {
            text(out, "trace.id", trace);
        }
    }
}

const USER_ATTRIBUTES: [&str; 4] = ["user.roles", "user.groups", "user.scopes", "user.tenant"];
const CLIENT_ATTRIBUTES: [&str; 4] =
    ["client.roles", "client.groups", "client.scopes", "client.tenant"];

/// Appends `,"name":["value"]`, or nothing where the list or a member is too long.
fn names(out: &mut Vec<u8>, name: &'static str, values: &[String]) {
    if values.len() > MAX_NAMES || values.iter().any(|value| value.len() > MAX_TEXT) {
        return;
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    // Serialising texts to a Vec does not fail.
    drop(serde_json::to_writer(&mut *out, values));
}

/// Appends `,"name":"value"`, escaped, cut at [`MAX_TEXT`] bytes.
fn text(out: &mut Vec<u8>, name: &'static str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    let cut = value.floor_char_boundary(MAX_TEXT);
    let shown = value.get(..cut).unwrap_or_default();
    if needs_escape(shown.as_bytes()) {
        // Serialising text to a Vec does not fail.
        drop(serde_json::to_writer(&mut *out, shown));
    } else {
        out.push(b'"');
        drop(out.write_all(shown.as_bytes()));
        out.push(b'"');
    }
}

fn needs_escape(bytes: &[u8]) -> bool {
    bytes.iter().any(|b| *b < 0x20 || *b == b'"' || *b == b'\\')
}

#[cfg(test)]
mod tests;
