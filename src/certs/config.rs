//! Where a workload's certificate comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::runtime::{Address, Readers};

/// The section `certificates` of a sidecar's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    /// Who gives the certificate.
    pub source: Source,
    /// Where it is kept over restarts. Should be on a memory-backed volume. Files need none.
    pub state_directory: Option<PathBuf>,
}

/// Who gives the certificate.
#[derive(Debug, Clone)]
pub enum Source {
    /// A control plane, asked over TLS.
    Control(ControlSource),
    /// Somebody else, who writes files.
    Files(FileSource),
    /// A Workload API: that of a SPIRE agent, or of another hopgate.
    WorkloadApi(WorkloadApiSource),
}

/// A SPIFFE Workload API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkloadApiSource {
    /// Its unix socket: private keys travel here.
    pub socket: Address,
}

/// A control plane: hopgate's own, or another that speaks Istio's signing contract.
#[derive(Debug, Clone)]
pub struct ControlSource {
    /// `https://host:port`.
    pub server: String,
    /// PEM roots: of the server's certificate and of the answer. Read again at each use.
    pub ca_file: PathBuf,
    /// By what this workload proves itself.
    pub token: Token,
}

/// By what a workload proves itself, where it is not by its certificate.
#[derive(Clone)]
pub enum Token {
    /// By nothing: a stored certificate must do.
    None,
    /// A join token in the configuration, for the first certificate.
    Join(Arc<Zeroizing<String>>),
    /// A join token in a file of mode 0600, read at each use.
    JoinFile(PathBuf),
    /// The projected token of a Kubernetes service account, for every certificate. It is read again at each use,
    /// because the kubelet replaces it; the kubelet also chooses its mode.
    ServiceAccountFile(PathBuf),
}

/// Files that somebody else keeps fresh.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawFiles")]
pub struct FileSource {
    /// PEM chain, leaf first. Roots in it are left out.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// PEM roots.
    pub bundle: PathBuf,
    /// Who may read the key.
    pub key_readers: Readers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawFiles {
    directory: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    bundle: Option<PathBuf>,
    #[serde(default)]
    key_readers: Readers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawConfig {
    control: Option<RawControl>,
    files: Option<FileSource>,
    workload_api: Option<WorkloadApiSource>,
    state_directory: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawControl {
    server: String,
    ca_file: PathBuf,
    join_token: Option<String>,
    join_token_file: Option<PathBuf>,
    service_account_token_file: Option<PathBuf>,
}

impl Config {
    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        let join = |path: &mut PathBuf| *path = base.join(&*path);
        match &mut self.source {
            Source::Control(ControlSource { server: _, ca_file, token }) => {
                join(ca_file);
                if let Token::JoinFile(path) | Token::ServiceAccountFile(path) = token {
                    join(path);
                }
            }
            Source::Files(FileSource { certificate, key, bundle, key_readers: _ }) => {
                join(certificate);
                join(key);
                join(bundle);
            }
            Source::WorkloadApi(WorkloadApiSource { socket }) => {
                if let Address::Unix(path) = socket {
                    join(path);
                }
            }
        }
        if let Some(directory) = &mut self.state_directory {
            join(directory);
        }
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = &'static str;

    fn try_from(raw: RawConfig) -> Result<Self, Self::Error> {
        let RawConfig { control, files, workload_api, state_directory } = raw;
        let source = match (control, files, workload_api) {
            (Some(control), None, None) => Source::Control(control.try_into()?),
            (None, Some(files), None) => Source::Files(files),
            (None, None, Some(api)) => {
                Source::WorkloadApi(workload_api_source(api, state_directory.as_deref())?)
            }
            (None, None, None) => {
                return Err("certificates: one of `control`, `files` and `workloadApi` is needed");
            }
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                return Err(
                    "certificates: `control`, `files` and `workloadApi` exclude each other",
                );
            }
        };
        Ok(Self { source, state_directory })
    }
}

fn workload_api_source(
    source: WorkloadApiSource,
    state: Option<&Path>,
) -> Result<WorkloadApiSource, &'static str> {
    if let Address::Tcp(_) = source.socket {
        return Err("certificates.workloadApi.socket: must be a unix socket (unix:/path)");
    }
    if state.is_some() {
        return Err("certificates: `stateDirectory` is not for `workloadApi`: \
                    whoever serves the API keeps the certificate");
    }
    Ok(source)
}

impl TryFrom<RawControl> for ControlSource {
    type Error = &'static str;

    fn try_from(raw: RawControl) -> Result<Self, Self::Error> {
        let RawControl { server, ca_file, join_token, join_token_file, service_account_token_file } =
            raw;
        let token = match (join_token, join_token_file, service_account_token_file) {
            (None, None, None) => Token::None,
            (Some(token), None, None) => Token::Join(Arc::new(Zeroizing::new(token))),
            (None, Some(path), None) => Token::JoinFile(path),
            (None, None, Some(path)) => Token::ServiceAccountFile(path),
            (Some(_), _, _) | (None, Some(_), Some(_)) => {
                return Err(
                    "certificates.control: `joinToken`, `joinTokenFile` and `serviceAccountTokenFile` exclude each \
                     other",
                );
            }
        };
        Ok(Self { server, ca_file, token })
    }
}

impl TryFrom<RawFiles> for FileSource {
    type Error = &'static str;

    fn try_from(raw: RawFiles) -> Result<Self, Self::Error> {
        let RawFiles { directory, certificate, key, bundle, key_readers } = raw;
        match (directory, certificate, key, bundle) {
            // As cert-manager and its CSI drivers name them.
            (Some(directory), None, None, None) => Ok(Self {
                certificate: directory.join("tls.crt"),
                key: directory.join("tls.key"),
                bundle: directory.join("ca.crt"),
                key_readers,
            }),
            (None, Some(certificate), Some(key), Some(bundle)) => {
                Ok(Self { certificate, key, bundle, key_readers })
            }
            (Some(_), _, _, _) | (None, _, _, _) => Err(
                "certificates.files: write `directory` alone (for tls.crt, tls.key and ca.crt), or all of \
                 `certificate`, `key` and `bundle`",
            ),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Join(_) => f.write_str("Join(redacted)"),
            Self::JoinFile(path) => f.debug_tuple("JoinFile").field(path).finish(),
            Self::ServiceAccountFile(path) => {
                f.debug_tuple("ServiceAccountFile").field(path).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Config, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn both_sources_are_read_and_paths_resolved() {
        let mut config = parse(
            r#"{"control":{"server":"https://localhost:1","caFile":"root.pem","joinTokenFile":"/t"},"stateDirectory":"state"}"#,
        )
        .unwrap();
        config.resolve(Path::new("/etc/hopgate"));
        assert_eq!(config.state_directory.as_deref(), Some(Path::new("/etc/hopgate/state")));
        let Source::Control(control) = config.source else { panic!("control") };
        assert_eq!(control.ca_file, Path::new("/etc/hopgate/root.pem"));
        assert!(matches!(control.token, Token::JoinFile(path) if path == Path::new("/t")));
        assert!(parse(r#"{"files":{"certificate":"a","key":"b","bundle":"c"}}"#).is_ok());
        let mut config = parse(r#"{"files":{"directory":"spiffe","keyReaders":"Group"}}"#).unwrap();
        config.resolve(Path::new("/var/run"));
        let Source::Files(files) = config.source else { panic!("files") };
        assert_eq!(files.key, Path::new("/var/run/spiffe/tls.key"));
        assert_eq!(files.key_readers, Readers::Group);
        let mut config = parse(r#"{"workloadApi":{"socket":"unix:agent.sock"}}"#).unwrap();
        config.resolve(Path::new("/run"));
        let Source::WorkloadApi(source) = config.source else { panic!("a Workload API") };
        assert_eq!(source.socket, Address::Unix("/run/agent.sock".into()));
    }

    #[test]
    fn contradictions_and_unknown_fields_are_errors() {
        for bad in [
            "{}",
            r#"{"files":{"certificate":"a","key":"b","bundle":"c"},"control":{"server":"s","caFile":"c"}}"#,
            r#"{"control":{"server":"s","caFile":"c","joinToken":"x","joinTokenFile":"y"}}"#,
            r#"{"control":{"server":"s","caFile":"c","joinToken":"x","serviceAccountTokenFile":"y"}}"#,
            r#"{"control":{"server":"s","caFile":"c","joinTokenFile":"x","serviceAccountTokenFile":"y"}}"#,
            r#"{"files":{"directory":"a","key":"b"}}"#,
            r#"{"files":{"directory":"a","keyReaders":"Everybody"}}"#,
            r#"{"files":{}}"#,
            r#"{"control":{"server":"s","caFile":"c","insecure":true}}"#,
            r#"{"files":{"certificate":"a","key":"b"}}"#,
            r#"{"control":{"server":"s"}}"#,
            r#"{"workloadApi":{"socket":"127.0.0.1:1"}}"#,
            r#"{"workloadApi":{"socket":"unix:a"},"stateDirectory":"s"}"#,
            r#"{"workloadApi":{"socket":"unix:a"},"files":{"certificate":"a","key":"b","bundle":"c"}}"#,
            r#"{"workloadApi":{"socket":"unix:a","trustDomain":"x"}}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_inline_token_is_not_shown() {
        let config =
            parse(r#"{"control":{"server":"s","caFile":"c","joinToken":"very-secret"}}"#).unwrap();
        assert!(!format!("{config:?}").contains("very-secret"));
    }
}
