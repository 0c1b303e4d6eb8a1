//! `hopgate envoy`: what a workload's Envoy is to be started with.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::mesh;

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
}

#[derive(Debug, clap::Args)]
struct BootstrapArgs {
    /// The sidecar's configuration file; its section `envoy` says which listeners there are.
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

/// Runs the verb. `load` reads the sidecar's configuration file and says whom the Envoy works for.
///
/// # Errors
/// When the file cannot be loaded, its `envoy` section cannot be turned into a safe configuration, or `out` is closed.
pub(crate) fn run<L>(args: &EnvoyArgs, load: L, out: &mut dyn Write) -> anyhow::Result<()>
where
    L: FnOnce(&Path) -> anyhow::Result<(mesh::Config, mesh::Sidecar)>,
{
    let Verb::Bootstrap(BootstrapArgs { config, output }) = &args.verb;
    let (section, sidecar) = load(config)?;
    let mesh = mesh::Mesh::new(section, sidecar)
        .with_context(|| format!("{} cannot become an Envoy bootstrap", config.display()))?;
    let bootstrap = mesh::bootstrap(&mesh);
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
            Ok((serde_saphyr::from_str(section)?, sidecar))
        };
        let mut out = Vec::new();
        run(&args, load, &mut out)?;
        Ok(String::from_utf8(out)?)
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
