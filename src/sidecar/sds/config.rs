//! The section `sds` of a sidecar's configuration.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::policy::yaml::present;
use crate::runtime::Address;
use crate::sidecar::config::{InvalidConfig, invalid};
use crate::sidecar::in_use::InUseConfig;

/// The secret discovery server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sds {
    /// A unix socket: private keys travel here.
    pub listen: Address,
    /// PEM revocation lists of the own trust domain's authorities, checked by Envoy. The file is followed.
    #[serde(default, deserialize_with = "present")]
    pub crl: Option<PathBuf>,
    /// Where it is looked whether Envoy uses the certificate. Default: the admin page of `envoy`, if that is there.
    #[serde(default, deserialize_with = "present")]
    pub in_use: Option<InUseConfig>,
}

impl Sds {
    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        if let Address::Unix(path) = &mut self.listen {
            *path = base.join(&*path);
        }
        if let Some(crl) = &mut self.crl {
            *crl = base.join(&*crl);
        }
        if let Some(places) = &mut self.in_use {
            places.resolve(base);
        }
    }

    pub(in crate::sidecar) fn validate(&self) -> Result<(), InvalidConfig> {
        if let Address::Tcp(_) = self.listen {
            return Err(invalid(
                "sds.listen",
                "must be a unix socket (unix:/path): private keys travel there",
            ));
        }
        if self.in_use.as_ref().is_some_and(InUseConfig::is_empty) {
            return Err(invalid("sds.inUse", "give `admin`, or at least one of `listeners`"));
        }
        Ok(())
    }

    pub(in crate::sidecar) fn to_json(&self) -> Value {
        json!({ "listen": self.listen, "crl": self.crl })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Sds, String> {
        let sds: Sds = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        sds.validate().map_err(|error| error.to_string()).map(|()| sds)
    }

    #[test]
    fn paths_are_resolved_and_what_cannot_work_is_an_error() {
        let mut sds = read(
            "{ listen: \"unix:sds.sock\", crl: crl.pem, inUse: { admin: \"unix:admin.sock\" } }",
        )
        .unwrap();
        sds.resolve(Path::new("/etc/hopgate"));
        assert_eq!(sds.crl.as_deref(), Some(Path::new("/etc/hopgate/crl.pem")));
        let admin = crate::mesh::Endpoint::Unix("/etc/hopgate/admin.sock".into());
        assert_eq!(sds.in_use.unwrap().admin, Some(admin));
        assert!(read("{ listen: \"unix:s\", inUse: { listeners: [\"127.0.0.1:8443\"] } }").is_ok());
        for (bad, words) in [
            ("{ listen: \"127.0.0.1:1\" }", "private keys"),
            ("{ listen: \"unix:s\", inUse: {} }", "at least one"),
            ("{ listen: \"unix:s\", inUse: }", ""),
            ("{ listen: \"unix:s\", inUse: { admin: here } }", "here"),
            ("{ listen: \"unix:s\", inUse: { pages: [] } }", "pages"),
            ("{ listen: \"unix:s\", crl: }", ""),
        ] {
            let refused = read(bad).unwrap_err();
            assert!(refused.contains(words), "{bad}: {refused}");
        }
    }
}
