//! Engines that are evaluated in process, as they are written: which files, and how a request is put to them.

use std::time::Duration;

use super::casbin::CasbinField;
use super::raw::{RawCasbin, RawCredentials, RawRego};
use super::remote::check_rule_path;
use crate::policy::field::FieldPath;
use crate::policy::presentation::Credentials;
use crate::policy::problem::{Problem, did_you_mean, quoted};
use crate::policy::provider::{FileRef, duration_or};
use crate::policy::resource::{Checked, check_list};

/// The rule that OPA's Envoy plugin asks for, too.
pub(super) const DEFAULT_RULE: &str = "envoy/authz/allow";
const TIME_LIMIT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// Rego that is evaluated in process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegoFiles {
    /// The modules. Never empty.
    pub policies: Vec<FileRef>,
    /// JSON documents, merged into `data`.
    pub data: Vec<FileRef>,
    /// The rule whose value is the answer, as `package/path/rule`.
    pub rule: String,
    /// No evaluation takes longer.
    pub time_limit: Duration,
    /// Whether the input holds the credentials of the request.
    pub credentials: Credentials,
}

/// Casbin that is evaluated in process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CasbinFiles {
    /// The model.
    pub model: FileRef,
    /// The policy lines.
    pub policy: FileRef,
    /// What of the request stands for each name of the model's request definition, in its order. Never empty.
    pub request: Vec<CasbinField>,
}

impl RegoFiles {
    pub(super) fn check(raw: RawRego, at: &FieldPath, source: &str) -> Checked<Self> {
        let RawRego { policy_files, data_files, rule, time_limit, credentials } = raw;
        let files = |list: Vec<String>, name: &str| {
            let at = at.field(name);
            let list = check_list(list, &at)?.into_iter().enumerate();
            list.map(|(place, text)| FileRef::check(text, at.item(place), source)).collect()
        };
        let rule = rule.unwrap_or_else(|| DEFAULT_RULE.to_owned());
        check_rule_path(&rule, &at.field("rule"))?;
        Ok(Self {
            policies: files(policy_files, "policyFiles")?,
            data: data_files.map(|list| files(list, "dataFiles")).transpose()?.unwrap_or_default(),
            rule,
            time_limit: duration_or(
                time_limit,
                &at.field("timeLimit"),
                TIME_LIMIT,
                Duration::from_millis(20),
            )?,
            credentials: match credentials {
                // Nothing of it leaves the process, and policies that look for a header find it.
                Some(RawCredentials::Keep) | None => Credentials::Keep,
                Some(RawCredentials::Strip) => Credentials::Strip,
            },
        })
    }
}

impl CasbinFiles {
    pub(super) fn check(raw: RawCasbin, at: &FieldPath, source: &str) -> Checked<Self> {
        let RawCasbin { model_file, policy_file, request } = raw;
        let names = at.field("request");
        if request.is_empty() {
            return Err(Problem::new(names, "is empty")
                .hint("one field for each name of the model's request definition"));
        }
        let request = request.into_iter().enumerate().map(|(place, text)| {
            CasbinField::named(&text).ok_or_else(|| {
                let known = CasbinField::names;
                let message = format!(
                    "`{text}` is no field of a request, expected one of {}",
                    quoted(known())
                );
                Problem::new(names.item(place), message).maybe_hint(did_you_mean(&text, known()))
            })
        });
        Ok(Self {
            request: request.collect::<Checked<_>>()?,
            model: FileRef::check(model_file, at.field("modelFile"), source)?,
            policy: FileRef::check(policy_file, at.field("policyFile"), source)?,
        })
    }
}
