//! Compiles `proto/` with a pure Rust compiler, so that no `protoc` has to be installed.

const FILES: [&str; 4] = [
    "proto/istio_ca.proto",
    "proto/hopgate_discovery.proto",
    "proto/hopgate_identity.proto",
    "proto/workload.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    // Maps in order, so that equal messages are equal bytes.
    tonic_prost_build::configure().btree_map(".").compile_fds(files)?;
    Ok(())
}
