//! `hopgate policy graph`: who may call whom, as a picture.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::policy::graph::{Graph, workloads};
use crate::policy::{Resource, parse};

/// Draw who may call whom
///
/// Every rule is a line from whom it is for to the workload it guards; a rule that asks for a peer and a user has a line
/// from each. Denies are drawn differently.
#[derive(Debug, clap::Args)]
pub(super) struct GraphArgs {
    /// Files and directories with AccessPolicy resources
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Files and directories with Kubernetes manifests: their workloads are drawn instead of labels and accounts
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    manifests: Vec<PathBuf>,
    /// Only policies and workloads of these namespaces
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// The language of the picture
    // The name `format` is that of the operator's log.
    #[arg(long = "format", value_enum, default_value_t = Format::Mermaid)]
    language: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For Markdown
    Mermaid,
    /// For Graphviz
    Dot,
    /// To look at
    Svg,
}

/// Runs the verb.
///
/// # Errors
/// When a file cannot be read or is no resource.
pub(super) fn run(args: &GraphArgs) -> anyhow::Result<ExitCode> {
    let GraphArgs { paths, manifests, namespaces, language } = args;
    let wanted = |namespace: &String| namespaces.is_empty() || namespaces.contains(namespace);
    let mut policies = Vec::new();
    for (source, text) in crate::sidecar::resource_texts(paths)? {
        for resource in parse(&source, &text)? {
            if let Resource::AccessPolicy(policy) = resource
                && wanted(&policy.metadata.namespace)
            {
                policies.push(policy);
            }
        }
    }
    let mut real = Vec::new();
    for (source, text) in crate::sidecar::resource_texts(manifests)? {
        let found = workloads(&source, &text)?;
        real.extend(found.into_iter().filter(|workload| wanted(&workload.namespace)));
    }
    let graph = Graph::of(&policies, &real);
    let text = match language {
        Format::Mermaid => graph.mermaid(),
        Format::Dot => graph.dot(),
        Format::Svg => graph.svg(),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
