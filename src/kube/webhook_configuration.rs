//! By which authority the API server knows this process's webhooks: `caBundle` in the configurations of webhooks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Api, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Cluster;
use super::namespaces::NotDone;

/// The configurations of this process's webhooks, by their names.
#[derive(Debug, Clone)]
pub struct WebhookConfigurations {
    cluster: Cluster,
    mutating: Vec<String>,
    validating: Vec<String>,
}

/// A kind of configuration that lists webhooks.
trait ListsWebhooks:
    kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug
{
    /// Name and client of each.
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)>;
}

impl WebhookConfigurations {
    /// Those of these names.
    #[must_use]
    pub fn new(cluster: Cluster, mutating: Vec<String>, validating: Vec<String>) -> Self {
        Self { cluster, mutating, validating }
    }

    /// Has the API server trust `roots` (PEM) as the authority of every webhook in them. True if anything was otherwise.
    ///
    /// # Errors
    /// When one of them is not there, or cannot be changed. Others may be changed by then.
    pub async fn trust(&self, roots: &str) -> Result<bool, NotDone> {
        let client = || self.cluster.client();
        let mut changed = false;
        for name in &self.mutating {
            let api: Api<MutatingWebhookConfiguration> = Api::all(client());
            changed |= trust(&api, name, roots).await?;
        }
        for name in &self.validating {
            let api: Api<ValidatingWebhookConfiguration> = Api::all(client());
            changed |= trust(&api, name, roots).await?;
        }
        Ok(changed)
    }
}

async fn trust<K: ListsWebhooks>(api: &Api<K>, name: &str, roots: &str) -> Result<bool, NotDone> {
    let what = || format!("the {} {name}", K::kind(&()));
    let found = api.get(name).await;
    let found = found.map_err(|error| NotDone::new("show", what(), error))?;
    let mut operations = Vec::new();
    for (at, (webhook, client)) in found.webhooks().into_iter().enumerate() {
        if client.ca_bundle.as_ref().is_some_and(|ByteString(bundle)| bundle == roots.as_bytes()) {
            continue;
        }
        let at = format!("/webhooks/{at}");
        // Only in the webhook that was seen there: somebody may have changed the list meanwhile.
        operations.push(json!({ "op": "test", "path": format!("{at}/name"), "value": webhook }));
        let path = format!("{at}/clientConfig/caBundle");
        operations.push(json!({ "op": "add", "path": path, "value": STANDARD.encode(roots) }));
    }
    if operations.is_empty() {
        return Ok(false);
    }
    let patch = serde_json::from_value(json!(operations))
        .map_err(|error| NotDone::new("change", what(), kube::Error::SerdeError(error)))?;
    let done = api.patch(name, &PatchParams::default(), &Patch::Json::<()>(patch)).await;
    done.map_err(|error| NotDone::new("change", what(), error))?;
    Ok(true)
}

impl ListsWebhooks for MutatingWebhookConfiguration {
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)> {
        self.webhooks.iter().flatten().map(|w| (w.name.as_str(), &w.client_config)).collect()
    }
}

impl ListsWebhooks for ValidatingWebhookConfiguration {
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)> {
        self.webhooks.iter().flatten().map(|w| (w.name.as_str(), &w.client_config)).collect()
    }
}
