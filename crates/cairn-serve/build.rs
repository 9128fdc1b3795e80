//! Generates the messages and services of `proto/`, without protoc.

use std::error::Error;

/// Files of services, which all use `types.proto`.
const FILES: [&str; 6] = [
    "snapshots.proto",
    "diff.proto",
    "content.proto",
    "leases.proto",
    "saved.proto",
    "health.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let types = protox::compile(["types.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(types)?;
    let services = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .extern_path(".containerd.types", "crate::proto::types")
        .compile_fds(services)?;
    Ok(())
}
