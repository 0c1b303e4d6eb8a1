//! The two brakes on bad credentials, and when they are applied.

use std::num::NonZeroU32;
use std::time::Duration;

use super::brake::{Brake, BrakeRules};

/// When whoever sends bad credentials has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrakesRules {
    /// Bad credentials from one address. Behind a load balancer that is everybody's address, so this is for floods.
    pub addresses: BrakeRules,
    /// Bad credentials that are like one another.
    pub credentials: BrakeRules,
}

/// Both brakes.
pub(super) struct Brakes {
    pub(super) addresses: Brake,
    pub(super) credentials: Brake,
}

impl Brakes {
    pub(super) fn new(rules: BrakesRules) -> Self {
        let BrakesRules { addresses, credentials } = rules;
        Self { addresses: Brake::new(addresses), credentials: Brake::new(credentials) }
    }
}

impl BrakesRules {
    /// Ten bad credentials a second from one address for a minute; twenty that are like one another within a minute.
    #[must_use]
    pub fn usual() -> Self {
        let rules = |failures, hold| BrakeRules {
            failures: NonZeroU32::new(failures).unwrap_or(NonZeroU32::MIN),
            within: Duration::from_secs(60),
            hold: Duration::from_secs(hold),
            max_entries: 100_000,
        };
        Self { addresses: rules(600, 10), credentials: rules(20, 30) }
    }
}
