//! `hopgate control`: the control plane, and `hopgate control token`: a join token for one workload.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use super::{LogArgs, followed};
use crate::admin::Admin;
use crate::config;
use crate::control::{Config, Control, create_join_token};
use crate::runtime::{Clock, FileWatch, Tasks};
use crate::telemetry::Telemetry;

const DRAIN: Duration = Duration::from_secs(10);

/// Run the control plane: the certificate authority of the mesh.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct ControlArgs {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Only check the configuration: exit 0 if it is good, 2 if not.
    #[arg(long)]
    validate: bool,
    #[command(subcommand)]
    command: Option<ControlCommand>,
}

/// What else the control plane's binary can do.
#[derive(Debug, Subcommand)]
pub(crate) enum ControlCommand {
    /// Make a join token, with which one workload gets its first certificate, once.
    Token(TokenArgs),
}

/// For whom, and for how long.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The control plane's configuration file (YAML). It need not run.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The workload, written ns/NAMESPACE/sa/ACCOUNT.
    #[arg(long, value_name = "NAME")]
    workload: String,
    /// How long the token can be used.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    ttl: Duration,
    /// The form of what stands on stdout.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The token alone.
    Text,
    /// An object with token, workload and expiry.
    Json,
}

/// Runs the verb.
///
/// # Errors
/// When the configuration cannot be read, or the control plane cannot start or fails.
pub(crate) fn run(args: ControlArgs, log: &LogArgs) -> anyhow::Result<ExitCode> {
    match args {
        ControlArgs { command: Some(ControlCommand::Token(args)), config: _, validate: _ } => {
            token(&args)
        }
        ControlArgs { command: None, config, validate } => {
            let path = config.context("--config FILE is needed")?;
            let config = config::control(&path)?;
            if validate {
                writeln!(std::io::stdout(), "good: the authority of {}", config.trust_domain)?;
                return Ok(ExitCode::SUCCESS);
            }
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve(&config, path, log))
        }
    }
}

fn token(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let TokenArgs { config, workload, ttl, output } = args;
    let config = config::control(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let made = create_join_token(&config, workload, *ttl, Clock::system().now());
    let token = runtime.block_on(made)?;
    let expires = time::OffsetDateTime::from(token.expires())
        .replace_nanosecond(0)?
        .format(&time::format_description::well_known::Rfc3339)?;
    let mut stdout = std::io::stdout().lock();
    match output {
        Output::Text => writeln!(stdout, "{}", token.expose())?,
        Output::Json => {
            let object = serde_json::json!({
                "token": token.expose(),
                "workload": workload,
                "trustDomain": config.trust_domain.as_str(),
                "expires": expires,
            });
            writeln!(stdout, "{object}")?;
        }
    }
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "join token for {workload}, good for one use until {expires}")?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: &Config, path: PathBuf, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let telemetry = Telemetry::install(&log.setup("hopgate-control", None))?;
    let stop = super::stop_signal().context("cannot receive signals")?;
    // Watched before anything is made of it, so that no change falls between.
    let watch = FileWatch::new(std::slice::from_ref(&path))?;
    let control = Control::bind(config, Clock::system()).await?;
    let mut tasks = Tasks::new();
    let federation = control.federation();
    let followed = followed::federation(
        (path, watch),
        config.trust_domain.clone(),
        federation.clone(),
        tasks.drain(),
    );
    tasks.spawn("configuration", followed);
    if let Some(admin) = &config.admin {
        let listener = admin.listen.bind().await?;
        let (fleet, dump, metrics) = (control.fleet_page(), control.dump(), control.metrics());
        federation.register(&metrics);
        let page = move || {
            let mut page = dump.clone();
            if let Some(page) = page.as_object_mut() {
                page.insert("discovery".to_owned(), fleet.to_json());
            }
            federation.show_in(page)
        };
        let pages = Admin::new(control.ready(), metrics, page);
        tasks.spawn("admin", pages.serve(listener, tasks.drain()));
    }
    tracing::info!(address = %control.address(), trust_domain = %config.trust_domain, "serving");
    control.start(&mut tasks)?;
    let ended = tasks.run(stop, DRAIN).await;
    tokio::task::spawn_blocking(|| telemetry.flush()).await?;
    ended?;
    Ok(ExitCode::SUCCESS)
}

fn duration(text: &str) -> Result<Duration, String> {
    use serde::de::IntoDeserializer as _;
    let deserializer: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        text.into_deserializer();
    humantime_serde::deserialize(deserializer).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: ControlArgs,
    }

    fn parse(line: &str) -> Result<ControlArgs, String> {
        let words = std::iter::once("control").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.args).map_err(|error| error.to_string())
    }

    fn directory() -> PathBuf {
        let path = std::env::temp_dir().join(format!("hopgate-cli-control-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn log() -> LogArgs {
        LogArgs { filter: "info".to_owned(), format: crate::telemetry::LogFormat::Text }
    }

    #[test]
    fn the_verb_and_its_subcommand_are_read() {
        assert!(parse("--config c.yaml").is_ok());
        assert!(parse("--config c.yaml --validate").is_ok());
        let args = parse("token --config c.yaml --workload ns/a/sa/b --ttl 5m").unwrap();
        let Some(ControlCommand::Token(token)) = args.command else { panic!("token") };
        assert_eq!((token.ttl, token.output), (Duration::from_secs(300), Output::Text));
        for bad in
            ["", "--validate", "token --config c", "token --workload w", "--config c --ttl 1m"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("token --config c --workload w --ttl soon").is_err());
    }

    #[test]
    fn a_token_is_made_and_a_bad_file_is_named_with_its_line() {
        let directory = directory();
        let file = directory.join("control.yaml");
        let good = "trustDomain: demo.mesh\nlisten: 127.0.0.1:0\ndirectory: ca\n";
        std::fs::write(&file, good).unwrap();
        let line = format!("token --config {} --workload ns/a/sa/b --output json", file.display());
        assert!(run(parse(&line).unwrap(), &log()).is_ok());
        assert!(directory.join("ca/join-tokens").is_dir(), "beside the configuration file");
        let line = line.replace("ns/a/sa/b", "ns/hopgate-system/sa/hopgate-control");
        assert!(run(parse(&line).unwrap(), &log()).is_err());

        let validate = format!("--config {} --validate", file.display());
        assert!(run(parse(&validate).unwrap(), &log()).is_ok());
        std::fs::write(&file, format!("{good}serverName: x\n")).unwrap();
        let error = format!("{:#}", run(parse(&validate).unwrap(), &log()).unwrap_err());
        assert!(error.contains("control.yaml") && error.contains("serverName"), "{error}");
        assert!(error.contains("control.yaml:4:"), "{error}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
