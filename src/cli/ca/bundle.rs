//! `hopgate ca bundle`: whom to trust, as a file for somebody else.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::cert::trusted;
use crate::config;
use crate::control::published_bundle;
use crate::identity::{SpiffeBundle, TrustDomain};
use crate::runtime::Address;

const PATIENCE: Duration = Duration::from_secs(5);

/// Print the trust bundle, as PEM or as a SPIFFE bundle
///
/// From the directory of a control plane, which need not run, or from a running sidecar. What is printed is public: it lets others verify the mesh's workloads, and nobody be one.
#[derive(Debug, clap::Args)]
pub(super) struct BundleArgs {
    /// The control plane's configuration file (YAML)
    #[arg(long, value_name = "FILE", required_unless_present = "admin")]
    config: Option<PathBuf>,
    /// The admin address of a running sidecar: 127.0.0.1:15020 or unix:/path
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    admin: Option<Address>,
    /// The bundle of this trust domain, own or federated [default: the own one]
    #[arg(long, value_name = "NAME", requires = "admin", value_parser = trust_domain)]
    trust_domain: Option<TrustDomain>,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Format::Pem)]
    format: Format,
}

/// The form of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The roots as PEM certificates
    Pem,
    /// The SPIFFE bundle document: roots and keys of JWT-SVIDs
    Spiffe,
}

fn trust_domain(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::parse(text).map_err(|error| error.to_string())
}

/// Runs the verb.
///
/// # Errors
/// When the bundle cannot be had.
pub(super) fn run(args: &BundleArgs) -> anyhow::Result<ExitCode> {
    let bundle = match (&args.config, &args.admin) {
        (Some(path), _) => {
            let config = config::control(path)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(published_bundle(&config))?
        }
        (None, Some(admin)) => of_sidecar(admin, args.trust_domain.as_ref())?,
        (None, None) => anyhow::bail!("--config or --admin is needed"),
    };
    let text = match args.format {
        Format::Spiffe => bundle.to_json(),
        Format::Pem => bundle.x509().context("the bundle holds no X.509 authority")?.to_pem(),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn of_sidecar(admin: &Address, wanted: Option<&TrustDomain>) -> anyhow::Result<SpiffeBundle> {
    let trusted = trusted(admin, PATIENCE)?;
    let own = || trusted.own.as_ref().context("the sidecar has no certificate now");
    let wanted = wanted.map_or_else(own, Ok)?;
    let found = trusted.bundles.iter().find(|(roots, _)| roots.domain() == wanted);
    let (roots, jwt) = found.with_context(|| {
        let known: Vec<&str> =
            trusted.bundles.iter().map(|(roots, _)| roots.domain().as_str()).collect();
        format!("the sidecar has no bundle of {wanted}, only of {}", known.join(", "))
    })?;
    Ok(SpiffeBundle::new(roots.clone(), jwt)?)
}
