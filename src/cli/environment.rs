//! Variables of the environment that mean nothing: a typing mistake there would pass in silence.

use std::collections::BTreeSet;

use clap::Command;

use crate::policy::did_you_mean;

const PREFIX: &str = "HOPGATE_";
/// Known to the tests and scripts around the binary, or read without a flag.
const OTHERS: [&str; 5] =
    ["HOPGATE_BLESS", "HOPGATE_CACHE", "HOPGATE_ENVOY", "HOPGATE_LONG", "HOPGATE_VECTORS"];

/// A line for each `HOPGATE_*` variable that no flag of `command` reads, with the nearest that exists.
pub(super) fn unknown(
    command: &Command,
    names: impl IntoIterator<Item = String>,
) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = OTHERS.map(str::to_owned).into();
    collect(command, &mut known);
    names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name) && !is_service_link(name))
        .map(|name| {
            let hint = did_you_mean(bare(&name), known.iter().map(|known| bare(known)));
            let hint = hint.map(|hint| hint.replacen('`', &format!("`{PREFIX}"), 1));
            let hint = hint.unwrap_or_else(|| "`--help` of each command names its own".to_owned());
            format!("{} is set and means nothing; {hint}", name.escape_debug())
        })
        .collect()
}

/// Without what all of them begin with, which is no likeness.
fn bare(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn collect(command: &Command, known: &mut BTreeSet<String>) {
    let named = command.get_arguments().filter_map(clap::Arg::get_env);
    known.extend(named.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|command| collect(command, known));
}

/// Kubernetes sets these in every pod beside a Service whose name begins with `hopgate`.
fn is_service_link(name: &str) -> bool {
    let is_port = |text: &str| {
        let mut parts = text.split('_');
        let number = parts
            .next()
            .is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        number && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name.split_once("_PORT_").is_some_and(|(_, port)| is_port(port))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn a_mistyped_variable_is_told_with_the_nearest_one() {
        let command = Command::new("hopgate")
            .arg(Arg::new("log").env("HOPGATE_LOG"))
            .subcommand(Command::new("a").arg(Arg::new("r").env("HOPGATE_SIDECAR_RESOURCES")));
        let told = |name: &str| unknown(&command, [name.to_owned()]).into_iter().next();
        assert_eq!(
            told("HOPGATE_SIDECAR_RESOURCE").unwrap(),
            "HOPGATE_SIDECAR_RESOURCE is set and means nothing; did you mean `HOPGATE_SIDECAR_RESOURCES`?"
        );
        for unlike in ["HOPGATE_COLOUR", "HOPGATE_NODE"] {
            let said = told(unlike).unwrap();
            assert!(said.ends_with("`--help` of each command names its own"), "{said}");
        }
        for known in [
            "HOPGATE_LOG",
            "HOPGATE_SIDECAR_RESOURCES",
            "HOPGATE_ENVOY",
            "PATH",
            "hopgate_log",
            "HOPGATE_CONTROL_SERVICE_HOST",
            "HOPGATE_CONTROL_SERVICE_PORT",
            "HOPGATE_CONTROL_SERVICE_PORT_GRPC",
            "HOPGATE_CONTROL_PORT",
            "HOPGATE_CONTROL_PORT_443_TCP",
            "HOPGATE_CONTROL_PORT_443_TCP_ADDR",
        ] {
            assert_eq!(told(known), None, "{known}");
        }
    }
}
