//! Subject, roles, groups, scopes, tenant and mail address, from wherever a provider puts them.
//!
//! What is not there adds nothing. What is there in a form that was not expected refuses the token: reading a list of
//! roles as "no roles" would pass whoever a deny rule is about.

use serde_json::{Map, Value};

use super::path::{any, at, shown};
use crate::authn::refused::TokenFault;
use crate::policy::{ClaimMapping, ClaimPath, Groups, Shape};

/// What the mapping found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) subject: String,
    pub(super) roles: Vec<String>,
    pub(super) scopes: Vec<String>,
    pub(super) groups: Groups,
    pub(super) tenant: Option<String>,
    pub(super) email: Option<String>,
}

/// What a text is where the form is told by what is there.
#[derive(Clone, Copy)]
enum PlainText {
    /// Words with blanks between them.
    Words,
    /// One name, which may have blanks in it.
    Name,
}

impl Mapped {
    pub(super) fn of(
        claims: &Map<String, Value>,
        mapping: &ClaimMapping,
    ) -> Result<Self, TokenFault> {
        let subject = first(claims, &mapping.subject)?;
        let subject = subject.filter(|text| !text.is_empty()).ok_or(TokenFault::MissingSubject)?;
        let mut roles = gather(claims, &mapping.roles, PlainText::Words)?;
        for role in &mut roles {
            if let Some(alias) = mapping.role_aliases.get(role) {
                role.clone_from(alias);
            }
        }
        // Looked at first: where groups are left out, something of another form may stand in their place.
        let groups = match any(claims, &mapping.groups_unknown_when)? {
            Some(_) => Groups::Unknown,
            None => Groups::Known(gather(claims, &mapping.groups, PlainText::Name)?),
        };
        Ok(Self {
            subject: subject.to_owned(),
            roles,
            scopes: gather(claims, &mapping.scopes, PlainText::Words)?,
            groups,
            tenant: first(claims, &mapping.tenant)?.map(str::to_owned),
            email: first(claims, &mapping.email)?.map(str::to_owned),
        })
    }
}

/// The first path at which something stands; it must be one text.
fn first<'c>(
    claims: &'c Map<String, Value>,
    paths: &[ClaimPath],
) -> Result<Option<&'c str>, TokenFault> {
    for path in paths {
        match (at(claims, &path.names)?, path.shape) {
            (None, _) => {}
            (Some(Value::String(text)), Shape::Any | Shape::Text) => return Ok(Some(text)),
            (Some(_), _) => return Err(TokenFault::InvalidClaim(shown(&path.names))),
        }
    }
    Ok(None)
}

/// Everything that stands at the paths, in their order.
fn gather(
    claims: &Map<String, Value>,
    paths: &[ClaimPath],
    plain: PlainText,
) -> Result<Vec<String>, TokenFault> {
    let mut found = Vec::new();
    for path in paths {
        if let Some(value) = at(claims, &path.names)? {
            add(&mut found, value, path.shape, plain)
                .ok_or_else(|| TokenFault::InvalidClaim(shown(&path.names)))?;
        }
    }
    // A token that says one thing a thousand times says it once: rules are looked up by each.
    let mut seen = std::collections::HashSet::with_capacity(found.len());
    found.retain(|name| seen.insert(name.clone()));
    Ok(found)
}

/// Adds what a value of this shape holds; nothing when it has another one.
fn add(found: &mut Vec<String>, value: &Value, shape: Shape, plain: PlainText) -> Option<()> {
    match (value, shape, plain) {
        (Value::String(text), Shape::Words, _)
        | (Value::String(text), Shape::Any, PlainText::Words) => {
            found.extend(text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned));
        }
        (Value::String(text), Shape::Text, _)
        | (Value::String(text), Shape::Any, PlainText::Name) => {
            found.extend((!text.is_empty()).then(|| text.clone()));
        }
        (Value::Array(members), Shape::Any | Shape::List, _) => {
            found.reserve(members.len());
            for member in members {
                found.push(member.as_str()?.to_owned());
            }
        }
        (Value::Object(members), Shape::Keys, _) => found.extend(members.keys().cloned()),
        (
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_),
            Shape::Any | Shape::Words | Shape::List | Shape::Keys | Shape::Text,
            _,
        ) => return None,
    }
    Some(())
}
