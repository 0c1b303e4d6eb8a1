//! The facts as conditions ask for them: what is absent is a reason, not a default.

use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use super::held::Held;
use super::meter::Meter;
use super::roles::ImpliedRoles;
use super::table::{Name, Part, Root};
use crate::policy::decide::UndecidableReason;
use crate::policy::facts::{
    BodyFacts, Confirmation, Facts, Forwarded, Groups, HeaderValue, RequestFacts, UserFacts,
};
use crate::policy::template::PathTemplate;

pub(super) type Outcome<T> = Result<T, UndecidableReason>;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// Facts, the template by which the request reached the rule, and the steps that are left.
pub(super) struct Known<'f, 'a> {
    pub(super) facts: &'f Facts<'a>,
    pub(super) template: Option<&'f PathTemplate>,
    pub(super) roles: &'f ImpliedRoles,
    pub(super) meter: &'f Meter,
}

impl<'f, 'a: 'f> Known<'f, 'a> {
    /// What stands behind a name.
    pub(super) fn read(&self, name: Name) -> Outcome<Held<'f>> {
        match name.root {
            Root::Peer => self.peer(name),
            Root::User => self.person(name, self.facts.user.ok_or(UndecidableReason::NoUser)?),
            Root::Client => {
                self.person(name, self.facts.client.ok_or(UndecidableReason::NoClient)?)
            }
            Root::Request => self.of_request(name),
            Root::Path => Err(missing(name)),
            Root::Destination | Root::Source | Root::Forwarded => self.connection(name),
            Root::Now => Ok(self.time(name.part())),
        }
    }

    /// True when it is there. Asked of names that may be absent although their root is there.
    pub(super) fn has(&self, name: Name) -> Outcome<bool> {
        match self.read(name) {
            Ok(_) => Ok(true),
            Err(
                UndecidableReason::Missing(_)
                | UndecidableReason::GroupsUnknown
                | UndecidableReason::NoBody,
            ) => Ok(false),
            Err(other) => Err(other),
        }
    }

    pub(super) fn request(&self) -> Outcome<&'f RequestFacts<'a>> {
        self.facts.request.as_ref().ok_or(UndecidableReason::NoRequest)
    }

    /// Headers sent twice, or that are no text, were refused before.
    pub(super) fn header(&self, name: &str) -> Outcome<&'f str> {
        match self.request()?.headers.value(name) {
            HeaderValue::One(bytes) => std::str::from_utf8(bytes)
                .map_err(|_| UndecidableReason::HeaderNotText(name.to_owned())),
            HeaderValue::Many => Err(UndecidableReason::HeaderRepeated(name.to_owned())),
            HeaderValue::Absent => Err(UndecidableReason::Missing(name.to_owned())),
        }
    }

    pub(super) fn has_header(&self, name: &str) -> Outcome<bool> {
        Ok(self.request()?.headers.value(name) != HeaderValue::Absent)
    }

    pub(super) fn variable(&self, name: &str) -> Outcome<&'f str> {
        let place = self.template.and_then(|template| template.place_of(name));
        place
            .zip(self.facts.request.as_ref())
            .and_then(|(place, request)| request.segments.get(place))
            .map(AsRef::as_ref)
            .ok_or(UndecidableReason::NoRequest)
    }

    /// An address, written in the way of its family.
    pub(super) fn address(&self, name: Name) -> Outcome<IpAddr> {
        match self.read(name)? {
            Held::Address(address) => Ok(address),
            _ => Err(missing(name)),
        }
    }

    fn peer(&self, name: Name) -> Outcome<Held<'f>> {
        let peer = self.facts.peer.ok_or(UndecidableReason::NoPeer)?;
        let account = peer.service_account();
        let text = match name.part() {
            Part::PeerId => Some(peer.as_str()),
            Part::TrustDomain => peer
                .as_str()
                .strip_suffix(peer.path())
                .and_then(|text| text.strip_prefix("spiffe://")),
            Part::Namespace => account.map(|(namespace, _)| namespace),
            Part::ServiceAccount => account.map(|(_, account)| account),
            _ => None,
        };
        text.map(Held::Text).ok_or_else(|| missing(name))
    }

    fn person(&self, name: Name, person: &'f UserFacts) -> Outcome<Held<'f>> {
        let text = |text: Option<&'f str>| text.map(Held::Text).ok_or_else(|| missing(name));
        match name.part() {
            Part::Subject => text(Some(person.subject())),
            Part::Provider => text(Some(person.provider())),
            Part::Tenant => text(person.tenant()),
            Part::Email => text(person.email()),
            Part::BoundBy => text(person.confirmation().map(|way| match way {
                Confirmation::Dpop => "dpop",
                Confirmation::Certificate => "certificate",
            })),
            Part::Roles if self.roles.is_empty() => Ok(Held::Texts(person.roles())),
            Part::Roles => Ok(Held::Roles(person.roles(), self.roles)),
            Part::Scopes => Ok(Held::Texts(person.scopes())),
            Part::Groups => match person.groups() {
                Groups::Known(groups) => Ok(Held::Texts(groups)),
                Groups::Unknown => Err(UndecidableReason::GroupsUnknown),
            },
            Part::Claims => Ok(Held::Map(person.claims())),
            _ => Err(missing(name)),
        }
    }

    fn of_request(&self, name: Name) -> Outcome<Held<'f>> {
        let request = self.request()?;
        match name.part() {
            Part::Method => Ok(Held::Text(request.method)),
            Part::Host => Ok(Held::Text(request.host)),
            Part::Path => Ok(Held::Text(request.path)),
            Part::Query => Ok(Held::Text(request.query.unwrap_or_default())),
            Part::Body => match request.body.value() {
                BodyFacts::Value(value) => Ok(Held::of(value)),
                BodyFacts::Absent => Err(UndecidableReason::NoBody),
                BodyFacts::Truncated => Err(UndecidableReason::BodyTruncated),
                BodyFacts::Unreadable(why) => Err(UndecidableReason::BodyUnreadable(why)),
            },
            // Headers are read one at a time.
            _ => Err(missing(name)),
        }
    }

    fn connection(&self, name: Name) -> Outcome<Held<'f>> {
        let connection = &self.facts.connection;
        let held = match (name.root, name.part()) {
            (Root::Source, Part::Address) => connection.source.map(Held::Address),
            (Root::Forwarded, Part::Address) => match connection.forwarded {
                Forwarded::Known(address) => Some(Held::Address(address)),
                Forwarded::Unknown => None,
            },
            (Root::Destination, Part::Port) => connection.port.map(|port| Held::Int(port.into())),
            (Root::Destination, Part::ServerName) => connection.sni.map(Held::Text),
            _ => None,
        };
        // One address has two spellings, as IPv4 and as IPv6 that carries it: they are the same.
        match held {
            Some(Held::Address(address)) => Ok(Held::Address(address.to_canonical())),
            Some(held) => Ok(held),
            None => Err(missing(name)),
        }
    }

    fn time(&self, part: Part) -> Held<'f> {
        let seconds = self.facts.now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let number = match part {
            Part::Hour => seconds % DAY / HOUR,
            // 1970 began on a Thursday.
            Part::Weekday => (seconds / DAY + 3) % 7 + 1,
            _ => seconds,
        };
        Held::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

fn missing(name: Name) -> UndecidableReason {
    UndecidableReason::Missing(name.to_string())
}
