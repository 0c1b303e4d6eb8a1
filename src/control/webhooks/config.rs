//! The section `webhooks` of the control plane's configuration.

use std::path::Path;

use rustls::pki_types::ServerName;
use serde::Deserialize;

use crate::runtime::Address;

/// Where webhooks are served, and for which configurations.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WebhooksConfig {
    /// Where the API server calls.
    pub listen: Address,
    /// DNS names and addresses under which it calls, such as `hopgate-control.hopgate-system.svc`.
    pub server_names: Vec<String>,
    /// The configurations that say so, which this process tells its authority.
    #[serde(default)]
    pub configurations: WebhookNames,
}

/// Configurations of webhooks, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WebhookNames {
    /// Each a MutatingWebhookConfiguration.
    #[serde(default)]
    pub mutating: Vec<String>,
    /// Each a ValidatingWebhookConfiguration.
    #[serde(default)]
    pub validating: Vec<String>,
}

/// Webhooks that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhooks {
    /// The API server calls by HTTPS.
    #[error("webhooks.listen: {0} is no IP address with a port; the API server calls it")]
    Listen(Address),
    /// The API server verifies a name.
    #[error(
        "webhooks.serverNames: at least one is needed, such as hopgate-control.hopgate-system.svc"
    )]
    NoServerName,
    /// Neither DNS name nor IP address.
    #[error("webhooks.serverNames: {0:?} is neither a DNS name nor an IP address")]
    ServerName(String),
}

impl WebhooksConfig {
    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        if let Address::Unix(path) = &mut self.listen {
            *path = base.join(&*path);
        }
    }

    /// Checks what the types cannot hold.
    ///
    /// # Errors
    /// When a field cannot work.
    pub fn validate(&self) -> Result<(), InvalidWebhooks> {
        if let Address::Unix(_) = self.listen {
            return Err(InvalidWebhooks::Listen(self.listen.clone()));
        }
        if self.server_names.is_empty() {
            return Err(InvalidWebhooks::NoServerName);
        }
        match self.server_names.iter().find(|name| ServerName::try_from(name.as_str()).is_err()) {
            Some(bad) => Err(InvalidWebhooks::ServerName(bad.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_could_not_call_is_an_error() {
        let good = r#"{"listen":"127.0.0.1:0","serverNames":["a.b.svc","127.0.0.1"],"configurations":{"mutating":["a"]}}"#;
        let read = |text: &str| {
            let config: Result<WebhooksConfig, _> = serde_json::from_str(text);
            config.map_err(|e| e.to_string()).and_then(|c| c.validate().map_err(|e| e.to_string()))
        };
        assert_eq!(read(good), Ok(()));
        for (from, to) in [
            ("127.0.0.1:0", "unix:a"),
            (r#"["a.b.svc","127.0.0.1"]"#, "[]"),
            ("a.b.svc", "a b"),
            ("mutating", "mutate"),
            ("serverNames", "names"),
        ] {
            assert!(read(&good.replace(from, to)).is_err(), "{to}");
        }
    }
}
