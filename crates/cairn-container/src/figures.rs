//! What running containers use, measured again and again.

use std::path::PathBuf;
use std::time::Instant;

use cairn_repo::Repo;
use cairn_runtime::{Figures, LaunchSpec, Network, State, figures};
use serde::Serialize;

use crate::error::{Error, Result};

/// A container whose use is measured.
#[derive(Debug)]
pub struct Measured {
    id: String,
    name: String,
    directory: PathBuf,
    spec: LaunchSpec,
    last: Option<(Instant, Figures)>,
}

/// What a container uses at a moment; null where this host does not count it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Id of the container.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Processor time since the last measurement; 100 is one processor.
    pub cpu_percent: Option<f64>,
    /// Processor time since its start, milliseconds.
    pub cpu_ms: Option<u64>,
    /// Memory, without cached files that can go at once.
    pub memory_bytes: Option<u64>,
    /// Its limit.
    pub memory_limit_bytes: Option<u64>,
    /// Memory of its limit, or else of the host's memory.
    pub memory_percent: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Their limit.
    pub pids_limit: Option<u64>,
    /// Received; of a network of its own.
    pub network_received_bytes: Option<u64>,
    /// Sent.
    pub network_sent_bytes: Option<u64>,
    /// Read from disks.
    pub block_read_bytes: Option<u64>,
    /// Written to disks.
    pub block_written_bytes: Option<u64>,
}

impl Measured {
    /// Finds a container that runs. Needs the repository no longer than this.
    pub fn find(repo: &Repo, name: &str) -> Result<Self> {
        let container = repo.containers().find(name)?;
        let directory = repo.containers().dir(&container.id);
        if !State::load(&directory).is_running() {
            return Err(Error::Refused(format!("container {name} is not running")));
        }
        Ok(Self {
            id: container.id.hex(),
            name: container.name,
            spec: LaunchSpec::load(&directory)?,
            directory,
            last: None,
        })
    }

    /// Measures; none once it has ended. The first time there is no share of processor time yet.
    pub fn measure(&mut self) -> Option<Usage> {
        let pid = State::load(&self.directory).live_pid()?;
        let own_network = self.spec.network != Network::Host;
        let (now, new) = (Instant::now(), figures(&self.spec.group, pid, own_network));
        let cpu_percent = self.last.as_ref().and_then(|(then, old)| {
            let wall_us = now.duration_since(*then).as_micros() as f64;
            let used = new.cpu_us?.saturating_sub(old.cpu_us?) as f64;
            (wall_us > 0.0).then_some(used / wall_us * 100.0)
        });
        let of = new.memory_limit_bytes.or_else(host_memory_bytes);
        let share = |bytes: u64| of.map(|all| bytes as f64 / all.max(1) as f64 * 100.0);
        let usage = Usage {
            id: self.id.clone(),
            name: self.name.clone(),
            cpu_percent,
            cpu_ms: new.cpu_us.map(|us| us / 1000),
            memory_bytes: new.memory_bytes,
            memory_limit_bytes: new.memory_limit_bytes,
            memory_percent: new.memory_bytes.and_then(share),
            pids: new.pids,
            pids_limit: new.pids_limit,
            network_received_bytes: new.network_received_bytes,
            network_sent_bytes: new.network_sent_bytes,
            block_read_bytes: new.block_read_bytes,
            block_written_bytes: new.block_written_bytes,
        };
        self.last = Some((now, new));
        Some(usage)
    }
}

/// Memory of the host (proc_meminfo(5)).
fn host_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes << 10)
}
