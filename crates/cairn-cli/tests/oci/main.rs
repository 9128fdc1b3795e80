//! `cairn oci`: bundles made by the tests, driven as podman, containerd and people drive a runtime.

#[path = "../common/mod.rs"]
#[macro_use]
mod common;
#[path = "../common/containerd.rs"]
mod daemon;

#[path = "../common/screen.rs"]
mod screen;

mod bundle;
mod containerd;
mod exec;
mod hooks;
mod hostile;
mod inside;
mod lifecycle;
mod podman;
mod terminal;
