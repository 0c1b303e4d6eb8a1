//! `hopgate cert verify`: whom a certificate proves, check by check.

mod checks;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::input::load;
use super::inspect::line;
use super::{AtArgs, Output, ReadArgs};
use crate::cli::terminal::{Style, Tone, plain};
use crate::identity::{SpiffeId, TrustDomain};

use checks::{Demands, Roots, Verdict};

/// Verify certificates against a bundle or the system's roots, saying each check
///
/// PLACE is as for inspect. Exit code 0: verified, 1: refused, 2: could not tell.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// Where the certificates are
    #[arg(value_name = "PLACE")]
    place: String,
    /// Where the roots are, in any form of PLACE; several are bundles of several trust domains
    #[arg(long, value_name = "PLACE", required_unless_present = "system", value_delimiter = ',')]
    bundle: Vec<String>,
    /// Trust the roots of this system instead, as for a web server; --name is needed
    #[arg(long, conflicts_with = "bundle", requires = "name")]
    system: bool,
    /// The trust domain of a bundle that does not say its own [default: the one that the certificate names]
    #[arg(long, value_name = "NAME", value_parser = trust_domain)]
    trust_domain: Option<TrustDomain>,
    /// The SPIFFE ID that must be proven
    #[arg(long, value_name = "SPIFFE-ID", value_parser = spiffe_id)]
    id: Option<SpiffeId>,
    /// The DNS name or IP address that must be among its names
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    at: AtArgs,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn trust_domain(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::parse(text).map_err(|error| error.to_string())
}

fn spiffe_id(text: &str) -> Result<SpiffeId, String> {
    SpiffeId::parse(text).map_err(|error| error.to_string())
}

/// Runs the verb.
///
/// # Errors
/// When a place cannot be read, or holds nothing to verify.
pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let now = args.at.now();
    let loaded = load(&args.place, &args.read)?;
    let roots = match args.system {
        true => Roots::system()?,
        false => {
            let bundles = args.bundle.iter().map(|place| load(place, &args.read));
            let bundles = bundles.collect::<anyhow::Result<Vec<_>>>().context("--bundle")?;
            Roots::of(&bundles, args.trust_domain.as_ref())?
        }
    };
    let demands = Demands { id: args.id.as_ref(), name: args.name.as_deref(), now };
    let verdicts: Vec<Verdict> = loaded
        .groups
        .iter()
        .filter_map(|group| Some(Verdict::new(group.chain()?, &roots, &demands)))
        .collect();
    anyhow::ensure!(
        !verdicts.is_empty(),
        "{}: holds authorities and no leaf; there is nothing to verify",
        args.place
    );
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => out.write_all(text(&verdicts, now, Style::of_stdout()).as_bytes())?,
        Output::Json => {
            let all: Vec<Value> = verdicts.iter().map(Verdict::json).collect();
            writeln!(out, "{:#}", json!({ "place": args.place, "chains": all }))?;
        }
    }
    let verified = verdicts.iter().all(Verdict::is_verified);
    Ok(if verified { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn text(verdicts: &[Verdict], now: SystemTime, style: Style) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        line(&mut text, &plain(&verdict.title));
        for check in &verdict.checks {
            let name = check.name;
            line(
                &mut text,
                &match &check.result {
                    Ok(Some(said)) => format!("  passed       {name}: {}", plain(said)),
                    Ok(None) => format!("  not reached  {name}"),
                    Err(why) => {
                        let failed = style.paint(Tone::Bad, "FAILED");
                        format!("  {failed}       {name}: {}", plain(why))
                    }
                },
            );
        }
        line(&mut text, &verdict.outcome(now, style));
    }
    text
}
