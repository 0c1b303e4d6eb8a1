//! The configuration of the control plane.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::{Deserialize, Deserializer};

use crate::ca::{JwtLifetime, Lifetime, WorkloadNames};
use crate::identity::TrustDomain;
use crate::kube;
use crate::runtime::Address;

use super::attest::{Attest, KubernetesAttest};
use super::authority::AuthorityConfig;
use super::federation::{FederationConfig, InvalidFederation};
use super::limits::Limits;
use super::resources::ResourcesConfig;
use super::webhooks::{InvalidWebhooks, WebhooksConfig};

/// The operator's socket in the directory of the control plane.
const OPERATOR_SOCKET: &str = "operator.sock";

/// The control plane's configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The trust domain of all workloads.
    #[serde(deserialize_with = "trust_domain")]
    pub trust_domain: TrustDomain,
    /// Where sidecars ask for certificates.
    pub listen: Address,
    /// Where the authority, the join tokens and the revocations are kept. Not needed where they are kept in the Kubernetes
    /// API (`authority.secret`).
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// How long a workload's certificate lives.
    #[serde(default = "default_lifetime", deserialize_with = "lifetime")]
    pub leaf_lifetime: Lifetime,
    /// How long a workload's JWT-SVID lives.
    #[serde(default = "default_jwt_lifetime", deserialize_with = "jwt_lifetime")]
    pub jwt_svid_lifetime: JwtLifetime,
    /// DNS names and IP addresses under which sidecars call.
    #[serde(default = "default_names")]
    pub server_names: Vec<String>,
    /// Health and metrics.
    #[serde(default)]
    pub admin: Option<Admin>,
    /// Where the operator's commands are taken; a unix socket. `operator.sock` in `directory` if it is not said.
    #[serde(default)]
    pub operator: Option<Operator>,
    /// An authority that is kept elsewhere, or supplied, instead of one made in `directory`.
    #[serde(default)]
    pub authority: Option<AuthorityConfig>,
    /// How the Kubernetes API server is reached by what needs it.
    #[serde(default)]
    pub kubernetes: kube::Config,
    /// By what workloads prove themselves, beside join tokens and their own certificates.
    #[serde(default)]
    pub attest: Attest,
    /// The resources of the cluster are told to its sidecars. Absent: none is.
    #[serde(default)]
    pub resources: Option<ResourcesConfig>,
    /// DNS names that workloads get in their certificates.
    #[serde(default)]
    pub dns_names: Vec<WorkloadNames>,
    /// How many certificates are signed how often, and for whom.
    #[serde(default)]
    pub limits: Limits,
    /// What the gates of pods are made of.
    #[serde(default)]
    pub injection: Option<kube::inject::Injection>,
    /// Where the API server calls the webhooks.
    #[serde(default)]
    pub webhooks: Option<WebhooksConfig>,
    /// Other trust domains: whom this mesh believes, and where they read its bundle.
    #[serde(default)]
    pub federation: FederationConfig,
}

/// The admin listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Admin {
    /// Where it listens.
    pub listen: Address,
}

/// The operator's door.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Operator {
    /// Where it listens: a unix socket, which tells who is at the other end.
    pub listen: Address,
}

/// A field of the configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// Sidecars verify the server by name.
    #[error("serverNames: at least one is needed")]
    NoServerName,
    /// The operator's door must tell who calls.
    #[error("operator.listen: {0} is no unix socket; write unix:/path/to.sock")]
    Operator(Address),
    /// Nothing says where things are kept.
    #[error(
        "directory is missing; name one, or keep everything in the Kubernetes API by authority.secret"
    )]
    NoDirectory,
    /// Nothing says where the operator's door is.
    #[error(
        "operator.listen is missing; without a directory it must be said, such as unix:/run/hopgate/operator.sock"
    )]
    NoOperator,
    /// Neither DNS name nor IP address.
    #[error("serverNames: {0:?} is neither a DNS name nor an IP address")]
    ServerName(String),
    /// A token for nobody in particular proves nothing to us.
    #[error("attest.kubernetes.audience must not be empty")]
    NoAudience,
    /// A bound of nothing lets nobody in.
    #[error("limits.{0} must be at least 1")]
    Limit(&'static str),
    /// Nobody waits for nothing, or for longer than its caller does.
    #[error("limits.patience must be between 100ms and 60s")]
    Patience,
    /// Webhooks cannot work so.
    #[error(transparent)]
    Webhooks(#[from] InvalidWebhooks),
    /// Injection cannot work so.
    #[error(transparent)]
    Injection(#[from] kube::inject::InvalidInjection),
    /// Pods prove themselves by tokens.
    #[error(
        "injection: attest.kubernetes.audience is needed, pods prove themselves by a token for it"
    )]
    InjectionWithoutTokens,
    /// The namespace of the mesh has no name.
    #[error("resources.rootNamespace: {0:?} is no namespace")]
    RootNamespace(String),
    /// Federation cannot work so.
    #[error(transparent)]
    Federation(#[from] InvalidFederation),
}

impl Config {
    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        let join = |path: &mut PathBuf| *path = base.join(&*path);
        if let Some(directory) = &mut self.directory {
            join(directory);
        }
        if let Address::Unix(path) = &mut self.listen {
            join(path);
        }
        if let Some(Admin { listen: Address::Unix(path) }) = &mut self.admin {
            join(path);
        }
        if let Some(Operator { listen: Address::Unix(path) }) = &mut self.operator {
            join(path);
        }
        if let Some(authority) = &mut self.authority {
            authority.resolve(base);
        }
        self.kubernetes.resolve(base);
        for proof in &mut self.attest.x509 {
            proof.resolve(base);
        }
        if let Some(webhooks) = &mut self.webhooks {
            webhooks.resolve(base);
        }
        self.federation.resolve(base);
    }

    /// Where the operator's commands are taken.
    ///
    /// # Errors
    /// When neither `operator` nor `directory` says so.
    pub fn operator(&self) -> Result<Address, InvalidConfig> {
        match (&self.operator, &self.directory) {
            (Some(Operator { listen }), _) => Ok(listen.clone()),
            (None, Some(directory)) => Ok(Address::Unix(directory.join(OPERATOR_SOCKET))),
            (None, None) => Err(InvalidConfig::NoOperator),
        }
    }

    /// What pods are injected by; nothing where the section `injection` is missing.
    #[must_use]
    pub fn injection_settings(&self) -> Option<kube::inject::Settings> {
        let KubernetesAttest { audience } = self.attest.kubernetes.as_ref()?;
        Some(kube::inject::Settings {
            trust_domain: self.trust_domain.clone(),
            audience: audience.clone(),
            injection: self.injection.clone()?,
        })
    }

    /// Where things are kept on this machine.
    ///
    /// # Errors
    /// When that is not said.
    pub fn directory(&self) -> Result<&Path, InvalidConfig> {
        self.directory.as_deref().ok_or(InvalidConfig::NoDirectory)
    }

    /// Checks what the types cannot hold.
    ///
    /// # Errors
    /// When a field cannot work.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.federation.relationships(&self.trust_domain)?;
        if let Some(endpoint) = &self.federation.endpoint {
            endpoint.checked()?;
        }
        if self.server_names.is_empty() {
            return Err(InvalidConfig::NoServerName);
        }
        self.operator()?;
        if !matches!(
            self.authority,
            Some(AuthorityConfig::Secret(_) | AuthorityConfig::CertManager(..))
        ) {
            self.directory()?;
        }
        if let Some(Operator { listen: other @ Address::Tcp(_) }) = &self.operator {
            return Err(InvalidConfig::Operator(other.clone()));
        }
        if let Some(KubernetesAttest { audience }) = &self.attest.kubernetes
            && audience.is_empty()
        {
            return Err(InvalidConfig::NoAudience);
        }
        if let Some(injection) = &self.injection {
            injection.validate()?;
            if self.attest.kubernetes.is_none() {
                return Err(InvalidConfig::InjectionWithoutTokens);
            }
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks.validate()?;
        }
        if let Some(resources) = &self.resources {
            resources.validate()?;
        }
        self.limits.validate()?;
        match self.server_names.iter().find(|name| ServerName::try_from(name.as_str()).is_err()) {
            Some(bad) => Err(InvalidConfig::ServerName(bad.clone())),
            None => Ok(()),
        }
    }
}

fn trust_domain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TrustDomain, D::Error> {
    let text = String::deserialize(deserializer)?;
    TrustDomain::parse(&text)
        .map_err(|error| serde::de::Error::custom(format!("trust domain {text:?} {error}")))
}

fn lifetime<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lifetime, D::Error> {
    let duration: Duration = humantime_serde::deserialize(deserializer)?;
    Lifetime::new(duration).map_err(serde::de::Error::custom)
}

fn jwt_lifetime<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JwtLifetime, D::Error> {
    let duration: Duration = humantime_serde::deserialize(deserializer)?;
    JwtLifetime::new(duration).map_err(serde::de::Error::custom)
}

fn default_jwt_lifetime() -> JwtLifetime {
    JwtLifetime::DEFAULT
}

fn default_lifetime() -> Lifetime {
    Lifetime::DEFAULT
}

fn default_names() -> Vec<String> {
    vec!["localhost".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &str) -> Result<Config, String> {
        let json = format!(
            r#"{{"trustDomain":"demo.mesh","listen":"127.0.0.1:0","directory":"ca"{extra}}}"#
        );
        serde_json::from_str(&json).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_and_paths() {
        let mut config = parse("").unwrap();
        config.resolve(Path::new("/etc/hopgate"));
        assert_eq!(config.directory().unwrap(), Path::new("/etc/hopgate/ca"));
        assert_eq!(config.leaf_lifetime, Lifetime::DEFAULT);
        assert_eq!(config.jwt_svid_lifetime, JwtLifetime::DEFAULT);
        let operator = config.operator().unwrap().to_string();
        assert_eq!(operator, "unix:/etc/hopgate/ca/operator.sock");
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn what_proves_a_workload_is_configured() {
        let mut config = parse(
            r#","kubernetes":{"kubeconfig":"k"},"attest":{"kubernetes":{"audience":"hopgate"},
            "x509":[{"name":"corp","caFile":"corp.pem","workloads":[
                {"certificate":{"dns":"a.b"},"workload":"ns/a/sa/b"},
                {"certificate":{"subject":{"CN":"a","O":"b"}},"workload":"ns/a/sa/c"}]}]},
            "dnsNames":[{"workload":"ns/a/sa/b","names":["a.b"]}],
            "limits":{"atOnce":2,"perWorkload":{"perMinute":60,"burst":10}}"#,
        )
        .unwrap();
        config.resolve(Path::new("/etc/hopgate"));
        assert_eq!(config.kubernetes.kubeconfig.as_deref(), Some(Path::new("/etc/hopgate/k")));
        assert_eq!(config.attest.x509[0].ca_file, Path::new("/etc/hopgate/corp.pem"));
        assert_eq!(config.validate(), Ok(()));
        for bad in [
            r#","attest":{"kubernetes":{}}"#,
            r#","attest":{"kubernetes":{"audience":"a","issuer":"b"}}"#,
            r#","attest":{"kube":{"audience":"a"}}"#,
            r#","attest":{"x509":[{"name":"a","caFile":"b"}]}"#,
            r#","attest":{"x509":[{"name":"a","caFile":"b","workloads":[
                {"certificate":{"ip":"::1"},"workload":"ns/a/sa/b"}]}]}"#,
            r#","attest":{"x509":[{"name":"a","caFile":"b","workloads":[
                {"certificate":{"subject":{"cn":"a"}},"workload":"ns/a/sa/b"}]}]}"#,
            r#","kubernetes":{"kubeConfig":"k"}"#,
            r#","dnsNames":[{"workload":"ns/a/sa/b"}]"#,
            r#","limits":{"perWorkload":{"perMinute":0,"burst":1}}"#,
            r#","limits":{"most":1}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let invalid = |json: &str| parse(json).unwrap().validate().unwrap_err().to_string();
        let empty = invalid(r#","attest":{"kubernetes":{"audience":""}}"#);
        assert!(empty.contains("attest.kubernetes.audience"), "{empty}");
        for patience in ["0s", "61s"] {
            let error = invalid(&format!(r#","limits":{{"patience":"{patience}"}}"#));
            assert!(error.contains("limits.patience"), "{error}");
        }
        for field in ["atOnce", "waiting", "waitingPerNamespace"] {
            let error = invalid(&format!(r#","limits":{{"{field}":0}}"#));
            assert!(error.contains(&format!("limits.{field}")), "{error}");
        }
    }

    #[test]
    fn no_directory_is_needed_where_nothing_is_kept_in_one() {
        let check = |more: &str| {
            let json = format!(r#"{{"trustDomain":"demo.mesh","listen":"127.0.0.1:0"{more}}}"#);
            serde_json::from_str::<Config>(&json).unwrap().validate()
        };
        let door = r#","operator":{"listen":"unix:/run/o.sock"}"#;
        let secret = r#","authority":{"secret":{"name":"ca"}}"#;
        assert_eq!(check(&format!("{door}{secret}")), Ok(()));
        assert_eq!(check(secret), Err(InvalidConfig::NoOperator));
        assert_eq!(check(door), Err(InvalidConfig::NoDirectory));
        let supplied = r#","authority":{"cacerts":"c"}"#;
        assert_eq!(check(&format!("{door}{supplied}")), Err(InvalidConfig::NoDirectory));
    }

    #[test]
    fn what_cannot_work_is_an_error() {
        for bad in [
            r#","leafLifetime":"59s""#,
            r#","leafLifetime":"25h""#,
            r#","leafLifetimes":"1h""#,
            r#","jwtSvidLifetime":"59s""#,
            r#","jwtSvidLifetime":"61m""#,
            r#","admin":{"listen":"x"}"#,
            r#","authority":{"root":"r"}"#,
            r#","authority":{"root":"r","certificate":"c","key":"k","cacerts":"d"}"#,
            r#","authority":{"cacerts":"d","secret":{"name":"s"}}"#,
            r#","authority":{"secret":{"name":"a/b"}}"#,
            r#","authority":{"secret":{"name":"a","key":"b"}}"#,
            r#","authority":{"certManager":{"issuerRef":{"name":"a"}}}"#,
            r#","authority":{"secret":{"name":"a"},"certManager":{"issuer":{"name":"a"}}}"#,
            r#","authority":{}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(r#","leafLifetime":"24h","admin":{"listen":"127.0.0.1:0"}"#).is_ok());
        let operator = |listen: &str| {
            parse(&format!(r#","operator":{{"listen":"{listen}"}}"#)).unwrap().validate()
        };
        assert!(matches!(operator("127.0.0.1:0"), Err(InvalidConfig::Operator(_))));
        assert_eq!(operator("unix:here.sock"), Ok(()));
        let names = |json: &str| parse(&format!(r#","serverNames":{json}"#)).unwrap().validate();
        assert_eq!(names("[]"), Err(InvalidConfig::NoServerName));
        assert!(matches!(names(r#"["a b"]"#), Err(InvalidConfig::ServerName(_))));
        assert_eq!(names(r#"["control.example","127.0.0.1","::1"]"#), Ok(()));
    }
}
