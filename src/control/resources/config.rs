//! The section `resources` of the control plane's configuration.

use serde::Deserialize;

use crate::control::config::InvalidConfig;

/// The resources of the cluster are told to its sidecars.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ResourcesConfig {
    /// The namespace whose resources are for the whole mesh; whoever may write there rules over all workloads.
    #[serde(default = "root_namespace")]
    pub root_namespace: String,
}

fn root_namespace() -> String {
    "hopgate-system".to_owned()
}

impl ResourcesConfig {
    pub(in crate::control) fn validate(&self) -> Result<(), InvalidConfig> {
        let name = &self.root_namespace;
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let edges = !name.starts_with('-') && !name.ends_with('-');
        if (1..=63).contains(&name.len()) && name.bytes().all(allowed) && edges {
            return Ok(());
        }
        Err(InvalidConfig::RootNamespace(name.clone()))
    }
}
