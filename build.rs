//! Compiles `proto/` with a pure Rust compiler, so that no `protoc` has to be installed.

use std::path::PathBuf;

const FILES: [&str; 4] = [
    "proto/istio_ca.proto",
    "proto/hopgate_discovery.proto",
    "proto/hopgate_identity.proto",
    "proto/workload.proto",
];

/// The part of Envoy's API that is sent to it, one file for each of Envoy's packages.
const ENVOY: &str = "proto/envoy";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    // Maps in order, so that equal messages are equal bytes.
    tonic_prost_build::configure().btree_map(".").compile_fds(files)?;
    envoy_descriptors()
}

/// Messages for Envoy are written by their descriptors, without generated code.
#[expect(clippy::disallowed_methods, reason = "cargo says by a variable where the output goes")]
fn envoy_descriptors() -> Result<(), Box<dyn std::error::Error>> {
    let mut compiler = protox::Compiler::new([ENVOY])?;
    compiler.include_imports(true).include_source_info(false);
    let mut files = std::fs::read_dir(ENVOY)?
        .map(|file| file.map(|file| file.path()))
        .collect::<Result<Vec<PathBuf>, _>>()?;
    files.sort();
    compiler.open_files(files)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("envoy.bin");
    std::fs::write(out, compiler.encode_file_descriptor_set())?;
    Ok(())
}
