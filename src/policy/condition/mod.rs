//! `when`: conditions in CEL over the facts of a request.
//!
//! | name | type | what it is |
//! | --- | --- | --- |
//! | `peer.id`, `peer.trustDomain` | string | the workload on the wire |
//! | `peer.namespace`, `peer.serviceAccount` | string | of an ID of the form `/ns/<namespace>/sa/<account>` |
//! | `user.sub`, `user.provider` | string | the verified user |
//! | `user.roles`, `user.scopes` | list of strings | as the provider's claim mapping found them |
//! | `user.groups` | list of strings | absent where the provider does not say |
//! | `user.tenant`, `user.email` | string | absent where there is none |
//! | `user.boundBy` | string | `dpop` or `certificate`, for a token that is bound to a key of its holder |
//! | `user.claims` | map | all claims of the token |
//! | `client.*` | | the same of the program that calls for the user, where it proved itself |
//! | `request.method`, `request.host`, `request.path`, `request.query` | string | the HTTP request: the path decoded, the query as sent; no query is `""` |
//! | `request.headers` | map | one header at a time, named by a lower-case literal |
//! | `path.<name>` | string | a decoded segment that every path of the rule captures as `{name}` |
//! | `now` | int | the time of the decision in seconds since 1970 |
//!
//! What is absent cannot be evaluated: a condition over `peer` on a connection without certificate, over `user`
//! without token, over a claim the token lacks or a header sent twice is *undecidable*, and that refuses the
//! request. `has(user.claims.x)` asks first. A name, field or function that does not exist is refused at load.

mod bind;
mod check;
mod error;
mod known;
mod native;
mod pattern;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, Program, Value};

pub(super) use bind::claims_for_cel;
use bind::{Bound, check_headers, headers};
use check::Uses;
pub use error::InvalidCondition;
use known::Known;
use native::Native;

use super::access::RequestPattern;
use super::decide::UndecidableReason;
use super::facts::Facts;
use super::template::PathTemplate;

/// The longest condition, in bytes. What needs more is several rules.
const MAX_BYTES: usize = 2048;

/// A checked condition.
#[derive(Debug, Clone)]
pub struct Condition {
    text: Arc<str>,
    program: Arc<Program>,
    native: Option<Arc<Native>>,
    uses: Uses,
}

impl Condition {
    /// Parses a condition and refuses every name and function that does not exist.
    ///
    /// # Errors
    /// With the place in the text and what exists there.
    pub fn compile(text: &str) -> Result<Self, InvalidCondition> {
        if text.len() > MAX_BYTES {
            return Err(InvalidCondition::TooLong);
        }
        check::check_nesting(text)?;
        // A parser that panics on some text must not take the process with it.
        let program = catch_unwind(|| environment().compile(text))
            .map_err(|_| InvalidCondition::Unreadable)?
            .map_err(|errors| InvalidCondition::syntax(&errors))?;
        let uses = Uses::check(&program)?;
        let native = Native::compile(program.expression()).map(Arc::new);
        Ok(Self { text: text.into(), program: Arc::new(program), native, uses })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Refuses a `path.name` that some path of the rule does not capture.
    pub(super) fn check_variables(
        &self,
        requests: Option<&[RequestPattern]>,
    ) -> Result<(), InvalidCondition> {
        for variable in self.uses.variables() {
            check::check_variable(variable, requests.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Evaluates it. `template` is the path template by which the request reached the rule.
    pub(super) fn evaluate(
        &self,
        facts: &Facts<'_>,
        template: Option<&PathTemplate>,
        environment: &Arc<Env>,
    ) -> Result<bool, UndecidableReason> {
        match &self.native {
            Some(native) => {
                check_headers(self.uses.headers(), facts)?;
                native.evaluate(&Known { facts, template })
            }
            None => self.interpret(facts, template, environment),
        }
    }

    /// True when it is evaluated without the interpreter.
    #[cfg(test)]
    pub(super) fn is_native(&self) -> bool {
        self.native.is_some()
    }

    pub(super) fn interpret(
        &self,
        facts: &Facts<'_>,
        template: Option<&PathTemplate>,
        environment: &Arc<Env>,
    ) -> Result<bool, UndecidableReason> {
        check_headers(self.uses.headers(), facts)?;
        let bound = Bound::new(facts, template, headers(self.uses.headers(), facts));
        // The interpreter runs what operators wrote over what strangers sent; its panic is a refusal, not an outage.
        catch_unwind(AssertUnwindSafe(|| self.run(&bound, environment)))
            .unwrap_or(Err(UndecidableReason::Panicked))
    }

    fn run(&self, bound: &Bound<'_>, environment: &Arc<Env>) -> Result<bool, UndecidableReason> {
        let mut context = Context::with_env(Arc::clone(environment));
        context.set_variable_resolver(bound);
        let value = Value::resolve_val(self.program.expression(), &context).map_err(reason)?;
        match value.downcast_ref::<CelBool>() {
            Some(truth) => Ok(*truth.inner()),
            None => Err(UndecidableReason::NotBoolean),
        }
    }
}

/// The standard library, without the optional syntax. Made once for each policy set, shared by every evaluation.
pub(super) fn environment() -> Env {
    Env::stdlib().with_optional_support(false)
}

fn reason(error: ExecutionError) -> UndecidableReason {
    match error {
        ExecutionError::UndeclaredReference(name) => match name.as_str() {
            "peer" => UndecidableReason::NoPeer,
            "user" => UndecidableReason::NoUser,
            "client" => UndecidableReason::NoClient,
            "request" | "path" => UndecidableReason::NoRequest,
            other => UndecidableReason::Failed(format!("`{other}` is not known")),
        },
        ExecutionError::NoSuchKey(key) => UndecidableReason::Missing(key.as_str().to_owned()),
        // The other texts quote values of claims and headers: only their kind is told.
        ExecutionError::NoSuchOverload(overload) => UndecidableReason::Failed(overload.to_string()),
        ExecutionError::ValuesNotComparable(..) => failed("values of different types are compared"),
        ExecutionError::IndexOutOfBounds(_) => failed("a place past the end of a list"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            failed("a division by zero")
        }
        ExecutionError::Overflow(..) => failed("a number out of range"),
        ExecutionError::UnexpectedType { got, want } => {
            UndecidableReason::Failed(format!("{got} where {want} is expected"))
        }
        _ => failed("an operation on a value of another type"),
    }
}

fn failed(text: &str) -> UndecidableReason {
    UndecidableReason::Failed(text.to_owned())
}
