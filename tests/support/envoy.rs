//! A real Envoy. A test that needs one fails with the reason when there is none.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// The binary: `HOPGATE_ENVOY`, or where the Makefile installs it.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("HOPGATE_ENVOY") {
        return path.into();
    }
    let path = super::cache().join("envoy-1.40.0/envoy/_bin/envoy");
    assert!(
        path.exists(),
        "no Envoy at {}: install the test tools with make, or set HOPGATE_ENVOY",
        path.display()
    );
    path
}

/// Says what `envoy --mode validate` has against a configuration; empty when nothing.
pub fn complaint(file: &Path) -> String {
    let output = Command::new(binary())
        .args(["--mode", "validate", "--log-level", "warning", "-c"])
        .arg(file)
        .output()
        .expect("Envoy starts");
    if output.status.success() {
        return String::new();
    }
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running Envoy; ended on drop. Its admin page is the unix socket `admin.sock` of its directory.
pub struct Envoy {
    child: Child,
    directory: PathBuf,
}

impl Envoy {
    /// Starts Envoy; it need not be ready when this returns.
    pub fn start(directory: &Path, bootstrap: &Value) -> Self {
        Self::start_with(directory, bootstrap, &[])
    }

    /// The same with more arguments.
    pub fn start_with(directory: &Path, bootstrap: &Value, more: &[&str]) -> Self {
        let file = directory.join("envoy.json");
        std::fs::write(&file, bootstrap.to_string()).unwrap();
        let log = std::fs::File::create(directory.join("envoy.log")).unwrap();
        let child = Command::new(binary())
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "info", "-c"])
            .arg(&file)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Envoy starts");
        Self { child, directory: directory.to_path_buf() }
    }

    /// Stops the process where it is, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("envoy.log")).unwrap_or_default()
    }

    /// One page of the admin interface, or `None` while it does not answer.
    pub async fn admin(&self, path: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.directory.join("admin.sock")).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            return Some(unchunked(body));
        }
        Some(body.to_owned())
    }

    /// Waits until the admin page says `LIVE`: every listener accepts.
    pub async fn live(&self) {
        let live = async || self.admin("/ready").await.is_some_and(|said| said.contains("LIVE"));
        assert!(eventually(live).await, "Envoy is not live:\n{}", self.log());
    }

    /// Where a listener is bound, once the system chose its port.
    pub async fn listener(&self, name: &str) -> std::net::SocketAddr {
        let mut found = None;
        eventually(async || {
            found =
                self.admin("/listeners?format=json").await.and_then(|page| address(&page, name));
            found.is_some()
        })
        .await;
        found.unwrap_or_else(|| panic!("no listener {name}:\n{}", self.log()))
    }

    /// The value of one counter or gauge.
    pub async fn stat(&self, name: &str) -> u64 {
        let page = self.admin("/stats").await.unwrap_or_default();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks again and again until it holds, for at most 20 s.
pub async fn eventually(mut holds: impl AsyncFnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    false
}

fn address(page: &str, name: &str) -> Option<std::net::SocketAddr> {
    let page: Value = serde_json::from_str(page).ok()?;
    let listener = page["listener_statuses"].as_array()?.iter().find(|one| one["name"] == name)?;
    let address = &listener["local_address"]["socket_address"];
    let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
    (port != 0)
        .then_some(std::net::SocketAddr::new(address["address"].as_str()?.parse().ok()?, port))
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
