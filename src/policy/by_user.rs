//! Entries by what they ask of the user.

use std::collections::HashMap;

use serde_json::Value;

use super::access::{ClaimValue, UserPattern, Users};
use super::asked::{Asked, Popularity};
use super::facts::{Groups, UserFacts};
use super::index::{EntryId, Table, UsersOf, Visitor};
use super::rule::Effect;
use super::users::{scalars, whole};

type Numbers = HashMap<i64, Vec<EntryId>, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
pub(super) struct ByUser {
    /// Filed while building, emptied by `seal`.
    pending: Vec<EntryId>,
    unrestricted: Vec<EntryId>,
    /// Only for requests without a user.
    nobody: Vec<EntryId>,
    verified: Option<Box<Verified>>,
    /// One of those in `verified` is an allow rule.
    admits_users: bool,
}

/// Entries that ask for a verified user, each filed under the one thing it asks for that the fewest others ask for.
#[derive(Debug, Default)]
struct Verified {
    any: Vec<EntryId>,
    providers: Table<Vec<EntryId>>,
    subjects: Table<Vec<EntryId>>,
    tenants: Table<Vec<EntryId>>,
    roles: Table<Vec<EntryId>>,
    groups: Table<Vec<EntryId>>,
    scopes: Table<Vec<EntryId>>,
    claims: Vec<(Box<str>, ByValue)>,
    claim_names: Table<usize>,
}

#[derive(Debug, Default)]
struct ByValue {
    texts: Table<Vec<EntryId>>,
    numbers: Numbers,
    truths: Vec<EntryId>,
    falsehoods: Vec<EntryId>,
}

impl ByUser {
    pub(super) fn file(&mut self, entry: EntryId) {
        self.pending.push(entry);
    }

    pub(super) fn seal(&mut self, users: &UsersOf<'_, '_>) {
        let pending = std::mem::take(&mut self.pending);
        let popularity =
            Popularity::count(pending.iter().filter_map(|entry| verified(*entry, users)));
        for entry in pending {
            match users(entry) {
                None => self.unrestricted.push(entry),
                Some((UserPattern::Anonymous, _)) => self.nobody.push(entry),
                Some((UserPattern::Verified(users), effect)) => {
                    self.admits_users |= effect == Effect::Allow;
                    let verified = self.verified.get_or_insert_default();
                    verified.file(entry, &popularity.rarest(users));
                }
            }
        }
        self.unrestricted.shrink_to_fit();
    }

    pub(super) fn visit(&self, user: Option<&UserFacts>, found: &mut impl Visitor) {
        self.unrestricted.iter().for_each(|entry| found.entry(*entry));
        if user.is_none() {
            self.nobody.iter().for_each(|entry| found.entry(*entry));
        }
        match (user, &self.verified) {
            (Some(user), Some(verified)) => verified.visit(user, &mut |entry| found.entry(entry)),
            (None, Some(_)) if self.admits_users => found.wants_user(),
            (Some(_) | None, _) => {}
        }
    }
}

/// What an entry asks of a verified user.
fn verified<'r>(entry: EntryId, users: &UsersOf<'r, '_>) -> Option<&'r Users> {
    match users(entry)? {
        (UserPattern::Verified(users), _) => Some(users),
        (UserPattern::Anonymous, _) => None,
    }
}

impl Verified {
    fn file(&mut self, entry: EntryId, asked: &Asked<'_>) {
        let into = |table: &mut Table<Vec<EntryId>>, names: &[String]| {
            for name in names {
                table.entry(name.as_str().into()).or_default().push(entry);
            }
        };
        match asked {
            Asked::Nothing => self.any.push(entry),
            Asked::Provider(names) => into(&mut self.providers, names),
            Asked::Subject(names) => into(&mut self.subjects, names),
            Asked::Tenant(names) => into(&mut self.tenants, names),
            Asked::Role(names) => into(&mut self.roles, names),
            Asked::Group(names) => into(&mut self.groups, names),
            Asked::Scope(names) => into(&mut self.scopes, names),
            Asked::Claim(name, values) => self.file_claim(entry, name, values),
        }
    }

    fn file_claim(&mut self, entry: EntryId, name: &str, values: &[ClaimValue]) {
        let next = self.claims.len();
        let place = *self.claim_names.entry(name.into()).or_insert(next);
        if place == next {
            self.claims.push((name.into(), ByValue::default()));
        }
        if let Some((_, by_value)) = self.claims.get_mut(place) {
            by_value.file(entry, values);
        }
    }

    fn visit(&self, user: &UserFacts, found: &mut impl FnMut(EntryId)) {
        let mut all = |entries: Option<&Vec<EntryId>>| {
            entries.into_iter().flatten().copied().for_each(&mut *found);
        };
        all(Some(&self.any));
        all(self.providers.get(user.provider()));
        all(self.subjects.get(user.subject()));
        all(user.tenant().and_then(|tenant| self.tenants.get(tenant)));
        match user.groups() {
            Groups::Known(_) if self.groups.is_empty() => {}
            Groups::Known(groups) => {
                groups.iter().for_each(|group| all(self.groups.get(group.as_str())));
            }
            // In whichever: none of these entries can be told not to match.
            Groups::Unknown => self.groups.values().for_each(|entries| all(Some(entries))),
        }
        if !self.roles.is_empty() {
            user.roles().iter().for_each(|role| all(self.roles.get(role.as_str())));
        }
        if !self.scopes.is_empty() {
            user.scopes().iter().for_each(|scope| all(self.scopes.get(scope.as_str())));
        }
        // The shorter of the two lists is walked: neither many rules nor a large token makes it long.
        if self.claims.len() <= user.claims().len() {
            for (name, by_value) in &self.claims {
                if let Some(held) = user.claims().get(name.as_ref()) {
                    by_value.visit(held, found);
                }
            }
        } else {
            for (name, held) in user.claims() {
                if let Some((_, by_value)) =
                    self.claim_names.get(name.as_str()).and_then(|place| self.claims.get(*place))
                {
                    by_value.visit(held, found);
                }
            }
        }
    }
}

impl ByValue {
    fn file(&mut self, entry: EntryId, values: &[ClaimValue]) {
        for value in values {
            match value {
                ClaimValue::Text(text) => self.texts.entry(text.as_str().into()).or_default(),
                ClaimValue::Number(number) => self.numbers.entry(*number).or_default(),
                ClaimValue::Boolean(true) => &mut self.truths,
                ClaimValue::Boolean(false) => &mut self.falsehoods,
            }
            .push(entry);
        }
    }

    fn visit(&self, held: &Value, found: &mut impl FnMut(EntryId)) {
        for held in scalars(held) {
            let entries = match held {
                Value::String(text) => self.texts.get(text.as_str()),
                Value::Number(number) => whole(number).and_then(|whole| self.numbers.get(&whole)),
                Value::Bool(true) => Some(&self.truths),
                Value::Bool(false) => Some(&self.falsehoods),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            };
            entries.into_iter().flatten().copied().for_each(&mut *found);
        }
    }
}
