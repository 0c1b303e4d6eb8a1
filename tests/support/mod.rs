//! Parts that several tests share.

pub mod ask;
pub mod directus;
pub mod envoy;
pub mod helm;
pub mod issuer;
pub mod jwt;
pub mod keycloak;
pub mod kube;
pub mod kube_proxy;
pub mod kubelet;
pub mod made;
pub mod mirror;
pub mod nginx;
pub mod node;
pub mod opa;
pub mod pki;
pub mod policies;
pub mod raw;
pub mod served;
pub mod spiffe;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of recorded data that lives beside the project, or `None` (said aloud) where it is not there.
pub fn vectors(name: &str) -> Option<PathBuf> {
    let beside = std::env::var_os("HOPGATE_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"),
        PathBuf::from,
    );
    let folder = beside.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("no recorded data at {}; this test has nothing to compare", folder.display());
    None
}

/// Where the Makefile installs what the tests need.
pub fn cache() -> PathBuf {
    if let Some(cache) = std::env::var_os("HOPGATE_CACHE") {
        return cache.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"),
        PathBuf::from,
    );
    cache.join("hopgate")
}

/// What a variable names, or what a script of `tests/tools` puts into the cache.
pub fn tool(variable: &str, script: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(script);
    let output = std::process::Command::new(&script)
        .env("HOPGATE_CACHE", cache())
        .stderr(std::process::Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{} failed", script.display());
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// An empty directory that goes away at the end of the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hopgate-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &std::path::Path {
        &self.0
    }

    /// Writes a file by renaming it into place, as editors and mounted volumes do.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        hopgate::runtime::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Compares with `tests/golden/<name>`; `HOPGATE_BLESS=1` writes it anew.
pub fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("HOPGATE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Renamed into place: other tests may read it meanwhile.
        hopgate::runtime::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} differs; HOPGATE_BLESS=1 writes it anew");
}
