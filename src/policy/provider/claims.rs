//! Which claims hold what policies ask for, and tests of single claims.

use std::collections::BTreeMap;

use super::raw::{RawClaimMapping, RawClaimPath, RawClaimTest, RawPath, RawShape};
use super::value::check_path;
use crate::policy::access::ClaimValue;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list, check_text};

/// Which claims hold what policies ask for. What stands at every path of a list is gathered; of `subject`, `tenant` and
/// `email` the first that is there counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMapping {
    /// Whom the token speaks for. Never empty.
    pub subject: Vec<ClaimPath>,
    /// Roles.
    pub roles: Vec<ClaimPath>,
    /// Groups.
    pub groups: Vec<ClaimPath>,
    /// Scopes.
    pub scopes: Vec<ClaimPath>,
    /// The tenant or organization.
    pub tenant: Vec<ClaimPath>,
    /// The mail address.
    pub email: Vec<ClaimPath>,
    /// The provider's name of a role, and the name it has in policies instead.
    pub role_aliases: BTreeMap<String, String>,
    /// When one of these holds, the groups are not known: not the same as none.
    pub groups_unknown_when: Vec<ClaimTest>,
}

/// Where something stands in the claims, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath {
    /// Names that lead from object to object; each is one key, whatever characters it has. Never empty.
    pub names: Vec<String>,
    /// The form.
    pub shape: Shape,
}

/// The form of what stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// By what is there: a list of texts, or a text (of words, for roles and scopes). An object is refused.
    Any,
    /// A text of words, separated by blanks.
    Words,
    /// A list of texts.
    List,
    /// An object whose keys count.
    Keys,
    /// One text, blanks included.
    Text,
}

/// A test of one claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimTest {
    /// Names that lead to it. Never empty.
    pub names: Vec<String>,
    /// It must be one of these, or a list with one of them; without, it must only be there and not be null.
    pub values: Option<Vec<ClaimValue>>,
}

impl Default for ClaimMapping {
    /// `sub`, `roles`, `groups`, `scope` and `scp`, `email`; no tenant.
    fn default() -> Self {
        let paths = |names: &[&str]| names.iter().map(|name| ClaimPath::of(&[name])).collect();
        Self {
            subject: paths(&["sub"]),
            roles: paths(&["roles"]),
            groups: paths(&["groups"]),
            scopes: paths(&["scope", "scp"]),
            tenant: Vec::new(),
            email: paths(&["email"]),
            role_aliases: BTreeMap::new(),
            groups_unknown_when: Vec::new(),
        }
    }
}

impl ClaimMapping {
    pub(super) fn check(raw: Option<RawClaimMapping>, at: &FieldPath) -> Checked<Self> {
        let RawClaimMapping {
            subject,
            roles,
            groups,
            scopes,
            tenant,
            email,
            role_aliases,
            groups_unknown_when,
        } = raw.unwrap_or_default();
        let default = Self::default();
        let paths = |raw: Option<Vec<RawClaimPath>>, name: &str, default: Vec<ClaimPath>| match raw
        {
            // No claim holds it. But a credential always speaks for somebody.
            Some(list) if list.is_empty() && name != "subject" => Ok(Vec::new()),
            Some(list) => ClaimPath::check_all(list, &at.field(name)),
            None => Ok(default),
        };
        Ok(Self {
            subject: paths(subject, "subject", default.subject)?,
            roles: paths(roles, "roles", default.roles)?,
            groups: paths(groups, "groups", default.groups)?,
            scopes: paths(scopes, "scopes", default.scopes)?,
            tenant: paths(tenant, "tenant", default.tenant)?,
            email: paths(email, "email", default.email)?,
            role_aliases: check_aliases(role_aliases, &at.field("roleAliases"))?,
            groups_unknown_when: ClaimTest::check_all(
                groups_unknown_when,
                &at.field("groupsUnknownWhen"),
            )?,
        })
    }
}

impl ClaimPath {
    /// A path whose form is told by what is there.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), shape: Shape::Any }
    }

    fn check_all(list: Vec<RawClaimPath>, at: &FieldPath) -> Checked<Vec<Self>> {
        let list = list
            .into_iter()
            .enumerate()
            .map(|(place, RawClaimPath { path, shape })| {
                let names = check_path(path, &at.item(place))?;
                Ok(Self { names, shape: shape.map_or(Shape::Any, Shape::from) })
            })
            .collect::<Checked<Vec<Self>>>()?;
        check_list(list, at)
    }
}

impl ClaimTest {
    pub(super) fn check_all(list: Option<Vec<RawClaimTest>>, at: &FieldPath) -> Checked<Vec<Self>> {
        let Some(list) = list else { return Ok(Vec::new()) };
        let list = list
            .into_iter()
            .enumerate()
            .map(|(place, RawClaimTest { claim: RawPath(path), values })| {
                let at = at.item(place);
                let values = values.map(|values| check_list(values, &at.field("values")));
                Ok(Self {
                    names: check_path(path, &at.field("claim"))?,
                    values: values.transpose()?,
                })
            })
            .collect::<Checked<Vec<Self>>>()?;
        check_list(list, at)
    }
}

fn check_aliases(
    aliases: Option<BTreeMap<String, String>>,
    at: &FieldPath,
) -> Checked<BTreeMap<String, String>> {
    let Some(aliases) = aliases else { return Ok(BTreeMap::new()) };
    if aliases.is_empty() {
        return Err(Problem::new(at.clone(), "is empty"));
    }
    for (name, alias) in &aliases {
        check_text(name.clone(), at.field(name))?;
        check_text(alias.clone(), at.field(name))?;
    }
    Ok(aliases)
}

impl From<RawShape> for Shape {
    fn from(raw: RawShape) -> Self {
        match raw {
            RawShape::Words => Self::Words,
            RawShape::List => Self::List,
            RawShape::Keys => Self::Keys,
            RawShape::Text => Self::Text,
        }
    }
}
