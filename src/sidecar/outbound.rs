//! The second door: an Envoy asks it about the application's own calls, and those to named hosts get their token.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::Deserialize;

use super::ext_authz::{CheckLimits, Door};
use crate::authn::{Bearer, TargetConfig, Tokens};
use crate::authz::{Malformed, named_host};
use crate::proto::answer::{self, Answer, HeaderText, Mutations, RefusalStatus};
use crate::proto::check::Check;
use crate::runtime::{Address, Clock};
use crate::telemetry::Metrics;

/// Tokens for the application's own calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OutboundConfig {
    /// A unix socket: tokens travel here.
    pub listen: Address,
    /// Which hosts get which token.
    pub tokens: Vec<TargetConfig>,
}

/// Answers Checks about outgoing calls. Cloning shares it.
#[derive(Clone)]
pub(super) struct Outbound(Arc<Inner>);

struct Inner {
    tokens: Tokens,
    clock: Clock,
    limits: CheckLimits,
    counts: Family<Outcome, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    code: &'static str,
}

impl Outbound {
    pub(super) fn new(
        tokens: Tokens,
        clock: Clock,
        limits: CheckLimits,
        metrics: &Metrics,
    ) -> Self {
        let counts = Family::default();
        metrics.register(|registry| {
            registry.register(
                "outbound_calls",
                "Calls of the application that were asked about, by outcome",
                counts.clone(),
            );
        });
        Self(Arc::new(Inner { tokens, clock, limits, counts }))
    }

    /// The host of the call, or why it cannot be read.
    fn host(message: Result<&[u8], Malformed>) -> Result<String, Malformed> {
        let check = Check::decode(message?).map_err(Malformed::Wire)?;
        named_host(&check).map(Cow::into_owned)
    }

    fn count(&self, code: &'static str, answer: Answer) -> Answer {
        self.0.counts.get_or_create(&Outcome { code }).inc();
        answer
    }

    fn refuse(&self, status: RefusalStatus, code: &'static str) -> Answer {
        let body = format!(r#"{{"error":"{code}","message":"The call was not sent."}}"#);
        let headers = [("content-type", HeaderText::encode("application/json"))];
        self.count(code, answer::deny(status, &headers, &body, &[("code", code)]))
    }

    /// The answer that sends a call with its token.
    fn with(&self, bearer: Bearer) -> Answer {
        match bearer {
            Bearer::NotNamed => {
                self.count("not_named", answer::allow(&Mutations::default(), &[("token", "none")]))
            }
            Bearer::Header { name, value } => {
                // Printable ASCII by its making, so nothing is escaped.
                let Some(text) = HeaderText::verbatim(value.as_str()) else {
                    return self.refuse(RefusalStatus::Unavailable, "outbound_token_unavailable");
                };
                let set = vec![(name.as_str(), text)];
                let mutations = Mutations { set, ..Mutations::default() };
                self.count("token", answer::allow(&mutations, &[("token", "set")]))
            }
            Bearer::Missing { target } => {
                tracing::warn!(target, "a call was refused: there is no token for it");
                self.refuse(RefusalStatus::Unavailable, "outbound_token_unavailable")
            }
        }
    }
}

impl Door for Outbound {
    /// A host for which there is no token yet.
    type Open = String;

    fn limits(&self) -> CheckLimits {
        self.0.limits
    }

    fn at_once(&self, message: Result<&[u8], Malformed>, _: Instant) -> Result<Answer, String> {
        let host = match Self::host(message) {
            Ok(host) => host,
            Err(malformed) => return Ok(self.refuse(RefusalStatus::BadRequest, malformed.code())),
        };
        match self.0.tokens.bearer(&host, self.0.clock.now()) {
            Bearer::Missing { .. } => Err(host),
            bearer @ (Bearer::NotNamed | Bearer::Header { .. }) => Ok(self.with(bearer)),
        }
    }

    async fn later(
        &self,
        _: Result<&[u8], Malformed>,
        host: String,
        (_, deadline): (Instant, tokio::time::Instant),
    ) -> Answer {
        let inner = &*self.0;
        inner.tokens.ready(&host, inner.clock.now(), deadline).await;
        self.with(inner.tokens.bearer(&host, inner.clock.now()))
    }
}
