//! `hopgate demo`: three services, a gate at every hop, real Envoys, and a tour of them.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::LogArgs;
use crate::demo::{self, Afterwards, Colour, Options, Progress, Report};

/// Where `make` keeps the Envoy that it installs, inside its cache.
const ENVOY_IN_CACHE: &str = "envoy-1.40.0/envoy/_bin/envoy";

/// Start three services on this machine, each behind a real Envoy and a gate, and walk a tour of what passes and
/// what is refused.
///
/// Exit code 0: every step was as expected. 1: some step was not. 2: the tour could not be walked.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DemoArgs {
    #[command(subcommand)]
    part: Option<Part>,
    /// Leave everything running after the tour, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// How to print the tour
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The Envoy to run [default: envoy in PATH, else the one that `make demo` installs]
    #[arg(long, value_name = "PATH", env = "HOPGATE_ENVOY", hide_env_values = true)]
    envoy: Option<PathBuf>,
    /// Where to put configuration, policies and logs [default: a new directory for temporary files]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A table
    Text,
    /// One JSON object: steps, envoy, seconds
    Json,
}

/// What can run alone.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Serve one part of the demo alone: for the pods of a cluster
    #[command(subcommand)]
    Serve(Serve),
}

#[derive(Debug, clap::Subcommand)]
enum Serve {
    /// The front door
    Web {
        #[command(flatten)]
        at: At,
        /// Where orders is
        #[arg(long, value_name = "URL", default_value = "http://orders")]
        orders: String,
    },
    /// What web asks
    Orders {
        #[command(flatten)]
        at: At,
        /// Where payments is
        #[arg(long, value_name = "URL", default_value = "http://payments")]
        payments: String,
    },
    /// What orders asks
    Payments {
        #[command(flatten)]
        at: At,
    },
    /// The identity provider: its passwords are known to everybody
    Idp {
        #[command(flatten)]
        at: At,
        /// Where others reach it, which is its name in tokens
        #[arg(long, value_name = "URL", default_value = "http://idp")]
        issuer: String,
    },
}

#[derive(Debug, clap::Args)]
struct At {
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
}

/// Runs the verb.
///
/// # Errors
/// When the tour could not be walked, or a part not served.
pub(crate) fn run(arguments: DemoArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.part {
        Some(Part::Serve(part)) => runtime.block_on(serve(part)),
        None => runtime.block_on(walk(arguments, log)),
    }
}

async fn serve(part: Serve) -> anyhow::Result<ExitCode> {
    let stop = super::stop_signal().context("cannot receive signals")?;
    let (part, at) = match part {
        Serve::Web { at, orders } => (demo::Part::Web { orders }, at),
        Serve::Orders { at, payments } => (demo::Part::Orders { payments }, at),
        Serve::Payments { at } => (demo::Part::Payments, at),
        Serve::Idp { at, issuer } => (demo::Part::IdentityProvider { issuer }, at),
    };
    demo::serve(part, at.listen, stop).await?;
    Ok(ExitCode::SUCCESS)
}

async fn walk(arguments: DemoArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let stop = super::stop_signal().context("cannot receive signals")?;
    let scratch = Scratch::new(arguments.directory)?;
    let options = Options {
        hopgate: std::env::current_exe().context("cannot tell where the hopgate binary is")?,
        envoy: find_envoy(arguments.envoy).await?,
        environment: environment(log),
        directory: scratch.path().to_path_buf(),
        afterwards: if arguments.keep { Afterwards::Keep } else { Afterwards::Stop },
    };
    let mut progress = progress();
    let mut shown = None;
    let show = |report: &Report| shown = Some(print(report, arguments.output));
    let ended = tokio::select! {
        ended = demo::run(options, &mut progress, show) => ended.map(|()| Ended::ByItself).map_err(anyhow::Error::from),
        () = stop => Ok(Ended::Interrupted),
    };
    finish(ended, shown, scratch, &mut progress)
}

/// Why the run is over.
enum Ended {
    ByItself,
    Interrupted,
}

fn finish(
    ended: anyhow::Result<Ended>,
    shown: Option<anyhow::Result<bool>>,
    scratch: Scratch,
    progress: &mut Progress,
) -> anyhow::Result<ExitCode> {
    progress.done();
    // After the tour an interrupt is how a demo that was kept running ends.
    match (ended, shown) {
        (Ok(Ended::ByItself | Ended::Interrupted), Some(Ok(true))) => {
            scratch.remove();
            Ok(ExitCode::SUCCESS)
        }
        (Ok(Ended::ByItself | Ended::Interrupted), Some(Ok(false))) => {
            progress.note(&format!("The logs are in {}", scratch.path().display()));
            Ok(ExitCode::from(1))
        }
        (Ok(Ended::Interrupted), None) => {
            scratch.remove();
            Err(anyhow::anyhow!("interrupted before the end of the tour"))
        }
        (Ok(Ended::ByItself), None) => Err(anyhow::anyhow!("the tour ended without a report")),
        (Ok(_), Some(Err(error))) | (Err(error), _) => {
            if scratch.path().join("control.log").exists() {
                progress.note(&format!("The logs so far are in {}", scratch.path().display()));
            }
            Err(error)
        }
    }
}

/// Prints the report; tells whether every step was as expected.
fn print(report: &Report, output: Output) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match output {
        Output::Text => out.write_all(report.table(colour()).as_bytes())?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, report)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    Ok(report.is_ok())
}

fn progress() -> Progress {
    let stderr = io::stderr();
    if stderr.is_terminal() {
        Progress::Terminal(Box::new(stderr))
    } else {
        Progress::Lines(Box::new(stderr))
    }
}

fn colour() -> Colour {
    let wanted = variable("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && io::stdout().is_terminal() { Colour::Ansi } else { Colour::None }
}

/// What the processes inherit: everything but the settings of hopgate, which are in their files. How much they log
/// is as this process was told.
fn environment(log: &LogArgs) -> Vec<(OsString, OsString)> {
    let ours = |name: &OsString| name.to_string_lossy().starts_with("HOPGATE_");
    let filter = ("HOPGATE_LOG".into(), log.filter.clone().into());
    std::env::vars_os().filter(|(name, _)| !ours(name)).chain([filter]).collect()
}

async fn find_envoy(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        let hint = "--envoy and HOPGATE_ENVOY name the binary of Envoy; `make demo` installs one";
        demo::envoy_version(&path).await.context(hint)?;
        return Ok(path);
    }
    let in_path = PathBuf::from("envoy");
    for candidate in [Some(in_path), cached_envoy()].into_iter().flatten() {
        if demo::envoy_version(&candidate).await.is_ok() {
            return Ok(candidate);
        }
    }
    anyhow::bail!(
        "there is no Envoy: neither `envoy` in PATH nor one that make installed\n\
         hint: run `make demo`, which installs one, or name yours with --envoy PATH"
    )
}

fn cached_envoy() -> Option<PathBuf> {
    let cache = variable("HOPGATE_CACHE").map(PathBuf::from).or_else(|| {
        let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
        Some(caches.or_else(|| Some(std::env::home_dir()?.join(".cache")))?.join("hopgate"))
    });
    cache.map(|cache| cache.join(ENVOY_IN_CACHE))
}

#[expect(clippy::disallowed_methods, reason = "the command line may read the environment")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The demo's directory, and whether it goes when all went well.
enum Scratch {
    Named(PathBuf),
    Temporary(PathBuf),
}

impl Scratch {
    fn new(named: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(path) = named {
            return Ok(Self::Named(std::path::absolute(path)?));
        }
        // A name that nobody can guess, so that nobody can have put something there.
        let mut random = [0_u8; 6];
        aws_lc_rs::rand::fill(&mut random).context("no randomness for a directory name")?;
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self::Temporary(std::env::temp_dir().join(format!("hopgate-{random}"))))
    }

    fn path(&self) -> &Path {
        let (Self::Named(path) | Self::Temporary(path)) = self;
        path
    }

    fn remove(self) {
        if let Self::Temporary(path) = self {
            // A directory that stays costs nothing but room.
            drop(std::fs::remove_dir_all(path));
        }
    }
}
