//! Which cluster a verb is about, and as whom it looks at it.

use std::path::PathBuf;

use crate::kube::{Cluster, Person, Viewer};
use crate::runtime::Clock;

// No doc comment: clap would take it for the verb's.
#[derive(Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// The kubeconfig file [default: those that KUBECONFIG lists, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in it [default: the current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Where the chart is installed, as a rule.
pub(super) const CONTROL_NAMESPACE: &str = "hopgate-system";

impl ClusterArgs {
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub(super) async fn viewer(&self, clock: &Clock) -> anyhow::Result<Viewer> {
        let Self { kubeconfig, context } = self;
        let person = Person { kubeconfig: kubeconfig.clone(), context: context.clone() };
        Ok(Viewer::new(Cluster::of_person(&person, clock).await?, clock.clone()))
    }
}
