//! The body of requests, handed to the gate for rules that ask about it.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::{Value, json};

/// What may be buffered of one request. The CheckRequest must hold it: see `extAuthz.maxRequestBytes`.
const MAX_BYTES: RangeInclusive<u32> = RangeInclusive::new(1, 32 * 1024 * 1024);

/// Envoy keeps back each request until its body is here, and hands it to the gate as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestBody {
    /// So many bytes are handed on, at most.
    pub max_bytes: u32,
    /// What becomes of a larger body.
    #[serde(default = "refuse")]
    pub larger: LargerBody,
}

/// What becomes of a body that is larger than what may be buffered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum LargerBody {
    /// Envoy refuses the request with 413, and the gate never sees it.
    Refuse,
    /// The gate sees the beginning, and knows that it is one: no rule that asks about the body can be decided.
    HandOnBeginning,
}

fn refuse() -> LargerBody {
    LargerBody::Refuse
}

impl RequestBody {
    /// True when Envoy can do it.
    pub(super) fn is_possible(&self) -> bool {
        MAX_BYTES.contains(&self.max_bytes)
    }

    /// `with_request_body`. Always as bytes: as text, what is not UTF-8 would be replaced.
    pub(super) fn to_envoy(self) -> Value {
        let Self { max_bytes, larger } = self;
        json!({
            "max_request_bytes": max_bytes,
            "allow_partial_message": match larger {
                LargerBody::Refuse => false,
                LargerBody::HandOnBeginning => true,
            },
            "pack_as_bytes": true,
        })
    }
}
