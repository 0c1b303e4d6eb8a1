//! `hopgate inject`: gives the pods of a manifest their gates, by the same function as the webhook of a cluster.

mod document;
mod workload;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::config;
use crate::kube::inject::{Namespace, ProbeKey, Settings};
use crate::runtime::{random, read_limited};
use document::Document;
use workload::{Fate, Told};

/// No file is larger.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Give the pods of manifests their gates
///
/// What the webhook of a cluster does to pods, done to manifests: of Deployments, StatefulSets, DaemonSets, ReplicaSets,
/// ReplicationControllers, Jobs, CronJobs, PodTemplates, Pods, and Lists of them. Whatever is labelled
/// hopgate.dev/inject: disabled, has its gate already, or is something else, stays as it is written, byte for byte. The
/// manifests stand on stdout, and on stderr what was done and why. Exit code 0: done; 1: done, but a pod that should have
/// a gate can have none; 2: nothing done.
#[derive(Debug, clap::Args)]
pub(crate) struct InjectArgs {
    /// Manifests, YAML or JSON, of any number of documents; - for stdin
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// The control plane's configuration file; its section `injection` says what a gate is made of
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// 32 hexadecimal digits that stand in the paths of probes, for the same output each time; random if not given
    #[arg(long, value_name = "HEX", value_parser = probe_key)]
    probe_key: Option<ProbeKey>,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Yaml)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// The manifests
    Yaml,
    /// An object with the resources and what was done to each
    Json,
}

fn probe_key(text: &str) -> Result<ProbeKey, String> {
    ProbeKey::try_from(text.to_owned()).map_err(|error| error.to_string())
}

/// Runs the verb.
///
/// # Errors
/// When a manifest, or what a pod asks for, is not understood. Nothing is printed then.
pub(crate) fn run(args: &InjectArgs) -> anyhow::Result<ExitCode> {
    let InjectArgs { filename, config, probe_key, output } = args;
    let settings = injection(config)?;
    let mut job = Job { settings, key: probe_key.clone(), told: Vec::new() };
    let mut texts = Vec::new();
    let mut resources = Vec::new();
    for file in filename {
        let (source, text) = read(file)?;
        for document in Document::split(&source, &text) {
            let (text, value) = job.document(&document)?;
            texts.push(text);
            resources.extend(value);
        }
    }
    let text = match output {
        Output::Yaml => document::joined(&texts),
        Output::Json => {
            let told: Vec<Value> = job.told.iter().map(Told::json).collect();
            format!("{:#}\n", json!({ "resources": resources, "workloads": told }))
        }
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    let mut talk = std::io::stderr().lock();
    for told in &job.told {
        write!(talk, "{told}")?;
    }
    let unguarded = job.told.iter().any(|told| told.fate.is_unguarded());
    Ok(if unguarded { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn injection(path: &Path) -> anyhow::Result<Settings> {
    let config = config::control(path)?;
    config.injection_settings().with_context(|| {
        format!("{} has no section injection; say there what a gate is made of", path.display())
    })
}

/// Everything that happens to the manifests of one call.
struct Job {
    settings: Settings,
    key: Option<ProbeKey>,
    told: Vec<Told>,
}

impl Job {
    /// The text of a document afterwards, and what it holds.
    fn document(&mut self, document: &Document<'_>) -> anyhow::Result<(String, Option<Value>)> {
        let Some(mut value) = document.read()? else {
            return Ok((document.text().to_owned(), None));
        };
        let before = self.told.len();
        workload::visit(&mut value, &mut |named, template| {
            let key = self.key()?;
            let asking = Namespace::asking(&self.settings.injection.revision);
            let fate = Fate::of(template, (&asking, &self.settings), &key)
                .with_context(|| format!("{document}: {named}"))?;
            self.told.push(Told { named, fate });
            Ok(())
        })
        .with_context(|| format!("{document}"))?;
        let told = self.told.get(before..).unwrap_or_default();
        let changed = told.iter().any(|told| matches!(told.fate, Fate::Injected(_)));
        let text = if changed { document.rewritten(&value)? } else { document.text().to_owned() };
        Ok((text, Some(value)))
    }

    fn key(&self) -> anyhow::Result<ProbeKey> {
        match &self.key {
            Some(key) => Ok(key.clone()),
            None => Ok(ProbeKey::from(random().context("the system gives no random numbers")?)),
        }
    }
}

fn read(file: &Path) -> anyhow::Result<(String, String)> {
    if file.as_os_str() != "-" {
        return Ok((file.display().to_string(), read_limited(file, MAX_FILE)?));
    }
    let mut text = String::new();
    let limit = MAX_FILE + 1;
    std::io::stdin().lock().take(limit).read_to_string(&mut text).context("cannot read stdin")?;
    anyhow::ensure!(u64::try_from(text.len())? < limit, "stdin is longer than {MAX_FILE} bytes");
    Ok(("stdin".to_owned(), text))
}
