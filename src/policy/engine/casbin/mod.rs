//! Casbin in process, by casbin-rs.
//!
//! casbin-rs panics on what it does not understand, some of it only when a request reaches it, so models and policies
//! are looked through before they are used: one definition of each kind, one of the four effects there are, patterns that
//! compile, lines of the right length, none of them passed over. What panics all the same is caught, and the engine has
//! no answer then.

mod field;
mod lines;
mod model;
mod pattern;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use casbin::rhai::Dynamic;
use casbin::{CoreApi as _, DefaultModel, Enforcer, StringAdapter};
use futures_util::FutureExt as _;

use super::super::facts::{EngineAnswer, Facts};
use super::fault::EngineFault;
use crate::policy::problem::quoted;

pub use field::CasbinField;

/// Each request looks at every line, which takes about half a microsecond a line.
const MAX_LINES: usize = 2000;

/// A compiled model with its policy.
pub struct Casbin {
    enforcer: Enforcer,
    fields: Vec<CasbinField>,
    /// Names that stand for roles: nobody may be called so.
    roles: HashSet<String>,
}

/// Why a model or policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCasbin {
    /// A file is no UTF-8.
    #[error("{0} is not UTF-8")]
    NotText(String),
    /// The model is not one that can be used safely.
    #[error("{file}: {message}")]
    Model {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// A line of the policy cannot be used.
    #[error("{file}:{line}: {message}")]
    Line {
        /// The file.
        file: String,
        /// The line, counted from one.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The policy as a whole cannot be used.
    #[error("{file}: {message}")]
    Policy {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// The request has another length than the model says.
    #[error(
        "{file}: the request definition has {wanted} names ({names}), and `request` has {given}"
    )]
    Request {
        /// The file of the model.
        file: String,
        /// How many names it has.
        wanted: usize,
        /// Its names.
        names: String,
        /// How many fields were given.
        given: usize,
    },
}

impl Casbin {
    /// Compiles a model with its policy. Files are named for messages only.
    ///
    /// # Errors
    /// When anything in them would fail or panic later, or would not be looked at.
    pub fn compile(
        (model_file, model): (&str, &[u8]),
        (policy_file, policy): (&str, &[u8]),
        fields: &[CasbinField],
    ) -> Result<Self, InvalidCasbin> {
        let text = |file: &str, bytes| {
            std::str::from_utf8(bytes).map_err(|_| InvalidCasbin::NotText(file.to_owned()))
        };
        let (model, policy) = (text(model_file, model)?, text(policy_file, policy)?);
        let wrong = |message: String| InvalidCasbin::Model { file: model_file.to_owned(), message };
        let shape = model::check(model).map_err(wrong)?;
        if shape.request.len() != fields.len() {
            return Err(InvalidCasbin::Request {
                file: model_file.to_owned(),
                wanted: shape.request.len(),
                names: quoted(shape.request.iter().map(String::as_str)),
                given: fields.len(),
            });
        }
        let lines = lines::check(policy_file, policy, &shape)?;
        pattern::check(policy_file, &shape, &lines)?;
        let enforcer = build(model, policy).map_err(wrong)?;
        let loaded = enforcer.get_model().get_policy("p", "p").len()
            + enforcer.get_model().get_policy("g", "g").len();
        if loaded != lines.all.len() {
            let message = "some of its lines are not read as they are written".to_owned();
            return Err(InvalidCasbin::Policy { file: policy_file.to_owned(), message });
        }
        let casbin = Self { enforcer, fields: fields.to_vec(), roles: lines.roles() };
        // A matcher that calls what is not there fails here, not at the first request.
        let sample = fields.iter().map(|field| field.sample()).collect();
        match casbin.enforce(sample) {
            Ok(_) => Ok(casbin),
            Err(Some(error)) => Err(wrong(format!("the matcher cannot be evaluated: {error}"))),
            Err(None) => Err(wrong("the matcher panics".to_owned())),
        }
    }

    /// What it says about a request. Undefined when the request lacks one of the fields.
    #[must_use]
    pub fn judge(&self, facts: &Facts<'_>) -> EngineAnswer {
        let mut request = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            match field.of(facts) {
                Err(fault) => return fault.into(),
                Ok(None) => return EngineAnswer::Undefined,
                Ok(Some(field::Held::Text(text))) => {
                    if field.is_name() && self.roles.contains(text) {
                        return EngineFault::UnsafeName.into();
                    }
                    request.push(Dynamic::from(text.to_owned()));
                }
                Ok(Some(field::Held::List(list))) => request.push(field::list(list)),
            }
        }
        match self.enforce(request) {
            Ok(true) => EngineAnswer::Yes,
            Ok(false) => EngineAnswer::No,
            Err(Some(_)) => EngineFault::Evaluation.into(),
            Err(None) => EngineFault::Panicked.into(),
        }
    }

    /// An error holds its text, a panic nothing.
    fn enforce(&self, request: Vec<Dynamic>) -> Result<bool, Option<String>> {
        // Nothing in it changes while it is asked, so a panic leaves nothing half-changed behind.
        let asked = catch_unwind(AssertUnwindSafe(|| self.enforcer.enforce(request)));
        asked.map_err(|_| None)?.map_err(|error| Some(error.to_string()))
    }
}

/// casbin-rs is asynchronous by its signatures only: with texts in memory, nothing is ever waited for.
fn build(model: &str, policy: &str) -> Result<Enforcer, String> {
    let built = catch_unwind(AssertUnwindSafe(|| {
        let model = DefaultModel::from_str(model).now_or_never()?;
        let model = match model {
            Ok(model) => model,
            Err(error) => return Some(Err(error.to_string())),
        };
        let enforcer = Enforcer::new(model, StringAdapter::new(policy)).now_or_never()?;
        Some(enforcer.map_err(|error| error.to_string()))
    }));
    let mut enforcer = match built {
        Ok(Some(built)) => built?,
        Ok(None) => return Err("it has to be waited for".to_owned()),
        Err(_) => return Err("casbin panics on it".to_owned()),
    };
    for (name, function) in pattern::SAFE {
        enforcer.add_function(name, function);
    }
    Ok(enforcer)
}

impl std::fmt::Debug for Casbin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Casbin").field("fields", &self.fields).finish_non_exhaustive()
    }
}
