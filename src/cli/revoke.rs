//! `hopgate revoke`: what is no longer trusted, said to a running control plane.

mod report;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::operator::{self as call, OperatorArgs, duration};
use crate::revocation::Words;
use crate::runtime::Clock;

/// Trust a workload no longer, see who is revoked, trust again
///
/// A revoked workload is refused by the gate of every workload it calls and gets no new certificate. The control plane must run: it is asked over its operator's socket, which answers its own user and root.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Workload(WorkloadArgs),
    List(ListArgs),
    Lift(LiftArgs),
}

/// Revoke a workload, or one certificate of it
#[derive(Debug, Args)]
struct WorkloadArgs {
    #[command(flatten)]
    named: Named,
    /// How long it is revoked, such as 2h; without this until it is lifted
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    until: Option<Duration>,
    /// Why; peers' decision logs say it, callers never hear it
    #[arg(long, value_name = "TEXT", value_parser = words)]
    reason: String,
    #[command(flatten)]
    common: OperatorArgs,
}

/// Show what is revoked
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    common: OperatorArgs,
}

/// Trust again
#[derive(Debug, Args)]
struct LiftArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    common: OperatorArgs,
}

#[derive(Debug, Args)]
struct Named {
    /// The workload: ns/NAMESPACE/sa/ACCOUNT, or a whole SPIFFE ID
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    /// Only its certificate with this serial number (hexadecimal, colons allowed)
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
}

/// Runs the verb: 0 when it is done, 1 when there was nothing to lift, 2 when the control plane could not be asked or
/// refuses.
///
/// # Errors
/// When the control plane could not be asked, or refuses.
pub(crate) fn run(args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let out = &mut std::io::stdout().lock();
    match &args.verb {
        Verb::Workload(args) => {
            let order = args.order(Clock::system().now())?;
            let told = call::post(&args.common.address()?, "/v1/revocations", &order)?;
            let told = told.done()?;
            report::revoked(&told, args.common.output, out)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::List(args) => {
            let told = call::get(&args.common.address()?, "/v1/revocations")?.done()?;
            report::list(&told, args.common.output, out)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Lift(args) => {
            let told =
                call::post(&args.common.address()?, "/v1/revocations/lift", &args.named.json())?;
            match told.found()? {
                Ok(told) => {
                    report::lifted(&told, args.common.output, out)?;
                    Ok(ExitCode::SUCCESS)
                }
                Err(words) => {
                    use std::io::Write as _;
                    writeln!(std::io::stderr().lock(), "{words}")?;
                    Ok(ExitCode::from(1))
                }
            }
        }
    }
}

impl WorkloadArgs {
    fn order(&self, now: SystemTime) -> anyhow::Result<Value> {
        let mut order = self.named.json();
        let until = self.until.map(|until| moment(now, until)).transpose()?;
        if let Value::Object(fields) = &mut order {
            fields.insert("until".to_owned(), json!(until));
            fields.insert("reason".to_owned(), json!(self.reason));
        }
        Ok(order)
    }
}

impl Named {
    fn json(&self) -> Value {
        json!({ "workload": self.workload, "serial": self.serial })
    }
}

/// Whole seconds, rounded up: a revocation never ends early.
fn moment(now: SystemTime, after: Duration) -> anyhow::Result<String> {
    let far = || anyhow::anyhow!("--until: is too far away");
    let end = now.checked_add(after).ok_or_else(far)?;
    let since = end.duration_since(SystemTime::UNIX_EPOCH)?;
    let seconds = since.as_secs().saturating_add(u64::from(since.subsec_nanos() > 0));
    let end = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds)?).map_err(|_| far())?;
    end.format(&Rfc3339).map_err(|_| far())
}

fn words(text: &str) -> Result<String, String> {
    Words::parse(text).map(|words| words.to_string()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_never_early() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_001);
        assert_eq!(moment(now, Duration::from_secs(60)).unwrap(), "2026-09-21T14:14:21Z");
        let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        assert_eq!(moment(whole, Duration::from_secs(7200)).unwrap(), "2026-09-21T16:13:20Z");
        for far in [u64::MAX, 1 << 60] {
            assert!(moment(now, Duration::from_secs(far)).is_err(), "{far}");
        }
    }
}
