//! The operator's door of a control plane: where it is, and one call to it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::runtime::Address;

const PATIENCE: Duration = Duration::from_secs(10);
/// All revocations fit into this.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

// Which control plane is asked, and how it is shown. No doc comment: clap would take it for the verb's.
#[derive(Debug, Args)]
pub(super) struct OperatorArgs {
    /// The operator's socket of the control plane
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    operator: Option<Address>,
    /// The control plane's configuration file (YAML), which names the socket
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
}

/// The form of what stands on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// What it said.
pub(super) struct Told {
    from: String,
    status: u16,
    body: Value,
}

pub(super) fn get(address: &Address, path: &str) -> anyhow::Result<Told> {
    call(address, path, None)
}

pub(super) fn post(address: &Address, path: &str, body: &Value) -> anyhow::Result<Told> {
    call(address, path, Some(body))
}

impl OperatorArgs {
    /// # Errors
    /// When the configuration file cannot be read.
    pub(super) fn address(&self) -> anyhow::Result<Address> {
        match (&self.operator, &self.config) {
            (Some(address), _) => Ok(address.clone()),
            (None, Some(file)) => Ok(crate::config::control(file)?.operator()?),
            (None, None) => {
                anyhow::bail!(
                    "say which control plane: --config CONTROL.yaml, or --operator unix:/path/to/operator.sock"
                )
            }
        }
    }
}

impl Told {
    /// # Errors
    /// When it refuses, with its words.
    pub(super) fn done(self) -> anyhow::Result<Value> {
        let Self { from, status, body } = self;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let words = body.get("error").and_then(Value::as_str).map(str::to_owned);
        anyhow::bail!(words.unwrap_or_else(|| format!("{from}: answers {status}")))
    }

    /// The same, but that there is no such thing is an answer too.
    pub(super) fn found(self) -> anyhow::Result<Result<Value, String>> {
        match (self.status, self.body.get("error").and_then(Value::as_str)) {
            (404, Some(words)) => Ok(Err(words.to_owned())),
            (_, _) => self.done().map(Ok),
        }
    }
}

fn call(address: &Address, path: &str, body: Option<&Value>) -> anyhow::Result<Told> {
    let Address::Unix(socket) = address else {
        anyhow::bail!("{address}: the operator's door is a unix socket; write unix:/path/to.sock");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let from = format!("{address}{path}");
    runtime.block_on(async {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .unix_socket(socket.clone())
            .build()?;
        let url = format!("http://localhost{path}");
        let request = match body {
            None => client.get(url),
            Some(body) => {
                client.post(url).header("content-type", "application/json").body(body.to_string())
            }
        };
        let asked = || format!("cannot ask the control plane at {address}: does it run?");
        let mut response = request.send().await.with_context(asked)?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.with_context(|| from.clone())? {
            anyhow::ensure!(bytes.len() + chunk.len() <= MAX_ANSWER, "{from}: is too long");
            bytes.extend_from_slice(&chunk);
        }
        let body = serde_json::from_slice(&bytes).with_context(|| {
            format!("{from}: answers {status} and no JSON; is it a control plane?")
        })?;
        Ok(Told { from: from.clone(), status, body })
    })
}

/// A duration as a person writes it, such as 10m.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())
}
