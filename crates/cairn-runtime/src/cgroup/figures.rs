//! What a container uses now, as its control groups tell (Documentation/admin-guide/cgroup-v2.rst and
//! cgroup-v1/).

use std::fs;

use super::{Hierarchy, hierarchies};
use crate::limits::PIDS_MAX;

/// What a container used so far, or has now. What this host does not count is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Processor time, in microseconds.
    pub cpu_us: Option<u64>,
    /// Memory, without cached files that can go at once; bytes.
    pub memory_bytes: Option<u64>,
    /// Its limit, if it has one.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Their limit, if there is one.
    pub pids_limit: Option<u64>,
    /// Bytes read from disks.
    pub block_read_bytes: Option<u64>,
    /// Bytes written to disks.
    pub block_written_bytes: Option<u64>,
    /// Bytes received by its network interfaces but loopback.
    pub network_received_bytes: Option<u64>,
    /// Bytes sent by them.
    pub network_sent_bytes: Option<u64>,
}

/// More than any memory: version 1 has no word for "unlimited" but a number like this.
const UNLIMITED_BYTES: u64 = 1 << 62;

struct Group<'a> {
    hierarchies: &'a [Hierarchy],
    name: &'a str,
}

impl Group<'_> {
    /// The file of version 2 or 1 that is there; the first word is the one of version 2.
    fn text(&self, v2: &str, v1: &str) -> Option<(bool, String)> {
        self.hierarchies.iter().find_map(|hierarchy| {
            let file = if hierarchy.unified { v2 } else { v1 };
            let path = hierarchy.root.join(self.name).join(file);
            Some((hierarchy.unified, fs::read_to_string(path).ok()?))
        })
    }

    fn number(&self, v2: &str, v1: &str) -> Option<u64> {
        self.text(v2, v1)?.1.trim().parse().ok()
    }
}

/// The value of a line `NAME VALUE`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line?.trim().parse().ok()
}

/// What the container of these groups uses, whose process 1 is `pid`. `own_network` says that its network is
/// not the host's.
pub fn figures(group: &str, pid: i32, own_network: bool) -> Figures {
    let mut figures = of_groups(hierarchies(), group);
    let devices = own_network
        .then(|| fs::read_to_string(format!("/proc/{pid}/net/dev")).ok())
        .flatten();
    if let Some((received, sent)) = devices.as_deref().map(of_network) {
        figures.network_received_bytes = Some(received);
        figures.network_sent_bytes = Some(sent);
    }
    figures
}

fn of_groups(hierarchies: &[Hierarchy], name: &str) -> Figures {
    let group = Group { hierarchies, name };
    let cpu_us = match group.text("cpu.stat", "cpuacct.usage") {
        Some((true, text)) => field(&text, "usage_usec"),
        Some((false, text)) => text.trim().parse::<u64>().ok().map(|ns| ns / 1000),
        None => None,
    };
    let memory = group.number("memory.current", "memory.usage_in_bytes");
    let cached = match group.text("memory.stat", "memory.stat") {
        Some((true, text)) => field(&text, "inactive_file"),
        Some((false, text)) => field(&text, "total_inactive_file"),
        None => None,
    };
    let limit = group.number("memory.max", "memory.limit_in_bytes");
    let (read, written) = of_disks(&group).map_or((None, None), |(r, w)| (Some(r), Some(w)));
    Figures {
        cpu_us,
        memory_bytes: memory.map(|bytes| bytes.saturating_sub(cached.unwrap_or(0))),
        memory_limit_bytes: limit.filter(|bytes| *bytes < UNLIMITED_BYTES),
        pids: group.number("pids.current", "pids.current"),
        pids_limit: group
            .number("pids.max", "pids.max")
            .filter(|n| *n < PIDS_MAX),
        block_read_bytes: read,
        block_written_bytes: written,
        network_received_bytes: None,
        network_sent_bytes: None,
    }
}

/// Bytes read and written, all devices together.
fn of_disks(group: &Group<'_>) -> Option<(u64, u64)> {
    let (unified, text) = group
        .text("io.stat", "blkio.throttle.io_service_bytes_recursive")
        .or_else(|| group.text("io.stat", "blkio.throttle.io_service_bytes"))?;
    let sum = |numbers: &mut dyn Iterator<Item = u64>| numbers.fold(0, u64::saturating_add);
    if unified {
        let all = |name: &str| {
            let words = text.split_whitespace();
            sum(&mut words.filter_map(|word| word.strip_prefix(name)?.parse().ok()))
        };
        return Some((all("rbytes="), all("wbytes=")));
    }
    let all = |name: &str| {
        let of_line = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
        };
        sum(&mut text.lines().filter_map(of_line))
    };
    Some((all("Read"), all("Write")))
}

/// Bytes received and sent by all interfaces but loopback (proc_pid_net(5)).
fn of_network(text: &str) -> (u64, u64) {
    let (mut received, mut sent) = (0_u64, 0_u64);
    for line in text.lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let number = |i: usize| numbers.split_whitespace().nth(i)?.parse::<u64>().ok();
        received = received.saturating_add(number(0).unwrap_or(0));
        sent = sent.saturating_add(number(8).unwrap_or(0));
    }
    (received, sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(unified: bool, files: &[(&str, &str)]) -> (tempfile::TempDir, Figures) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("g")).unwrap();
        for (file, text) in files {
            fs::write(root.path().join("g").join(file), text).unwrap();
        }
        let hierarchies = [Hierarchy {
            root: root.path().to_owned(),
            unified,
        }];
        let figures = of_groups(&hierarchies, "g");
        (root, figures)
    }

    #[test]
    fn both_versions_tell_the_same() {
        let v2 = [
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
            ("memory.current", "5000\n"),
            ("memory.stat", "anon 1\ninactive_file 1000\n"),
            ("memory.max", "max\n"),
            ("pids.current", "3\n"),
            ("pids.max", "4096\n"),
            (
                "io.stat",
                "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n",
            ),
        ];
        let v1 = [
            ("cpuacct.usage", "1500000\n"),
            ("memory.usage_in_bytes", "5000\n"),
            ("memory.stat", "inactive_file 7\ntotal_inactive_file 1000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("pids.current", "3\n"),
            ("pids.max", "4096\n"),
            (
                "blkio.throttle.io_service_bytes",
                "8:0 Read 11\n8:0 Write 22\n8:0 Total 33\nTotal 33\n",
            ),
        ];
        let expected = Figures {
            cpu_us: Some(1500),
            memory_bytes: Some(4000),
            pids: Some(3),
            pids_limit: Some(4096),
            block_read_bytes: Some(11),
            block_written_bytes: Some(22),
            ..Figures::default()
        };
        assert_eq!(fake(true, &v2).1, expected);
        assert_eq!(fake(false, &v1).1, expected);
        assert_eq!(fake(true, &[]).1, Figures::default());
        assert_eq!(
            fake(true, &[("memory.current", "no number")]).1,
            Figures::default()
        );
    }

    #[test]
    fn loopback_is_no_traffic() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 5 1 0 0 0 0 0 0 5 1\n  eth0: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n";
        assert_eq!(of_network(text), (100, 200));
    }
}
