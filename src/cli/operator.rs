//! One call to the operator's door of a control plane.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::runtime::Address;

const PATIENCE: Duration = Duration::from_secs(10);
/// All revocations fit into this.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

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
