//! OpenFGA's check API: which relation a user must have to which object.
//!
//! A `user` there may also be a set of users or everybody: `document:7#reader` is always a reader of `document:7`, and
//! `user:*` is everyone. So a claim is never sent as it is: the type is fixed, and names that could mean more than one
//! user or object are refused.

use std::collections::BTreeMap;

use super::super::facts::Facts;
use super::super::template::{PathTemplate, Slash};
use super::fault::EngineFault;
use super::fill::Fill;
use super::raw::{RawConsistency, RawObject, RawOpenFga};
use super::remote::{Patience, check_base};
use super::review::check_path;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::provider::FileRef;
use crate::policy::resource::Checked;

/// The longest names that OpenFGA takes.
const MAX_USER: usize = 512;
const MAX_OBJECT: usize = 256;
const MAX_RELATION: usize = 50;

/// A question to OpenFGA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFga {
    /// Where it is.
    pub url: String,
    /// The store.
    pub store: String,
    /// The authorization model. Without one the latest would count, which moves.
    pub model: String,
    /// Our own bearer token.
    pub token: Option<FileRef>,
    /// The type of users.
    pub user_type: String,
    /// The relation that a user must have, for each method. Never empty.
    pub relations: BTreeMap<String, String>,
    /// The object that a path is about: the first that matches. Never empty.
    pub objects: Vec<ObjectPattern>,
    /// Whether its caches count.
    pub consistency: Consistency,
    /// How long it may take, and how long it is believed.
    pub patience: Patience,
}

/// Which object a path is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPattern {
    /// The paths.
    pub path: PathTemplate,
    /// The type of the object.
    pub kind: String,
    /// Its name.
    pub id: Fill,
}

/// Whether OpenFGA may answer from its caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// It may.
    MinimizeLatency,
    /// It must look.
    HigherConsistency,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuple {
    /// `type:name`.
    pub user: String,
    /// The relation.
    pub relation: String,
    /// `type:name`.
    pub object: String,
}

impl OpenFga {
    pub(super) fn check(raw: RawOpenFga, at: &FieldPath, source: &str) -> Checked<Self> {
        let RawOpenFga {
            url,
            store,
            model,
            token_file,
            user_type,
            relations,
            objects,
            consistency,
            timeout,
            ttl,
            negative_ttl,
        } = raw;
        check_base(&url, &at.field("url"))?;
        for (id, name) in [(&store, "store"), (&model, "model")] {
            if id.len() != 26 || !id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()) {
                return Err(Problem::new(at.field(name), format!("`{id}` is no ULID"))
                    .hint("26 digits and upper-case letters, as OpenFGA prints them"));
            }
        }
        if relations.is_empty() || objects.is_empty() {
            let name = if relations.is_empty() { "relations" } else { "objects" };
            return Err(Problem::new(at.field(name), "is empty"));
        }
        for (method, relation) in &relations {
            check_name(relation, MAX_RELATION, at.field("relations").field(method))?;
        }
        check_name(&user_type, MAX_OBJECT / 2, at.field("userType"))?;
        let list = objects.into_iter().enumerate();
        let objects =
            list.map(|(place, raw)| ObjectPattern::check(raw, &at.field("objects").item(place)));
        let token = token_file.map(|text| FileRef::check(text, at.field("tokenFile"), source));
        Ok(Self {
            url,
            store,
            model,
            token: token.transpose()?,
            user_type,
            relations,
            objects: objects.collect::<Checked<_>>()?,
            consistency: match consistency {
                Some(RawConsistency::MinimizeLatency) | None => Consistency::MinimizeLatency,
                Some(RawConsistency::HigherConsistency) => Consistency::HigherConsistency,
            },
            patience: Patience::check([timeout, ttl, negative_ttl], at)?,
        })
    }

    /// The question about a request. Nothing when there is no user, or the method or path is none that is written.
    ///
    /// # Errors
    /// When a name could stand for more than one user or object there.
    pub fn question(&self, facts: &Facts<'_>) -> Result<Option<Tuple>, EngineFault> {
        let (Some(user), Some(request)) = (facts.user, &facts.request) else { return Ok(None) };
        let Some(relation) = self.relations.get(request.method) else { return Ok(None) };
        let pattern = self
            .objects
            .iter()
            .find(|pattern| pattern.path.matches(request.segments, Slash::Exactly));
        let Some(pattern) = pattern else { return Ok(None) };
        let name = pattern.id.of(request.segments).ok_or(EngineFault::Evaluation)?;
        let one = |kind: &str, name: &str, most| {
            let whole = format!("{kind}:{name}");
            (is_one(name) && whole.len() <= most).then_some(whole)
        };
        Ok(Some(Tuple {
            user: one(&self.user_type, user.subject(), MAX_USER).ok_or(EngineFault::UnsafeName)?,
            relation: relation.clone(),
            object: one(&pattern.kind, name, MAX_OBJECT).ok_or(EngineFault::UnsafeObject)?,
        }))
    }
}

impl ObjectPattern {
    fn check(raw: RawObject, at: &FieldPath) -> Checked<Self> {
        let RawObject { path, kind, id } = raw;
        let path = check_path(&path, &at.field("path"))?;
        check_name(&kind, MAX_OBJECT / 2, at.field("type"))?;
        let id = Fill::check(id, Some(&path), at.field("id"))?;
        if let Fill::Literal(text) = &id
            && !is_one(text)
        {
            return Err(unsafe_name(text, at.field("id")));
        }
        Ok(Self { path, kind, id })
    }
}

/// True for a name that stands for exactly one user or object.
fn is_one(name: &str) -> bool {
    let plain = |c: char| !matches!(c, '#' | ':' | '*') && !c.is_control() && !c.is_whitespace();
    !name.is_empty() && name.chars().all(plain)
}

/// A type or relation of a model.
fn check_name(text: &str, most: usize, at: FieldPath) -> Checked<()> {
    if !is_one(text) || text.len() > most || text.contains('@') {
        return Err(unsafe_name(text, at));
    }
    Ok(())
}

fn unsafe_name(text: &str, at: FieldPath) -> Problem {
    Problem::new(at, format!("`{}` is no name there", text.escape_debug()))
        .hint("without `#`, `:`, `*`, blanks and control characters")
}
