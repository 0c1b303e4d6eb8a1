//! What a container may use, as in Kubernetes.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

/// Requests and limits of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Resources {
    /// What it is sure to get.
    #[serde(default)]
    pub requests: BTreeMap<Kind, Quantity>,
    /// What it never gets more of.
    #[serde(default)]
    pub limits: BTreeMap<Kind, Quantity>,
}

/// What can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// CPUs.
    Cpu,
    /// Bytes of memory.
    Memory,
    /// Bytes of disk.
    EphemeralStorage,
}

/// An amount, such as `100m` or `128Mi`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Quantity(String);

/// A text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no amount; write one such as 100m, 0.5, 128Mi or 1Gi, in quotes")]
pub struct InvalidQuantity(String);

const UNITS: [&str; 14] =
    ["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Resources {
    /// As it stands in a pod.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let list = |amounts: &BTreeMap<Kind, Quantity>| {
            let amounts =
                amounts.iter().map(|(kind, Quantity(text))| (kind.to_string(), json!(text)));
            Value::Object(amounts.collect())
        };
        json!({ "requests": list(&self.requests), "limits": list(&self.limits) })
    }

    /// The same, with what `other` says instead where it says something.
    #[must_use]
    pub fn overridden(mut self, other: Self) -> Self {
        self.requests.extend(other.requests);
        self.limits.extend(other.limits);
        self
    }
}

impl Resources {
    /// Requests of CPU and memory, and a limit of memory, of this program's own choice.
    pub(super) fn of([cpu, memory]: [&str; 2], limit: &str) -> Self {
        let amount = |text: &str| Quantity(text.to_owned());
        Self {
            requests: [(Kind::Cpu, amount(cpu)), (Kind::Memory, amount(memory))].into(),
            limits: [(Kind::Memory, amount(limit))].into(),
        }
    }
}

impl TryFrom<String> for Quantity {
    type Error = InvalidQuantity;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = text.strip_prefix(digits).unwrap_or_default();
        let mut parts = digits.split('.');
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let whole = parts.next().is_some_and(is_number);
        let fraction = parts.next().is_none_or(is_number);
        if whole && fraction && parts.next().is_none() && UNITS.contains(&unit) && text.len() <= 24
        {
            Ok(Self(text))
        } else {
            Err(InvalidQuantity(text))
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::EphemeralStorage => "ephemeral-storage",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_strictly() {
        for good in ["1", "0.5", "100m", "128Mi", "1G", "2Ei"] {
            assert!(Quantity::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "m", "-1", "1.", ".5", "1.2.3", "1mi", "1 Gi", "1e3", "0x1", "1Gi "] {
            assert!(Quantity::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let parse = |text: &str| serde_json::from_str::<Resources>(text);
        let base = parse(r#"{"requests":{"cpu":"10m","memory":"32Mi"},"limits":{"memory":"1Gi"}}"#);
        let over = parse(r#"{"requests":{"cpu":"1"}}"#).unwrap();
        assert_eq!(
            base.unwrap().overridden(over).to_json(),
            json!({"requests": {"cpu": "1", "memory": "32Mi"}, "limits": {"memory": "1Gi"}})
        );
        for bad in [r#"{"request":{}}"#, r#"{"limits":{"gpu":"1"}}"#, r#"{"limits":{"cpu":1}}"#] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
