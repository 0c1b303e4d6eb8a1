//! Suites: cases that say what a workload's policies must decide, read and checked.
//!
//! A suite names the resources it tests, the workload they guard, and cases: who calls, with what request, and what
//! must come of it. Nothing is judged here; whoever runs a suite does so with the code of the gate. What was decided
//! is kept in a [`Coverage`], and [`mutants`] are the changes to the resources that some case should notice.

mod case;
mod cast;
mod coverage;
mod mutant;
mod raw;
mod table;
mod time;
mod who;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use case::{Case, CaseConnection, CaseRequest, Expected, Outcome, Target};
pub use coverage::{Coverage, RuleAt};
pub use mutant::{Mutant, mutants};

use self::cast::Cast;
use self::raw::{RawSuite, RawUser, RawWorkload, Unread};
use super::field::FieldPath;
use super::problem::{InvalidResource, Problem};
use super::resource::{Checked, check_list, is_dns_label};
use super::set::Workload;
use super::yaml::{self, Places};
use crate::identity::TrustDomain;

const DEFAULT_TRUST_DOMAIN: &str = "example.mesh";

/// One file of cases.
#[derive(Debug)]
pub struct Suite {
    /// The files and directories with the resources that are tested, as written: relative to the suite.
    pub resources: Vec<String>,
    /// Names of identity providers that exist but are not among the resources.
    pub providers: Vec<String>,
    /// The workload that is guarded.
    pub workload: Workload,
    /// The cases, in the order they are written; a table gives one for each of its rows.
    pub cases: Vec<Case>,
}

impl Suite {
    /// Reads a suite. `source` is only used in errors.
    ///
    /// # Errors
    /// The first mistake, with its place, its field and what is allowed there.
    pub fn parse(source: &str, text: &str) -> Result<Self, InvalidResource> {
        let raw: RawSuite = yaml::parse_one(source, text)?;
        let places = yaml::documents(source, text)?.first().map(yaml::Document::places);
        Reader { source, places }.suite(raw)
    }
}

/// Reads the parts of one suite that depend on others.
struct Reader<'s> {
    source: &'s str,
    places: Option<Places>,
}

impl Reader<'_> {
    fn suite(&self, raw: RawSuite) -> Result<Suite, InvalidResource> {
        let RawSuite { resources, workload, providers, users, defaults, cases } = raw;
        let root = FieldPath::root();
        let resources =
            check_list(resources, &root.field("resources")).map_err(|p| self.invalid(p))?;
        let providers = providers.unwrap_or_default();
        let workload = check_workload(workload).map_err(|problem| self.invalid(problem))?;
        let users = users.unwrap_or_default();
        self.check_users(&users)?;
        if cases.is_empty() {
            let problem = Problem::new(root.field("cases"), "is empty");
            return Err(self.invalid(problem));
        }
        let cast = Cast { users: &users, defaults: defaults.unwrap_or_default() };
        let mut read: Vec<Case> = Vec::with_capacity(cases.len());
        for (place, case) in cases.into_iter().enumerate() {
            self.cases(case, place, &cast, &workload, &mut read)?;
        }
        Ok(Suite { resources, providers, workload, cases: read })
    }

    /// The one case that is written, or one for each row of its table.
    fn cases(
        &self,
        written: Unread,
        place: usize,
        cast: &Cast<'_>,
        workload: &Workload,
        read: &mut Vec<Case>,
    ) -> Result<(), InvalidResource> {
        let at = FieldPath::root().field("cases").item(place);
        let rows = table::rows(written, &at).map_err(|problem| self.invalid(problem))?;
        for (row, fields) in rows {
            let fields = cast.complete(fields, &at).map_err(|problem| self.invalid(problem))?;
            let raw = self.read(&at, &Value::Object(fields))?;
            let line = self.line(&row);
            let case = Case::check(raw, workload, &at, line).map_err(|p| self.invalid(p))?;
            if read.iter().any(|other| other.name == case.name) {
                let problem = Problem::new(row, format!("another case is named `{}`", case.name))
                    .hint("in a table, put a {placeholder} into the name");
                return Err(self.invalid(problem));
            }
            read.push(case);
        }
        Ok(())
    }

    fn check_users(&self, users: &BTreeMap<String, Value>) -> Result<(), InvalidResource> {
        for (name, user) in users {
            let at = FieldPath::root().field("users").field(name);
            if name == cast::NOBODY {
                let problem = Problem::new(at, "`none` stands for nobody: choose another name");
                return Err(self.invalid(problem));
            }
            let raw: RawUser = self.read(&at, user)?;
            who::check_user(raw, &at).map_err(|problem| self.invalid(problem))?;
        }
        Ok(())
    }

    /// Reads a value whose parts came from several places, with the errors of text that was written in one.
    fn read<T: DeserializeOwned>(
        &self,
        at: &FieldPath,
        value: &Value,
    ) -> Result<T, InvalidResource> {
        // JSON is YAML.
        yaml::parse_one(self.source, &value.to_string()).map_err(|error| {
            let (_, _, Problem { path, message, hint }) = error.into_parts();
            self.invalid(Problem { path: at.join(&path), message, hint })
        })
    }

    fn line(&self, path: &FieldPath) -> Option<u64> {
        Some(self.places.as_ref()?.find(path)?.0)
    }

    fn invalid(&self, problem: Problem) -> InvalidResource {
        InvalidResource {
            source_name: self.source.to_owned(),
            place: self.places.as_ref().and_then(|places| places.find(&problem.path)),
            resource: String::new(),
            problem: Box::new(problem),
        }
    }
}

fn check_workload(raw: RawWorkload) -> Checked<Workload> {
    let RawWorkload { namespace, labels, trust_domain } = raw;
    let at = FieldPath::root().field("workload");
    if !is_dns_label(&namespace) {
        let message = format!("`{namespace}` is no name of lower-case letters, digits and dashes");
        return Err(Problem::new(at.field("namespace"), message));
    }
    let name = trust_domain.as_deref().unwrap_or(DEFAULT_TRUST_DOMAIN);
    let trust_domain = TrustDomain::parse(name).map_err(|error| {
        Problem::new(at.field("trustDomain"), format!("`{name}` is no trust domain: it {error}"))
    })?;
    Ok(Workload { trust_domain, namespace, labels })
}
