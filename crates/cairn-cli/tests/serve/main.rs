//! `cairn serve`: the contract over gRPC, containerd on top of it, and whatever a node does to a server.

#[path = "../common/mod.rs"]
#[macro_use]
mod common;
#[path = "../common/containerd.rs"]
mod daemon;
#[path = "../common/registry.rs"]
mod registry;

mod apart;
mod changes;
mod containerd;
mod contract;
mod cri;
mod diff;
mod ids;
mod kills;
mod server;
mod trouble;
