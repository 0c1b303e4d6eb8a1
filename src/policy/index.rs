//! Rules by what a request has: path, then method, then peer, then user.
//!
//! Each step is one look-up by what the request brings, never a walk over rules, so a decision costs what the
//! request is long, however many rules cannot match it.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::access::{ClaimValue, Effect, Users};
use super::asked::{Asked, Popularity};
use super::facts::{Facts, RequestFacts, UserFacts};
use super::template::{PathTemplate, Rest, Segment};
use super::users::{scalars, whole};

/// Keyed at random: the texts looked up come from strangers.
type Table<V> = HashMap<Box<str>, V, foldhash::fast::RandomState>;
type Numbers = HashMap<i64, Vec<EntryId>, foldhash::fast::RandomState>;

/// The place of an entry in the policy set.
pub(super) type EntryId = usize;

/// Where an entry is filed. `None` stands for "whatever it is".
pub(super) struct Address<'a> {
    pub(super) template: Option<&'a PathTemplate>,
    pub(super) methods: Option<&'a [String]>,
    pub(super) peers: &'a Peers,
    pub(super) effect: Effect,
}

/// Which peers an entry is for, with the trust domain of the workload filled in.
pub(super) enum Peers {
    Unrestricted,
    Any,
    Exactly(Vec<String>),
}

/// Told what the index finds.
pub(super) trait Visitor {
    /// An entry that may match.
    fn entry(&mut self, entry: EntryId);
    /// There is no user, and an allow rule for this peer and request asks for one.
    fn wants_user(&mut self);
}

/// All entries of a policy set.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Those that name no path.
    anywhere: ByMethod,
    /// A tree of path segments; the first node is the root.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    literals: Table<usize>,
    any: Option<usize>,
    /// The path ends here.
    end: ByMethod,
    /// Whatever follows.
    rest: ByMethod,
}

#[derive(Debug, Default)]
struct ByMethod {
    any: Option<Box<ByPeer>>,
    named: Table<ByPeer>,
}

#[derive(Debug, Default)]
struct ByPeer {
    unrestricted: ByUser,
    any: ByUser,
    exactly: Table<ByUser>,
}

#[derive(Debug, Default)]
struct ByUser {
    /// Filed while building, emptied by `seal`.
    pending: Vec<EntryId>,
    unrestricted: Vec<EntryId>,
    verified: Option<Box<Verified>>,
    /// One of those in `verified` is an allow rule.
    admits_users: bool,
}

/// Entries that ask for a verified user, each filed under the one thing it asks for that the fewest others ask for.
#[derive(Debug, Default)]
struct Verified {
    any: Vec<EntryId>,
    providers: Table<Vec<EntryId>>,
    roles: Table<Vec<EntryId>>,
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

impl Index {
    pub(super) fn new() -> Self {
        Self { anywhere: ByMethod::default(), nodes: vec![Node::default()] }
    }

    /// Files an entry. What it asks of users is looked at in [`Self::seal`].
    ///
    /// A deny is filed with and without a slash at its end, because most applications take the two for one: an allow
    /// must not widen by that, and a deny must not be dodged by it.
    pub(super) fn file(&mut self, entry: EntryId, address: &Address<'_>) {
        let Some(template) = address.template else { return self.anywhere.file(entry, address) };
        let twin = match address.effect {
            Effect::Allow => None,
            Effect::Deny => template.slash_twin(),
        };
        for segments in std::iter::once(template.segments()).chain(twin.as_deref()) {
            if let Some(methods) = self.place(segments, template.rest()) {
                methods.file(entry, address);
            }
        }
    }

    /// Files every entry by what it asks of users. `users` tells that of an entry, and its effect.
    pub(super) fn seal<'r>(&mut self, users: &impl Fn(EntryId) -> Option<(&'r Users, Effect)>) {
        self.anywhere.seal(users);
        for node in &mut self.nodes {
            node.end.seal(users);
            node.rest.seal(users);
        }
    }

    /// Visits the entries that may match: all others cannot.
    pub(super) fn visit(&self, facts: &Facts<'_>, found: &mut impl Visitor) {
        match &facts.request {
            // A connection has no method: it is reached by rules that ask for no request.
            None => self.anywhere.visit_any(facts, found),
            Some(request) => {
                self.anywhere.visit(request, facts, found);
                self.walk(0, request.segments, &mut |methods| methods.visit(request, facts, found));
            }
        }
    }

    fn place(&mut self, segments: &[Segment], rest: Rest) -> Option<&mut ByMethod> {
        let mut at = 0;
        for segment in segments {
            let next = self.nodes.len();
            let node = self.nodes.get_mut(at)?;
            at = match segment {
                Segment::Literal(text) => {
                    *node.literals.entry(text.as_str().into()).or_insert(next)
                }
                Segment::Any => *node.any.get_or_insert(next),
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        let node = self.nodes.get_mut(at)?;
        Some(match rest {
            Rest::Nothing => &mut node.end,
            Rest::Anything => &mut node.rest,
        })
    }

    /// Depth is that of the longest template, which is bounded at load.
    fn walk<'s>(
        &'s self,
        at: usize,
        segments: &[Cow<'_, str>],
        found: &mut impl FnMut(&'s ByMethod),
    ) {
        let Some(node) = self.nodes.get(at) else { return };
        found(&node.rest);
        let Some((first, others)) = segments.split_first() else {
            found(&node.end);
            return;
        };
        if let Some(next) = node.literals.get(first.as_ref()) {
            self.walk(*next, others, found);
        }
        if let Some(next) = node.any
            && !first.is_empty()
        {
            self.walk(next, others, found);
        }
    }
}

impl ByMethod {
    fn file(&mut self, entry: EntryId, address: &Address<'_>) {
        match address.methods {
            None => self.any.get_or_insert_default().file(entry, address.peers),
            Some(methods) => {
                for method in methods {
                    self.named
                        .entry(method.as_str().into())
                        .or_default()
                        .file(entry, address.peers);
                }
            }
        }
    }

    fn seal<'r>(&mut self, users: &impl Fn(EntryId) -> Option<(&'r Users, Effect)>) {
        if let Some(peers) = &mut self.any {
            peers.seal(users);
        }
        self.named.values_mut().for_each(|peers| peers.seal(users));
    }

    fn visit(&self, request: &RequestFacts<'_>, facts: &Facts<'_>, found: &mut impl Visitor) {
        self.visit_any(facts, found);
        if let Some(peers) = self.named.get(request.method) {
            peers.visit(facts, found);
        }
    }

    fn visit_any(&self, facts: &Facts<'_>, found: &mut impl Visitor) {
        if let Some(peers) = &self.any {
            peers.visit(facts, found);
        }
    }
}

impl ByPeer {
    fn file(&mut self, entry: EntryId, peers: &Peers) {
        match peers {
            Peers::Unrestricted => self.unrestricted.pending.push(entry),
            Peers::Any => self.any.pending.push(entry),
            Peers::Exactly(ids) => {
                for id in ids {
                    self.exactly.entry(id.as_str().into()).or_default().pending.push(entry);
                }
            }
        }
    }

    fn seal<'r>(&mut self, users: &impl Fn(EntryId) -> Option<(&'r Users, Effect)>) {
        self.unrestricted.seal(users);
        self.any.seal(users);
        self.exactly.values_mut().for_each(|by_user| by_user.seal(users));
    }

    fn visit(&self, facts: &Facts<'_>, found: &mut impl Visitor) {
        self.unrestricted.visit(facts.user, found);
        if let Some(peer) = facts.peer {
            self.any.visit(facts.user, found);
            if let Some(by_user) = self.exactly.get(peer.as_str()) {
                by_user.visit(facts.user, found);
            }
        }
    }
}

impl ByUser {
    fn seal<'r>(&mut self, users: &impl Fn(EntryId) -> Option<(&'r Users, Effect)>) {
        let pending = std::mem::take(&mut self.pending);
        let popularity =
            Popularity::count(pending.iter().filter_map(|entry| Some(users(*entry)?.0)));
        for entry in pending {
            match users(entry) {
                None => self.unrestricted.push(entry),
                Some((users, effect)) => {
                    self.admits_users |= effect == Effect::Allow;
                    let verified = self.verified.get_or_insert_default();
                    verified.file(entry, &popularity.rarest(users));
                }
            }
        }
        self.unrestricted.shrink_to_fit();
    }

    fn visit(&self, user: Option<&UserFacts>, found: &mut impl Visitor) {
        self.unrestricted.iter().for_each(|entry| found.entry(*entry));
        match (user, &self.verified) {
            (Some(user), Some(verified)) => verified.visit(user, &mut |entry| found.entry(entry)),
            (None, Some(_)) if self.admits_users => found.wants_user(),
            (Some(_) | None, _) => {}
        }
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
            Asked::Role(names) => into(&mut self.roles, names),
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
