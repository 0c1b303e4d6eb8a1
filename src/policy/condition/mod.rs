//! `when`: conditions in CEL over the facts of a request.
//!
//! The names and their types stand in [`table`]; docs/conditions.md shows them to those who write policies. What is
//! absent cannot be evaluated: a condition over `peer` on a connection without certificate, over `user` without
//! token, over a claim the token lacks or a header sent twice is *undecidable*, and that refuses the request.
//! `has(user.claims.x)` asks first. A name, function or type that does not fit is refused at load.
//!
//! A condition is parsed by the CEL library and checked here ([`check`]). Common shapes are evaluated by [`native`];
//! others by the interpreter of the library, to which only what [`lower`] leaves is given. Both read by [`operand`] and
//! spend from one [`meter`].

mod bind;
mod check;
mod cost;
mod error;
mod held;
mod known;
mod lower;
mod meter;
mod native;
mod operand;
mod operation;
mod pattern;
mod place;
mod roles;
mod table;
mod types;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, Program, Value};

use bind::{Bound, check_headers};
use check::Uses;
pub use error::InvalidCondition;
use error::Mistake;
use known::Known;
use lower::Lowered;
pub(in crate::policy) use meter::MAX_STEPS;
use meter::Meter;
use native::Native;
pub use roles::ImpliedRoles;
pub use table::ConditionNames;

use super::decide::UndecidableReason;
use super::facts::Facts;
use super::rule::RequestPattern;
use super::template::PathTemplate;

/// The longest condition, in bytes. What needs more is several rules.
const MAX_BYTES: usize = 2048;

/// A checked condition.
#[derive(Debug, Clone)]
pub struct Condition {
    text: Arc<str>,
    program: Arc<Program>,
    shape: Arc<Shape>,
    roles: Arc<ImpliedRoles>,
    uses: Uses,
}

/// How it is evaluated.
#[derive(Debug)]
enum Shape {
    Native(Native),
    Interpreted(Lowered),
}

impl Condition {
    /// Parses a condition and refuses every name and function that does not exist, and every operation on values of
    /// types that it is not for.
    ///
    /// # Errors
    /// With the place in the text, what stands there and what was expected.
    pub fn compile(text: &str) -> Result<Self, InvalidCondition> {
        if text.len() > MAX_BYTES {
            return Err(Mistake::TooLong.into());
        }
        check::check_nesting(text)?;
        // A parser that panics on some text must not take the process with it.
        let program = catch_unwind(|| environment().compile(text))
            .map_err(|_| Mistake::Unreadable)?
            .map_err(|errors| Mistake::syntax(&errors))?;
        let uses = Uses::check(text, &program)?;
        let roles = ImpliedRoles::default();
        let shape = Shape::of(&program, &roles);
        if let Shape::Interpreted(lowered) = &shape
            && lowered.cost.fixed > MAX_STEPS
        {
            return Err(Mistake::TooCostly.into());
        }
        Ok(Self {
            text: text.into(),
            program: Arc::new(program),
            shape: Arc::new(shape),
            roles: Arc::new(roles),
            uses,
        })
    }

    /// The same condition where roles imply others: `user.roles` and `client.roles` hold those too.
    #[must_use]
    pub fn with_roles(self, roles: &Arc<ImpliedRoles>) -> Self {
        let shape = Arc::new(Shape::of(&self.program, roles));
        Self { shape, roles: Arc::clone(roles), ..self }
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True when it names `request.body`, so that the proxy must hand on the body.
    #[must_use]
    pub fn asks_for_body(&self) -> bool {
        self.uses.body()
    }

    /// Refuses a `path.name` that some path of the rule does not capture.
    pub(super) fn check_variables(
        &self,
        requests: Option<&[RequestPattern]>,
    ) -> Result<(), InvalidCondition> {
        self.uses.check_variables(requests.unwrap_or_default())
    }

    /// Evaluates it. `template` is the path template by which the request reached the rule.
    pub(super) fn evaluate(
        &self,
        facts: &Facts<'_>,
        template: Option<&PathTemplate>,
        environment: &Arc<Env>,
    ) -> Result<bool, UndecidableReason> {
        self.measure(&self.shape, facts, template, environment).0
    }

    /// The answer, and the steps that finding it took.
    fn measure(
        &self,
        shape: &Shape,
        facts: &Facts<'_>,
        template: Option<&PathTemplate>,
        environment: &Arc<Env>,
    ) -> (Result<bool, UndecidableReason>, u64) {
        if let Err(reason) = check_headers(self.uses.headers(), facts) {
            return (Err(reason), 0);
        }
        let meter = Meter::new();
        let known = Known { facts, template, roles: &self.roles, meter: &meter };
        let outcome = match shape {
            Shape::Native(native) => native.evaluate(&known),
            Shape::Interpreted(lowered) => interpret(lowered, &known, environment),
        };
        (meter.check(outcome), meter.spent())
    }
}

impl Shape {
    fn of(program: &Program, roles: &ImpliedRoles) -> Self {
        match Native::compile(program.expression(), roles) {
            Some(native) => Self::Native(native),
            None => Self::Interpreted(Lowered::of(program.expression(), roles)),
        }
    }
}

#[cfg(test)]
impl Condition {
    /// True when it is evaluated without the interpreter.
    pub(super) fn is_native(&self) -> bool {
        matches!(*self.shape, Shape::Native(_))
    }

    /// Evaluates it by the interpreter, whatever its shape.
    pub(super) fn interpret(
        &self,
        facts: &Facts<'_>,
        template: Option<&PathTemplate>,
        environment: &Arc<Env>,
    ) -> Result<bool, UndecidableReason> {
        let lowered = Lowered::of(self.program.expression(), &self.roles);
        self.measure(&Shape::Interpreted(lowered), facts, template, environment).0
    }

    /// The answer, and the steps that finding it took.
    pub(super) fn steps(
        &self,
        facts: &Facts<'_>,
        template: Option<&PathTemplate>,
        environment: &Arc<Env>,
    ) -> (Result<bool, UndecidableReason>, u64) {
        self.measure(&self.shape, facts, template, environment)
    }
}

fn interpret(
    lowered: &Lowered,
    known: &Known<'_, '_>,
    environment: &Arc<Env>,
) -> Result<bool, UndecidableReason> {
    known.meter.spend(lowered.cost.fixed)?;
    let bound = Bound::new(lowered.read(known), lowered.cost, known.meter);
    // The interpreter runs what operators wrote over what strangers sent; its panic is a refusal, not an outage.
    catch_unwind(AssertUnwindSafe(|| run(lowered, &bound, environment)))
        .unwrap_or(Err(UndecidableReason::Panicked))
}

fn run(
    lowered: &Lowered,
    bound: &Bound<'_>,
    environment: &Arc<Env>,
) -> Result<bool, UndecidableReason> {
    let mut context = Context::with_env(Arc::clone(environment));
    context.set_variable_resolver(bound);
    let value = Value::resolve_val(&lowered.expression, &context)
        .map_err(|error| reason(error, lowered, bound))?;
    match value.downcast_ref::<CelBool>() {
        Some(truth) => Ok(*truth.inner()),
        None => Err(UndecidableReason::NotBoolean),
    }
}

/// The standard library, without the optional syntax. Made once for each policy set, shared by every evaluation.
pub(super) fn environment() -> Env {
    Env::stdlib().with_optional_support(false)
}

fn reason(error: ExecutionError, lowered: &Lowered, bound: &Bound<'_>) -> UndecidableReason {
    match error {
        ExecutionError::UndeclaredReference(name) => {
            bound.reason(&name).unwrap_or_else(|| failed("something that is not known"))
        }
        // The key may be what somebody sent, unless the condition itself names it.
        ExecutionError::NoSuchKey(key) if lowered.names(&key) => {
            UndecidableReason::Missing(key.as_str().to_owned())
        }
        ExecutionError::NoSuchKey(_) => failed("a member that is not there"),
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
