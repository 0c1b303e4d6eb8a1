//! Rules by what a request has: host, then path, then method, then peer, then user.
//!
//! Each step is one look-up by what the request brings, never a walk over rules, so a decision costs what the
//! request is long, however many rules cannot match it.

use std::borrow::Cow;
use std::collections::HashMap;

use super::access::UserPattern;
use super::by_peer::ByPeer;
use super::facts::{Facts, RequestFacts};
use super::rule::{Effect, HostPattern, Peers};
use super::template::{PathTemplate, Rest, Segment};

/// Keyed at random: the texts looked up come from strangers.
pub(super) type Table<V> = HashMap<Box<str>, V, foldhash::fast::RandomState>;

/// The place of an entry in the policy set.
pub(super) type EntryId = usize;

/// Where an entry is filed. `None` stands for "whatever it is".
#[derive(Clone, Copy)]
pub(super) struct Address<'a> {
    pub(super) host: Option<&'a HostPattern>,
    pub(super) template: Option<&'a PathTemplate>,
    pub(super) methods: Option<&'a [String]>,
    pub(super) peers: &'a Peers,
    pub(super) effect: Effect,
}

/// What entries ask of users, and what they do.
pub(super) type UsersOf<'r, 'f> = dyn Fn(EntryId) -> Option<(&'r UserPattern, Effect)> + 'f;

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
    /// Those that name no host.
    any_host: Tree,
    exactly: Table<Tree>,
    /// By what stands behind `*.`.
    below: Table<Tree>,
}

/// Entries by path.
#[derive(Debug)]
struct Tree {
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

impl Index {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Files an entry. What it asks of users is looked at in [`Self::seal`].
    pub(super) fn file(&mut self, entry: EntryId, address: &Address<'_>) {
        let tree = match address.host {
            None => &mut self.any_host,
            Some(HostPattern::Exactly(name)) => {
                self.exactly.entry(name.as_str().into()).or_default()
            }
            Some(HostPattern::Below(name)) => self.below.entry(name.as_str().into()).or_default(),
        };
        tree.file(entry, address);
    }

    /// Files every entry by what it asks of users. `users` tells that of an entry, and its effect.
    pub(super) fn seal(&mut self, users: &UsersOf<'_, '_>) {
        self.any_host.seal(users);
        self.exactly.values_mut().for_each(|tree| tree.seal(users));
        self.below.values_mut().for_each(|tree| tree.seal(users));
    }

    /// Visits the entries that may match: all others cannot.
    pub(super) fn visit(&self, facts: &Facts<'_>, found: &mut impl Visitor) {
        let Some(request) = &facts.request else {
            // A connection has no host, path or method: it is reached by entries that ask for none.
            self.any_host.anywhere.visit_any(facts, found);
            return;
        };
        self.any_host.visit(request, facts, found);
        if !self.exactly.is_empty()
            && let Some(tree) = self.exactly.get(request.host)
        {
            tree.visit(request, facts, found);
        }
        if self.below.is_empty() {
            return;
        }
        let mut rest = request.host;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(tree) = self.below.get(parent) {
                tree.visit(request, facts, found);
            }
            rest = parent;
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self { anywhere: ByMethod::default(), nodes: vec![Node::default()] }
    }
}

impl Tree {
    /// A deny is filed with and without a slash at its end, because most applications take the two for one: an allow
    /// must not widen by that, and a deny must not be dodged by it.
    fn file(&mut self, entry: EntryId, address: &Address<'_>) {
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

    fn seal(&mut self, users: &UsersOf<'_, '_>) {
        self.anywhere.seal(users);
        for node in &mut self.nodes {
            node.end.seal(users);
            node.rest.seal(users);
        }
    }

    fn visit(&self, request: &RequestFacts<'_>, facts: &Facts<'_>, found: &mut impl Visitor) {
        self.anywhere.visit(request, facts, found);
        self.walk(0, request.segments, &mut |methods| methods.visit(request, facts, found));
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

    fn seal(&mut self, users: &UsersOf<'_, '_>) {
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
