//! `hopgate envoy`: what a workload's Envoy is to be started with.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::mesh;
use crate::sidecar::{Drained, EnvoyDrain};

/// Where it is in a pod.
const DEFAULT_ADMIN: &str = "unix:/run/hopgate/envoy-admin.sock";

/// Look at, or make, the configuration of a workload's Envoy.
#[derive(Debug, clap::Args)]
pub(crate) struct EnvoyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print the bootstrap that Envoy is started with (envoy -c FILE).
    Bootstrap(BootstrapArgs),
    /// Have an Envoy drain, and wait until nothing is under way in it
    ///
    /// It still serves whoever comes, and tells its callers to turn elsewhere. For the `preStop` hook of its pod: told to end,
    /// an Envoy ends at once. Exit code 0: nothing is under way; 1: something still is; 2: there is no Envoy.
    Drain(DrainArgs),
}

#[derive(Debug, clap::Args)]
struct DrainArgs {
    /// Envoy's admin page, unix:/path or IP:PORT
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_ADMIN)]
    admin: mesh::Endpoint,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    within: Duration,
}

#[derive(Debug, clap::Args)]
struct BootstrapArgs {
    /// The sidecar's configuration file; its section `envoy` says which listeners there are, or with a section `capture` Envoy
    /// hears of them from the sidecar.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The form to print.
    #[arg(long, value_enum, default_value_t = Output::Yaml)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Block YAML, for people.
    Yaml,
    /// JSON, for machines. Envoy reads both.
    Json,
}

/// What a sidecar's configuration file says of its Envoy.
pub(crate) struct Loaded {
    /// From where it has its listeners.
    pub(crate) listeners: Listeners,
    /// Whom it works for.
    pub(crate) sidecar: mesh::Sidecar,
}

/// From where an Envoy has its listeners.
pub(crate) enum Listeners {
    /// They stand in its bootstrap.
    Written(mesh::Config),
    /// From its sidecar, while it runs.
    Discovered(mesh::captured::CaptureConfig),
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Runs the verb. `load` reads the sidecar's configuration file.
///
/// # Errors
/// When the file cannot be loaded, its `envoy` section cannot be turned into a safe configuration, or `out` is closed; when
/// there is no Envoy to drain.
pub(crate) fn run<L>(args: &EnvoyArgs, load: L, out: &mut dyn Write) -> anyhow::Result<ExitCode>
where
    L: FnOnce(&Path) -> anyhow::Result<Loaded>,
{
    match &args.verb {
        Verb::Bootstrap(args) => bootstrap(args, load, out).map(|()| ExitCode::SUCCESS),
        Verb::Drain(args) => drain(args),
    }
}

fn drain(DrainArgs { admin, within }: &DrainArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(EnvoyDrain::new(admin.clone(), *within).run()) {
        Drained::Quiet => Ok(ExitCode::SUCCESS),
        Drained::Busy => {
            writeln!(std::io::stderr(), "something is still under way after {within:?}")?;
            Ok(ExitCode::from(1))
        }
        Drained::Gone(reason) => anyhow::bail!("there is no Envoy at {admin}: {reason}"),
    }
}

fn bootstrap<L>(
    BootstrapArgs { config, output }: &BootstrapArgs,
    load: L,
    out: &mut dyn Write,
) -> anyhow::Result<()>
where
    L: FnOnce(&Path) -> anyhow::Result<Loaded>,
{
    let Loaded { listeners, sidecar } = load(config)?;
    let bootstrap = match listeners {
        Listeners::Written(section) => {
            mesh::Mesh::new(section, sidecar).map(|mesh| mesh::bootstrap(&mesh))
        }
        Listeners::Discovered(capture) => mesh::discovering_bootstrap(&sidecar, &capture.admin),
    }
    .with_context(|| format!("{} cannot become an Envoy bootstrap", config.display()))?;
    let text = match output {
        Output::Yaml => mesh::to_yaml(&bootstrap)?,
        Output::Json => serde_json::to_string_pretty(&bootstrap)? + "\n",
    };
    out.write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        envoy: EnvoyArgs,
    }

    const SECTION: &str = "
admin: 127.0.0.1:15000
inbound: [{ name: http, listen: '127.0.0.1:21001', app: '127.0.0.1:31001' }]
";

    fn printed(arguments: &[&str], section: &str) -> anyhow::Result<String> {
        let args = Cli::try_parse_from([&["envoy", "bootstrap"], arguments].concat())?.envoy;
        let load = |path: &Path| {
            anyhow::ensure!(path == Path::new("orders.yaml"), "another file");
            let sidecar = mesh::Sidecar {
                identity: crate::identity::SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/orders")?,
                sds: "unix:/run/sds.sock".parse()?,
                authz: "unix:/run/authz.sock".parse()?,
                tokens: None,
                forwarded: mesh::ForwardedCertificates::Replaced,
                aliases: Vec::new(),
            };
            let listeners = match section.contains("addresses") {
                true => Listeners::Discovered(serde_saphyr::from_str(section)?),
                false => Listeners::Written(serde_saphyr::from_str(section)?),
            };
            Ok(Loaded { listeners, sidecar })
        };
        let mut out = Vec::new();
        run(&args, load, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn an_envoy_is_looked_for_where_it_is_in_a_pod() {
        assert_eq!(DEFAULT_ADMIN, format!("unix:{}", crate::mesh::pod::ENVOY_ADMIN_SOCKET));
    }

    #[test]
    fn both_forms_say_the_same() {
        let yaml = printed(&["--config", "orders.yaml"], SECTION).unwrap();
        let json = printed(&["--config", "orders.yaml", "--output", "json"], SECTION).unwrap();
        assert!(yaml.starts_with("node:\n"), "{yaml}");
        let yaml: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(yaml, json);
    }

    #[test]
    fn an_envoy_of_a_captured_pod_hears_of_its_listeners_from_the_sidecar() {
        let yaml = printed(&["--config", "orders.yaml"], "addresses: [10.0.0.7]").unwrap();
        let bootstrap: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(bootstrap["dynamic_resources"]["ads_config"]["api_type"], "DELTA_GRPC");
        assert_eq!(bootstrap["static_resources"]["listeners"], serde_json::Value::Null);
        let pipe = &bootstrap["admin"]["address"]["pipe"];
        assert_eq!(
            (pipe["path"].as_str(), pipe["mode"].as_u64()),
            (Some("/run/hopgate/envoy-admin.sock"), Some(0o660))
        );
        let open = "{ addresses: [10.0.0.7], admin: '10.0.0.7:1' }";
        let error = printed(&["--config", "orders.yaml"], open).unwrap_err();
        assert!(format!("{error:#}").contains("capture.admin: 10.0.0.7:1"), "{error:#}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        let section = SECTION.replace("app: '127.0.0.1:31001'", "app: '127.0.0.1:21001'");
        let error = printed(&["--config", "orders.yaml"], &section).unwrap_err();
        assert!(
            format!("{error:#}").contains("envoy.inbound[0].app: 127.0.0.1:21001"),
            "{error:#}"
        );
        assert!(printed(&[], SECTION).is_err(), "a file is needed");
    }
}
