//! A real Open Policy Agent, installed by `tests/tools/opa.sh`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The version that is pinned.
const VERSION: &str = "1.22.2";
const START: Duration = Duration::from_secs(60);

/// A server on loopback; it ends with the test.
pub struct Opa {
    /// Its address, without a slash at its end.
    pub base: String,
    process: Child,
}

impl Opa {
    /// Serves these files on this port, or on one that is free.
    pub async fn start(files: &[PathBuf], port: Option<u16>) -> Self {
        let binary = std::env::var_os("HOPGATE_OPA").map_or_else(
            || super::cache().join("bin").join(format!("opa-{VERSION}")),
            PathBuf::from,
        );
        assert!(binary.exists(), "no OPA at {}: run tests/tools/opa.sh", binary.display());
        // A second test finds it installed.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let port = port.unwrap_or_else(free_port);
        let base = format!("http://127.0.0.1:{port}");
        let process = Command::new(&binary)
            .args(["run", "--server", "--log-level", "error", "--skip-version-check"])
            .args(["--addr", &format!("127.0.0.1:{port}")])
            .args(files)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut opa = Self { base, process };
        let end = Instant::now() + START;
        loop {
            let health = reqwest::get(format!("{}/health", opa.base)).await;
            if health.is_ok_and(|answer| answer.status() == 200) {
                return opa;
            }
            if let Ok(Some(status)) = opa.process.try_wait() {
                panic!("OPA ended with {status}");
            }
            assert!(Instant::now() < end, "OPA does not serve");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Opa {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The files of a folder that end in one of these.
pub fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending)))
        .collect();
    files.sort();
    files
}
