//! Tokens for the application's own calls: client credentials (RFC 6749, section 4.4), obtained, kept and renewed here, so
//! that the application holds no secret and writes no code for it.
//!
//! One task for each named target asks its token endpoint, early and alone, and publishes what came. [`Tokens::bearer`]
//! looks and never waits. A good token is kept until a better one is there; one that has ended is never given out.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

mod config;
mod grant;
mod schedule;
mod source;

pub use config::{InvalidTarget, TargetAuth, TargetConfig, TargetHttp};
pub use grant::GrantError;
pub use source::{TokenSource, TokenStatus};

use source::State;

/// The tokens of all targets. Cloning shares them.
#[derive(Clone)]
pub struct Tokens(Arc<Vec<Target>>);

/// One target: the hosts it is called by, and its token.
struct Target {
    name: String,
    hosts: Vec<HostPattern>,
    header: String,
    state: watch::Receiver<State>,
}

/// A host that tokens are for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Exactly(String),
    /// With any one or more labels in front.
    Below(String),
}

/// What a call to a host gets.
pub enum Bearer {
    /// No token is for this host.
    NotNamed,
    /// This header, in place of any of its name.
    Header {
        /// Its name, in lower case.
        name: String,
        /// Its value.
        value: Zeroizing<String>,
    },
    /// A token is for this host, and there is none: the call must not go out without.
    Missing {
        /// The target.
        target: String,
    },
}

impl Tokens {
    /// Compiles targets. Each comes with the task that keeps its token; run them all.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn compile(
        targets: &[TargetConfig],
        clock: &crate::runtime::Clock,
    ) -> Result<(Self, Vec<TokenSource>), InvalidTarget> {
        let (mut all, mut sources) = (Vec::new(), Vec::new());
        for (place, target) in targets.iter().enumerate() {
            let (source, state) = TokenSource::new(target, place, clock.clone())?;
            let hosts = target.patterns(place)?;
            let (name, header) = (target.name.clone(), target.header_name(place)?);
            all.push(Target { name, hosts, header, state });
            sources.push(source);
        }
        config::refuse_overlap(targets)?;
        Ok((Self(Arc::new(all)), sources))
    }

    /// What a call to this host gets at this moment. `host` is in lower case, without port.
    #[must_use]
    pub fn bearer(&self, host: &str, now: SystemTime) -> Bearer {
        let Some(target) = self.target(host) else { return Bearer::NotNamed };
        match target.state.borrow().token(now) {
            Some(value) => Bearer::Header { name: target.header.clone(), value },
            None => Bearer::Missing { target: target.name.clone() },
        }
    }

    /// Waits until there is a token for this host, until `deadline` at most.
    pub async fn ready(&self, host: &str, now: SystemTime, deadline: Instant) {
        let Some(target) = self.target(host) else { return };
        let mut state = target.state.clone();
        let there = state.wait_for(|state| state.token(now).is_some());
        // Too late or never: then the call is refused for want of a token.
        let _late = timeout_at(deadline, there).await;
    }

    /// How the token of each target is doing.
    #[must_use]
    pub fn status(&self) -> Vec<TokenStatus> {
        self.0.iter().map(|target| target.state.borrow().status(&target.name)).collect()
    }

    /// An exact name comes before patterns, a longer pattern before a shorter one: no order in the file decides.
    fn target(&self, host: &str) -> Option<&Target> {
        let by_pattern = self.0.iter().flat_map(|target| {
            target.hosts.iter().filter(|pattern| pattern.covers(host)).map(move |it| (it, target))
        });
        by_pattern.max_by_key(|(pattern, _)| pattern.rank()).map(|(_, target)| target)
    }
}

impl HostPattern {
    /// How closely it names a host that it covers.
    fn rank(&self) -> (bool, usize) {
        match self {
            Self::Exactly(name) => (true, name.len()),
            Self::Below(suffix) => (false, suffix.len()),
        }
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => name == host,
            Self::Below(suffix) => host
                .strip_suffix(suffix.as_str())
                .and_then(|front| front.strip_suffix('.'))
                .is_some_and(|front| !front.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests;
