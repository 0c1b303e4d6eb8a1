//! Meshes with a control plane each, and a server that answers whatever a test wants.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use hopgate::control::federation::{FederationHandle, Foreign};
use hopgate::control::{Config, Control};
use hopgate::identity::{SpiffeBundle, TrustBundle, TrustDomain};
use hopgate::runtime::{Address, Clock, Tasks};
use tokio::sync::{oneshot, watch};

pub use crate::support::made::{Authority, Leaf, Server};

pub fn start_of_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

pub fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

/// A directory of one test, removed at its end.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hopgate-fed-{}-{n}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        hopgate::runtime::write_atomic(&path, content.as_bytes(), 0o600).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A running control plane.
pub struct Mesh {
    pub bundle: TrustBundle,
    /// Where sidecars ask.
    pub port: u16,
    pub endpoint: Option<u16>,
    pub federation: FederationHandle,
    pub foreign: watch::Receiver<Arc<Foreign>>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

pub fn config(directory: &Directory, name: &str, federation: &str) -> Config {
    let text = format!(
        "trustDomain: {name}\nlisten: \"127.0.0.1:0\"\ndirectory: {name}-ca\nserverNames: [localhost]\n{federation}"
    );
    let mut config: Config = serde_saphyr::from_str(&text).unwrap();
    config.resolve(&directory.0);
    config.validate().unwrap();
    config
}

impl Mesh {
    pub async fn start(directory: &Directory, name: &str, federation: &str, clock: &Clock) -> Self {
        Self::of(&config(directory, name, federation), clock).await
    }

    pub async fn of(config: &Config, clock: &Clock) -> Self {
        let control = Control::bind(config, clock.clone()).await.unwrap();
        let endpoint = control.bundle_endpoint().map(|address| {
            let Address::Tcp(address) = address else { panic!("TCP") };
            address.port()
        });
        let Address::Tcp(listen) = control.address() else { panic!("TCP") };
        let port = listen.port();
        let federation = control.federation();
        let bundle = control.bundle();
        let mut tasks = Tasks::new();
        control.start(&mut tasks).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            tasks.run(shutdown, Duration::from_secs(2)).await.unwrap();
        });
        let foreign = federation.foreign();
        Self { bundle, port, endpoint, federation, foreign, stop: Some(stop), task }
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }

    /// Waits until the bundle of `name` has these roots.
    pub async fn believes(&mut self, name: &str, bundle: &TrustBundle) {
        let (name, status) = (domain(name), self.federation.clone());
        let has = self.foreign.wait_for(|foreign| {
            foreign.of(&name).and_then(SpiffeBundle::x509).is_some_and(|x509| x509 == bundle)
        });
        let waited = tokio::time::timeout(Duration::from_secs(20), has).await;
        assert!(waited.is_ok(), "{:?}", status.status());
    }

    /// Waits until the only relationship says an error that contains `words`.
    pub async fn error(&self, words: &str) {
        let said = || self.federation.status()[0].last_error.clone().unwrap_or_default();
        for _ in 0..200 {
            if said().contains(words) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no error {words:?}, but {:?}", self.federation.status());
    }

    /// Looks once more and waits until that is done.
    pub async fn look(&self) {
        let looks = || self.federation.status()[0].looks.0;
        let before = looks();
        self.federation.look_now();
        for _ in 0..200 {
            if looks() > before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no look was made: {:?}", self.federation.status());
    }
}

/// `federation:` with one relationship by `https_web` with a server of this machine.
pub fn web(port: u16, directory: &Directory, authority: &Authority, more: &str) -> String {
    let roots = directory.write("web-roots.pem", &authority.pem());
    relationship(port, &format!("profile: https_web, caFile: \"{}\"{more}", roots.display()))
}

pub fn relationship(port: u16, fields: &str) -> String {
    format!(
        "federation:\n  with:\n  - {{ trustDomain: partner.example, url: \"https://localhost:{port}/bundle\", {fields} }}\n"
    )
}

pub fn exists(path: &Path) -> bool {
    path.exists()
}
