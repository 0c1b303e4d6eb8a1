//! `hopgate crds`: what teaches a Kubernetes API server the kinds of resources.

use std::io::Write as _;
use std::process::ExitCode;

use crate::kube::crd::DEFINITIONS;
use crate::policy::did_you_mean;

/// Print the CustomResourceDefinitions of hopgate's kinds, for `kubectl apply -f -`
#[derive(Debug, clap::Args)]
pub(crate) struct CrdsArgs {
    /// Only this kind [default: all]
    #[arg(value_name = "KIND")]
    kind: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// When there is no such kind.
pub(crate) fn run(args: &CrdsArgs) -> anyhow::Result<ExitCode> {
    let asked =
        |kind: &str| args.kind.as_ref().is_none_or(|asked| asked.eq_ignore_ascii_case(kind));
    let mut documents = Vec::new();
    for definition in DEFINITIONS.iter().filter(|definition| asked(definition.kind)) {
        documents.push(definition.to_yaml()?);
    }
    if let (Some(kind), true) = (&args.kind, documents.is_empty()) {
        let kinds = DEFINITIONS.map(|definition| definition.kind);
        let hint = did_you_mean(kind, kinds).unwrap_or_default();
        anyhow::bail!("there is no kind {kind}, only {} {hint}", kinds.join(", "));
    }
    write!(std::io::stdout().lock(), "{}", documents.join("---\n"))?;
    Ok(ExitCode::SUCCESS)
}
