//! Kubernetes `SubjectAccessReview`: who asks the cluster, about what, and as whom.
//!
//! The names that are sent decide who somebody is there. A token that says `system:masters` must not become an
//! administrator of the cluster, so such names are refused unless a prefix makes them somebody else's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::facts::{Facts, Groups};
use super::super::template::{PathTemplate, Slash};
use super::fault::EngineFault;
use super::fill::Fill;
use super::raw::{RawNonResource, RawResourceAttributes, RawSubjectAccessReview};
use super::remote::{Patience, check_base};
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::provider::FileRef;
use crate::policy::resource::{Checked, check_text};

/// No such question holds a longer name.
const MAX_NAME: usize = 1024;
/// What a method is called in the cluster, where nothing else is written.
const VERBS: [(&str, &str); 6] = [
    ("GET", "get"),
    ("HEAD", "get"),
    ("POST", "create"),
    ("PUT", "update"),
    ("PATCH", "patch"),
    ("DELETE", "delete"),
];

/// A question to the API server of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectAccessReview {
    /// The API server.
    pub url: String,
    /// Our own token.
    pub token: FileRef,
    /// Stands before the subject of the user.
    pub user_prefix: String,
    /// Stands before each group of the user.
    pub group_prefix: String,
    /// The provider whose users are service accounts of this cluster: their names, which begin with `system:`, pass.
    pub service_accounts_of: Option<String>,
    /// What is asked about.
    pub about: Reviewed,
    /// How long it may take, and how long it is believed.
    pub patience: Patience,
}

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each resource")]
pub enum Reviewed {
    /// Method and path of the request themselves.
    NonResource,
    /// A resource of the cluster.
    Resource {
        /// Paths that it is about; nothing for any.
        path: Option<PathTemplate>,
        /// The verb for each method.
        verbs: BTreeMap<String, String>,
        /// The API group, empty for the core group.
        group: String,
        /// The resource, in the plural.
        resource: String,
        /// The subresource.
        subresource: Option<String>,
        /// The namespace; nothing for all of them, or for a resource of the cluster.
        namespace: Option<Fill>,
        /// The name; nothing for any.
        name: Option<Fill>,
    },
}

impl SubjectAccessReview {
    pub(super) fn check(
        raw: RawSubjectAccessReview,
        at: &FieldPath,
        source: &str,
    ) -> Checked<Self> {
        let RawSubjectAccessReview {
            url,
            token_file,
            user_prefix,
            group_prefix,
            service_accounts_of,
            resource,
            non_resource,
            timeout,
            ttl,
            negative_ttl,
        } = raw;
        check_base(&url, &at.field("url"))?;
        let about = match (resource, non_resource) {
            (Some(raw), None) => resource_attributes(raw, &at.field("resource"))?,
            (None, Some(RawNonResource {})) => Reviewed::NonResource,
            (None, None) | (Some(_), Some(_)) => {
                return Err(Problem::new(at.clone(), "needs one of `resource` and `nonResource`"));
            }
        };
        let prefix = |text: Option<String>, name: &str| {
            text.map(|text| check_text(text, at.field(name))).transpose()
        };
        Ok(Self {
            url,
            token: FileRef::check(token_file, at.field("tokenFile"), source)?,
            user_prefix: prefix(user_prefix, "userPrefix")?.unwrap_or_default(),
            group_prefix: prefix(group_prefix, "groupPrefix")?.unwrap_or_default(),
            service_accounts_of,
            about,
            patience: Patience::check([timeout, ttl, negative_ttl], at)?,
        })
    }

    /// The `spec` of the question about a request. Nothing when there is no user, or the request is about nothing that
    /// is asked for.
    ///
    /// # Errors
    /// When the user or a group has a name that must not be sent, or its groups are not known.
    pub fn question(&self, facts: &Facts<'_>) -> Result<Option<Value>, EngineFault> {
        let (Some(user), Some(request)) = (facts.user, &facts.request) else { return Ok(None) };
        let Groups::Known(groups) = user.groups() else { return Err(EngineFault::GroupsUnknown) };
        let accounts = self.service_accounts_of.as_deref() == Some(user.provider());
        let mut spec = json!({ "user": name(&self.user_prefix, user.subject(), accounts)? });
        let named = groups.iter().map(|group| name(&self.group_prefix, group, accounts));
        let groups: Vec<String> = named.collect::<Result<_, _>>()?;
        let about = match &self.about {
            Reviewed::NonResource => Some((
                "nonResourceAttributes",
                json!({ "path": request.path, "verb": request.method.to_ascii_lowercase() }),
            )),
            resource @ Reviewed::Resource { .. } => resource
                .attributes(request.method, request.segments)
                .map(|attributes| ("resourceAttributes", attributes)),
        };
        let (Some((field, about)), Value::Object(members)) = (about, &mut spec) else {
            return Ok(None);
        };
        members.insert("groups".to_owned(), json!(groups));
        members.insert(field.to_owned(), about);
        Ok(Some(spec))
    }
}

/// A user or group as it is sent. `system:` is what the cluster calls its own.
fn name(prefix: &str, name: &str, accounts: bool) -> Result<String, EngineFault> {
    let whole = format!("{prefix}{name}");
    let plain = !name.is_empty()
        && whole.len() <= MAX_NAME
        && !name.chars().any(char::is_control)
        && name.trim() == name;
    let account = || {
        accounts
            && (whole.starts_with("system:serviceaccount:")
                || whole == "system:serviceaccounts"
                || whole.starts_with("system:serviceaccounts:")
                || whole == "system:authenticated")
    };
    let passes = plain && (!whole.starts_with("system:") || account());
    if passes { Ok(whole) } else { Err(EngineFault::UnsafeName) }
}

impl Reviewed {
    /// Nothing when the request is about nothing that is asked for.
    fn attributes(&self, method: &str, segments: &[Cow<'_, str>]) -> Option<Value> {
        let Self::Resource { path, verbs, group, resource, subresource, namespace, name } = self
        else {
            return None;
        };
        if path.as_ref().is_some_and(|path| !path.matches(segments, Slash::Exactly)) {
            return None;
        }
        let mut attributes = json!({
            "verb": verbs.get(method)?,
            "group": group,
            "resource": resource,
        });
        let members = attributes.as_object_mut()?;
        if let Some(subresource) = subresource {
            members.insert("subresource".to_owned(), json!(subresource));
        }
        for (field, fill) in [("namespace", namespace), ("name", name)] {
            if let Some(fill) = fill {
                members.insert(field.to_owned(), json!(fill.of(segments)?));
            }
        }
        Some(attributes)
    }
}

fn resource_attributes(raw: RawResourceAttributes, at: &FieldPath) -> Checked<Reviewed> {
    let RawResourceAttributes { path, verbs, group, resource, subresource, namespace, name } = raw;
    let path = path.map(|text| check_path(&text, &at.field("path"))).transpose()?;
    let verbs = match verbs {
        Some(written) if written.is_empty() => {
            return Err(Problem::new(at.field("verbs"), "is empty"));
        }
        Some(written) => written,
        None => VERBS.iter().map(|(method, verb)| ((*method).into(), (*verb).into())).collect(),
    };
    for (method, verb) in &verbs {
        check_text(verb.clone(), at.field("verbs").field(method))?;
    }
    let fill = |text: Option<String>, field: &str| {
        text.map(|text| Fill::check(text, path.as_ref(), at.field(field))).transpose()
    };
    let (namespace, name) = (fill(namespace, "namespace")?, fill(name, "name")?);
    let text = |text: String, field: &str| check_text(text, at.field(field));
    Ok(Reviewed::Resource {
        verbs,
        group: group.map(|group| text(group, "group")).transpose()?.unwrap_or_default(),
        resource: text(resource, "resource")?,
        subresource: subresource.map(|name| text(name, "subresource")).transpose()?,
        namespace,
        name,
        path,
    })
}

pub(super) fn check_path(text: &str, at: &FieldPath) -> Checked<PathTemplate> {
    PathTemplate::parse(text)
        .map_err(|error| Problem::new(at.clone(), format!("`{}` {error}", text.escape_debug())))
}
