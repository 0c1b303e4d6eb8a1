//! `hopgate cert`: look at certificates, verify them, watch when they end.
//!
//! Certificates come from wherever they are: files, sockets, servers, a running sidecar. Taking them from a server trusts
//! nothing; only `verify` says whom they prove. A private key that comes along (in a file, over SDS or the Workload API)
//! is wiped unread and never printed.

mod bar;
mod expiry;
mod facts;
mod input;
mod inspect;
mod remark;
mod tree;
mod verify;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::cli::moment;
use crate::runtime::Clock;

pub(super) use input::trusted;
use input::{Group, GroupKind, Loaded, ReadArgs};

/// Look at certificates, verify them, watch when they end
#[derive(Debug, clap::Args)]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Inspect(inspect::InspectArgs),
    Verify(verify::VerifyArgs),
    Expiry(expiry::ExpiryArgs),
}

/// The form of what stands on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// When it is judged.
#[derive(Debug, clap::Args)]
struct AtArgs {
    /// Judge as if it were this time: RFC 3339 or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<SystemTime>,
}

impl AtArgs {
    fn now(&self) -> SystemTime {
        self.at.unwrap_or_else(|| Clock::system().now())
    }
}

/// Runs the verb.
///
/// # Errors
/// When it could not be told or done.
pub(crate) fn run(args: &CertArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Inspect(args) => inspect::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Expiry(args) => expiry::run(args),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Seconds since 1970 as RFC 3339, for machines.
fn rfc3339(at: SystemTime) -> Option<String> {
    use time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::from(at).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}
