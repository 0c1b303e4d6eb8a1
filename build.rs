//! Compiles `proto/` with a pure Rust compiler, so that no `protoc` has to be installed.

const FILES: [&str; 2] = ["proto/istio_ca.proto", "proto/hopgate_discovery.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
