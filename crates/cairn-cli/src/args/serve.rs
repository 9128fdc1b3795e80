//! Arguments of `serve`.

use std::path::PathBuf;
use std::time::Duration;

use cairn_model::units;
use clap::Args;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Socket to listen at, unless systemd hands one over
    #[arg(long, value_name = "SOCKET", default_value = cairn_serve::ADDRESS)]
    pub address: PathBuf,
    /// Exit when no request came for this long, for example 60s [default: never]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub idle_exit: Option<Duration>,
    /// Socket of containerd, whose content store layers come from and go to
    #[arg(long, value_name = "SOCKET", default_value = cairn_serve::CONTAINERD)]
    pub containerd: PathBuf,
    /// Write figures of the requests to this file, for Prometheus
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
    /// Let members of this group connect too [default: root and the user of the server]
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Directory in which views stay mounted
    #[arg(long, value_name = "DIR", default_value = cairn_serve::STATE)]
    pub state: PathBuf,
}
