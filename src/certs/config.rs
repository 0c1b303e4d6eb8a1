//! Where a workload's certificate comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use zeroize::Zeroizing;

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
}

/// A control plane: hopgate's own, or another that speaks Istio's signing contract.
#[derive(Debug, Clone)]
pub struct ControlSource {
    /// `https://host:port`.
    pub server: String,
    /// PEM roots: of the server's certificate and of the answer.
    pub ca_file: PathBuf,
    /// The join token for the first certificate.
    pub join_token: JoinToken,
}

/// Where the join token stands.
#[derive(Clone)]
pub enum JoinToken {
    /// Nowhere: a stored certificate must do.
    None,
    /// In the configuration.
    Inline(Arc<Zeroizing<String>>),
    /// In a file of mode 0600, read at each use.
    File(PathBuf),
}

/// Files that somebody else keeps fresh.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FileSource {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key, mode 0600.
    pub key: PathBuf,
    /// PEM roots.
    pub bundle: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawConfig {
    control: Option<RawControl>,
    files: Option<FileSource>,
    state_directory: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawControl {
    server: String,
    ca_file: PathBuf,
    join_token: Option<String>,
    join_token_file: Option<PathBuf>,
}

impl Config {
    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        let join = |path: &mut PathBuf| *path = base.join(&*path);
        match &mut self.source {
            Source::Control(ControlSource { server: _, ca_file, join_token }) => {
                join(ca_file);
                if let JoinToken::File(path) = join_token {
                    join(path);
                }
            }
            Source::Files(FileSource { certificate, key, bundle }) => {
                join(certificate);
                join(key);
                join(bundle);
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
        let RawConfig { control, files, state_directory } = raw;
        let source = match (control, files) {
            (Some(control), None) => Source::Control(control.try_into()?),
            (None, Some(files)) => Source::Files(files),
            (None, None) => return Err("certificates: one of `control` and `files` is needed"),
            (Some(_), Some(_)) => {
                return Err("certificates: `control` and `files` exclude each other");
            }
        };
        Ok(Self { source, state_directory })
    }
}

impl TryFrom<RawControl> for ControlSource {
    type Error = &'static str;

    fn try_from(raw: RawControl) -> Result<Self, Self::Error> {
        let RawControl { server, ca_file, join_token, join_token_file } = raw;
        let join_token = match (join_token, join_token_file) {
            (None, None) => JoinToken::None,
            (Some(token), None) => JoinToken::Inline(Arc::new(Zeroizing::new(token))),
            (None, Some(path)) => JoinToken::File(path),
            (Some(_), Some(_)) => {
                return Err(
                    "certificates.control: `joinToken` and `joinTokenFile` exclude each other",
                );
            }
        };
        Ok(Self { server, ca_file, join_token })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Inline(_) => f.write_str("Inline(redacted)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
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
        assert!(matches!(control.join_token, JoinToken::File(path) if path == Path::new("/t")));
        assert!(parse(r#"{"files":{"certificate":"a","key":"b","bundle":"c"}}"#).is_ok());
    }

    #[test]
    fn contradictions_and_unknown_fields_are_errors() {
        for bad in [
            "{}",
            r#"{"files":{"certificate":"a","key":"b","bundle":"c"},"control":{"server":"s","caFile":"c"}}"#,
            r#"{"control":{"server":"s","caFile":"c","joinToken":"x","joinTokenFile":"y"}}"#,
            r#"{"control":{"server":"s","caFile":"c","insecure":true}}"#,
            r#"{"files":{"certificate":"a","key":"b"}}"#,
            r#"{"control":{"server":"s"}}"#,
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
