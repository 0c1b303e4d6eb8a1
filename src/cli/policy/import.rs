//! `hopgate policy import`: policies of other systems, translated.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Output;
use crate::policy::import::{Note, Options, System, import};
use crate::runtime::read_limited;

/// No file is larger.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Translate policies of another system
///
/// The resources stand on stdout, and on stderr everything that does not carry over as it was. A translated allow never
/// admits what the original refused. Exit code 0: everything carries over, 1: translated, with the differences on stderr,
/// 2: nothing translated.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The system that the policies come from
    #[arg(value_enum)]
    system: From,
    /// Files with its resources, as kubectl prints them; - for stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The trust domain of the mesh; cluster.local in a policy stands for it too
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    trust_domain: String,
    /// The namespace whose policies hold in the whole mesh
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    root_namespace: String,
    /// A namespace into which policies of the root namespace are copied
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// The systems, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum From {
    /// AuthorizationPolicy, RequestAuthentication, PeerAuthentication
    Istio,
    /// Server, HTTPRoute, AuthorizationPolicy and its authentications, ServerAuthorization
    Linkerd,
    /// AuthConfig
    Authorino,
}

/// Runs the verb.
///
/// # Errors
/// When a file is not understood as a whole, or a deny has no translation.
pub(super) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let ImportArgs { system, files, trust_domain, root_namespace, namespaces, output } = args;
    let system = match system {
        From::Istio => System::Istio,
        From::Linkerd => System::Linkerd,
        From::Authorino => System::Authorino,
    };
    let options = Options {
        trust_domain: trust_domain.clone(),
        root_namespace: root_namespace.clone(),
        namespaces: namespaces.clone(),
    };
    let texts: Vec<(String, String)> =
        files.iter().map(|file| read(file)).collect::<anyhow::Result<_>>()?;
    let translation = import(system, &texts, &options)?;
    let text = match output {
        Output::Text => translation.yaml()?,
        Output::Json => {
            let notes: Vec<Value> = translation.notes().iter().map(Note::json).collect();
            let all = json!({ "resources": translation.resources(), "notes": notes });
            format!("{all:#}\n")
        }
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    let mut talk = std::io::stderr().lock();
    for note in translation.notes() {
        writeln!(talk, "{note}")?;
    }
    Ok(if translation.notes().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn read(file: &Path) -> anyhow::Result<(String, String)> {
    if file.as_os_str() != "-" {
        let text = read_limited(file, MAX_FILE)?;
        return Ok((file.display().to_string(), text));
    }
    let mut text = String::new();
    let limit = MAX_FILE + 1;
    std::io::stdin().lock().take(limit).read_to_string(&mut text).context("cannot read stdin")?;
    anyhow::ensure!(u64::try_from(text.len())? < limit, "stdin is longer than {MAX_FILE} bytes");
    Ok(("stdin".to_owned(), text))
}
