//! The command line: one file per verb.
//!
//! stdout is data, stderr is talk. Exit codes: 0 yes, 1 no, 2 could not tell (a wrong argument, a file that cannot be
//! used, a process that could not start).

mod admin;
mod ca;
mod capture;
mod cert;
mod check;
mod cluster;
mod completions;
mod control;
mod crds;
mod demo;
mod environment;
mod envoy;
mod explain;
mod followed;
mod inject;
mod moment;
mod operator;
mod policy;
mod revoke;
mod sidecar;
mod status;
mod terminal;
mod token;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// A gate at every hop: who calls, for whom, and whether the policy of this service allows it.
#[derive(Debug, Parser)]
#[command(name = "hopgate", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

/// The operator's log on stderr.
// Under a heading of their own: else they stand between the options of every verb.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct LogArgs {
    /// What to log: error, warn, info, debug or trace, or target=level pairs
    // Global arguments share one space of names with those of every verb: these must not be any verb's.
    #[arg(
        id = "log_filter",
        long = "log",
        env = "HOPGATE_LOG",
        default_value = "info",
        global = true,
        value_name = "FILTER"
    )]
    filter: String,
    /// How log lines look
    #[arg(
        id = "log_format",
        long = "log-format",
        env = "HOPGATE_LOG_FORMAT",
        default_value = "text",
        global = true,
        value_name = "FORMAT"
    )]
    format: crate::telemetry::LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run beside a workload: answer its Envoy's checks, serve and renew its certificate
    Sidecar(sidecar::SidecarArgs),
    /// Run the control plane: it signs certificates, and tells sidecars whom to trust and what decides
    Control(control::ControlArgs),
    /// Print an Envoy's configuration, or have one drain
    Envoy(envoy::EnvoyArgs),
    /// Watch the whole thing work on this machine: three services, a gate at every hop, a tour of requests
    Demo(demo::DemoArgs),
    /// Look at policies before they decide anything
    Policy(policy::PolicyArgs),
    /// Say why a request is admitted or refused, and what would have to change
    Explain(Box<explain::ExplainArgs>),
    /// Look at the certificate authority of a mesh, change its root
    Ca(ca::CaArgs),
    /// Look at certificates, verify them, watch when they end
    Cert(cert::CertArgs),
    /// Look at a token, make one for tests, make an API key
    Token(token::TokenArgs),
    /// Trust a workload no longer, see who is revoked, trust again
    Revoke(revoke::RevokeArgs),
    /// Print the CustomResourceDefinitions of hopgate's kinds, for `kubectl apply -f -`
    Crds(crds::CrdsArgs),
    /// Give the pods of manifests their gates
    Inject(inject::InjectArgs),
    /// Say whether a cluster can have hopgate, and whether what is installed is well
    Check(check::CheckArgs),
    /// Show the workloads of a mesh: who they are, how they stand, what they decide
    Status(status::StatusArgs),
    /// Send the connections of a pod through its gate
    Capture(capture::CaptureArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// Parses the arguments, runs, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    // First: a variable with a mistake in its name is often why an argument is missing.
    warn_of_variables();
    let cli = Cli::parse();
    // One provider of cryptography for the whole process; a second installation cannot happen before this one.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let outcome = match cli.command {
        Command::Sidecar(args) => sidecar::run(args, &cli.log),
        Command::Control(args) => control::run(args, &cli.log),
        Command::Envoy(args) => envoy::run(&args, load_for_envoy, &mut std::io::stdout().lock()),
        Command::Demo(args) => demo::run(args, &cli.log),
        Command::Policy(args) => policy::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Ca(args) => ca::run(&args),
        Command::Cert(args) => cert::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Revoke(args) => revoke::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Inject(args) => inject::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        report(&error);
        ExitCode::from(2)
    })
}

/// What a sidecar's configuration file says of its Envoy.
fn load_for_envoy(path: &std::path::Path) -> anyhow::Result<envoy::Loaded> {
    let config = crate::config::sidecar(path, crate::config::SidecarOverrides::default())?;
    // By its certificate a workload of an alias domain comes to the gate, which then judges it as one of ours.
    let mesh = crate::sidecar::mesh_policy(&config.resources.files)?;
    let sidecar = config.for_envoy(mesh.map(|mesh| mesh.spec.aliases).unwrap_or_default())?;
    let listeners = match (config.envoy, config.capture) {
        (Some(envoy), None) => envoy::Listeners::Written(envoy),
        (None, Some(capture)) => envoy::Listeners::Discovered(capture),
        (None, None) | (Some(_), Some(_)) => anyhow::bail!(
            "{}: has no section envoy, which says which listeners the Envoy has, and no section capture, by which it hears of them from the sidecar",
            path.display()
        ),
    };
    Ok(envoy::Loaded { listeners, sidecar })
}

fn warn_of_variables() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for line in environment::unknown(&Cli::command(), names) {
        // Without stderr there is nobody left to tell.
        drop(writeln!(std::io::stderr(), "warning: {line}"));
    }
}

/// An error with its causes, for a person.
fn report(error: &anyhow::Error) {
    let mut text = format!("error: {error}\n");
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // A transparent wrapper says the same as what it wraps.
        if !said.contains(&cause) {
            text.push_str("  because: ");
            text.push_str(&cause);
            text.push('\n');
        }
        said = cause;
    }
    // Without stderr there is nobody left to tell.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

impl LogArgs {
    fn setup(&self, service: &str, otlp_endpoint: Option<String>) -> crate::telemetry::LogSetup {
        crate::telemetry::LogSetup {
            filter: self.filter.clone(),
            format: self.format,
            otlp_endpoint,
            service_name: service.to_owned(),
        }
    }
}

/// Resolves when the process is told to stop (SIGTERM, or Ctrl-C).
///
/// # Errors
/// When the system does not let signals be received.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// clap gives a global argument to every verb unless the verb has one of that id, and then reads the one as the other.
    #[test]
    fn no_verb_has_an_argument_of_a_global_name() {
        fn look(command: &clap::Command, globals: &[clap::Id], path: &str) {
            for verb in command.get_subcommands() {
                let path = format!("{path} {}", verb.get_name());
                for argument in verb.get_arguments() {
                    assert!(!globals.contains(argument.get_id()), "{path}: {argument}");
                }
                look(verb, globals, &path);
            }
        }
        let cli = Cli::command();
        let globals = cli.get_arguments().filter(|argument| argument.is_global_set());
        let globals: Vec<_> = globals.map(|argument| argument.get_id().clone()).collect();
        assert_eq!(globals, ["log_filter", "log_format"]);
        look(&cli, &globals, "hopgate");
    }
}
