//! Rego in process, by regorus.
//!
//! Evaluated by its interpreter and not by its virtual machine: only the interpreter is held to the whole of OPA's own
//! tests. Each evaluation is bounded in time, a panic inside is caught, and whatever a policy prints is thrown away: it
//! may be a token.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use super::super::facts::EngineAnswer;
use super::fault::EngineFault;

/// Steps between two looks at the clock.
const CHECK_EVERY: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);
/// OPA's name for the time, which is one of the facts here.
const NOW: &str = "time.now_ns";

/// The name of a file, for messages, and what stands in it.
pub type RegoFile<'f> = (String, &'f [u8]);

/// Compiled Rego.
pub struct Rego {
    engine: Engine,
    rule: String,
    /// Some module asks for the time.
    asks_for_time: bool,
}

/// Why Rego cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRego {
    /// A file is no UTF-8.
    #[error("{0} is not UTF-8")]
    NotText(String),
    /// A module does not parse or compile.
    #[error("{file}: {message}")]
    Module {
        /// The file.
        file: String,
        /// What regorus says.
        message: String,
    },
    /// A data file is no JSON object, or contradicts another.
    #[error("{file}: {message}")]
    Data {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// The modules do not fit together.
    #[error("the modules cannot be used together: {0}")]
    Together(String),
    /// No module defines the rule.
    #[error("no module defines the rule `{rule}`; there are the packages {packages}")]
    NoRule {
        /// The rule, as a path.
        rule: String,
        /// What there is.
        packages: String,
    },
    /// It calls a function that needs the network or signs tokens, or that is not known.
    #[error("{file} calls `{function}`, which is not available here{hint}")]
    Function {
        /// The file.
        file: String,
        /// The function.
        function: String,
        /// What to do instead.
        hint: &'static str,
    },
}

impl Rego {
    /// Compiles modules and data. Files are named for messages only. `rule` is a path such as `envoy/authz/allow`.
    ///
    /// # Errors
    /// When anything in a file cannot be used, or no module defines the rule.
    pub fn compile(
        (modules, data): (&[RegoFile<'_>], &[RegoFile<'_>]),
        (rule, time_limit): (&str, Duration),
    ) -> Result<Self, InvalidRego> {
        let mut engine = Engine::new();
        // Else they go to stderr.
        engine.set_gather_prints(true);
        // As OPA does: what a failing built-in computes is undefined.
        engine.set_strict_builtin_errors(false);
        let limit = ExecutionTimerConfig { limit: time_limit, check_interval: CHECK_EVERY };
        engine.set_execution_timer_config(limit);
        let mut asks_for_time = false;
        for (file, bytes) in modules {
            let text = text(file, bytes)?;
            super::rego_calls::check(file, text)?;
            asks_for_time |= text.contains(NOW);
            engine.add_policy(file.clone(), text.to_owned()).map_err(|error| {
                InvalidRego::Module { file: file.clone(), message: error.to_string() }
            })?;
        }
        for (file, bytes) in data {
            let wrong = |message: String| InvalidRego::Data { file: file.clone(), message };
            let value = Value::from_json_str(text(file, bytes)?)
                .map_err(|_| wrong("is no JSON".to_owned()))?;
            engine.add_data(value).map_err(|error| wrong(error.to_string()))?;
        }
        let packages = engine.get_packages().unwrap_or_default().join(", ");
        let path = format!("data.{}", rule.replace('/', "."));
        // Everything is compiled here, not at the first request.
        engine.set_input(Value::new_object());
        let missing = || InvalidRego::NoRule { rule: rule.to_owned(), packages };
        let compiled = match engine.compile_with_entrypoint(&path.as_str().into()) {
            Ok(compiled) => compiled,
            Err(error) if error.to_string().contains("not a valid rule path") => {
                return Err(missing());
            }
            Err(error) => return Err(InvalidRego::Together(error.to_string())),
        };
        if !compiled.get_rules().contains_key(&path) {
            return Err(missing());
        }
        Ok(Self { engine, rule: path, asks_for_time })
    }

    /// What the rule says to this input: true, false, or an object whose `allowed` is one of these.
    #[must_use]
    pub fn judge(&self, input: &serde_json::Value, now: SystemTime) -> EngineAnswer {
        // A copy is evaluated and thrown away, so a panic leaves nothing half-changed behind.
        let evaluated = catch_unwind(AssertUnwindSafe(|| self.evaluate(input, now)));
        match evaluated {
            Ok(Ok(value)) => read(&value),
            Ok(Err(fault)) => fault.into(),
            Err(_) => EngineFault::Panicked.into(),
        }
    }

    fn evaluate(&self, input: &serde_json::Value, now: SystemTime) -> Result<Value, EngineFault> {
        let mut engine = self.engine.clone();
        if self.asks_for_time {
            let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let now = u64::try_from(since.as_nanos()).map_err(|_| EngineFault::Evaluation)?;
            let now = Value::from(now);
            engine
                .add_extension(NOW.to_owned(), 0, Box::new(move |_: Vec<Value>| Ok(now.clone())))
                .map_err(|_| EngineFault::Evaluation)?;
        }
        engine.set_input(Value::from(input.clone()));
        // The text of an error holds values of the input, so it is not told.
        engine.eval_rule(self.rule.clone()).map_err(|error| {
            match error.downcast_ref::<regorus::LimitError>() {
                Some(_) => EngineFault::TimeLimit,
                None => EngineFault::Evaluation,
            }
        })
    }
}

fn read(value: &Value) -> EngineAnswer {
    match value {
        Value::Undefined => EngineAnswer::Undefined,
        Value::Bool(true) => EngineAnswer::Yes,
        Value::Bool(false) => EngineAnswer::No,
        Value::Object(members) => match members.get(&Value::from("allowed")) {
            Some(Value::Bool(true)) => EngineAnswer::Yes,
            Some(Value::Bool(false)) => EngineAnswer::No,
            Some(_) | None => EngineFault::Unusable.into(),
        },
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Set(_) => {
            EngineFault::Unusable.into()
        }
    }
}

fn text<'b>(file: &str, bytes: &'b [u8]) -> Result<&'b str, InvalidRego> {
    std::str::from_utf8(bytes).map_err(|_| InvalidRego::NotText(file.to_owned()))
}

impl std::fmt::Debug for Rego {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rego").field("rule", &self.rule).finish_non_exhaustive()
    }
}
