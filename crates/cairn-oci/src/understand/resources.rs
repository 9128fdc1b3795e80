//! Limits of control groups, as files of version 1 and version 2 take them, and devices.

use cairn_runtime::{DeviceKind, DeviceRule, GroupFile, GroupSetting, Limits, Pids};

use super::{LIST_MAX, invalid};
use crate::document::{BlockIo, Cpu, DeviceAccess, Memory, Network, Resources, Throttle};
use crate::error::{Error, Result};

const PERIOD_USUAL: u64 = 100_000;
const TEXT_BYTES_MAX: usize = 4096;

/// Collects settings, each with the files that take it.
struct Settings(Vec<GroupSetting>);

impl Settings {
    fn put(&mut self, name: &str, required: bool, files: Vec<(bool, &str, String)>) {
        let file = |(unified, name, value): (bool, &str, String)| GroupFile {
            unified,
            name: name.to_owned(),
            value,
        };
        self.0.push(GroupSetting {
            name: format!("linux.resources.{name}"),
            required,
            files: files.into_iter().map(file).collect(),
        });
    }

    /// A value that is the same in both versions.
    fn both(&mut self, name: &str, v1: &str, v2: &str, value: impl ToString) {
        let value = value.to_string();
        self.put(
            name,
            true,
            vec![(false, v1, value.clone()), (true, v2, value)],
        );
    }

    fn v1(&mut self, name: &str, file: &str, value: impl ToString) {
        self.put(name, true, vec![(false, file, value.to_string())]);
    }
}

/// Understands them.
pub fn limits(resources: &Resources) -> Result<Limits> {
    let mut all = Settings(Vec::new());
    memory(&resources.memory, &mut all)?;
    cpu(&resources.cpu, &mut all)?;
    if let Some(most) = resources.pids.limit.filter(|most| *most != 0) {
        let text = if most < 0 {
            "max".to_owned()
        } else {
            most.to_string()
        };
        all.both("pids.limit", "pids.max", "pids.max", text);
    }
    block_io(&resources.block_io, &mut all)?;
    for pages in &resources.hugepage_limits {
        let size = &pages.page_size;
        if !size.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return invalid(format!(
                "linux.resources.hugepageLimits: {size:?} is not a size"
            ));
        }
        let (v1, v2) = (
            format!("hugetlb.{size}.limit_in_bytes"),
            format!("hugetlb.{size}.max"),
        );
        // A limit of none is kept where there are none, too.
        let required = pages.limit != 0;
        let value = pages.limit.to_string();
        let files = vec![
            (false, v1.as_str(), value.clone()),
            (true, v2.as_str(), value),
        ];
        all.put("hugepageLimits", required, files);
    }
    network(&resources.network, &mut all)?;
    for (device, rdma) in &resources.rdma {
        let mut text = word("rdma", device)?.to_owned();
        for (key, value) in [
            ("hca_handle", rdma.hca_handles),
            ("hca_object", rdma.hca_objects),
        ] {
            if let Some(value) = value {
                text.push_str(&format!(" {key}={value}"));
            }
        }
        all.both("rdma", "rdma.max", "rdma.max", text);
    }
    for (file, value) in &resources.unified {
        let plain = !file.is_empty() && file.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        // Those of the groups themselves move and kill processes.
        let own = !file.starts_with("cgroup.") || file.starts_with("cgroup.max.");
        if !plain || !own || !file.contains('.') || value.len() > TEXT_BYTES_MAX {
            return invalid(format!("linux.resources.unified: {file:?} cannot be set"));
        }
        all.put(
            &format!("unified: {file}"),
            true,
            vec![(true, file.as_str(), value.clone())],
        );
    }
    Ok(Limits {
        pids: Pids::Unlimited,
        more: all.0,
        ..Limits::default()
    })
}

fn bytes(what: &str, bytes: i64) -> Result<(String, String)> {
    match bytes {
        -1 => Ok(("-1".into(), "max".into())),
        0.. => Ok((bytes.to_string(), bytes.to_string())),
        _ => invalid(format!(
            "linux.resources.{what}: {bytes} is not a number of bytes, or -1"
        )),
    }
}

fn memory(memory: &Memory, all: &mut Settings) -> Result<()> {
    // 0 is what is left out, for every runtime.
    let given = |bytes: Option<i64>| bytes.filter(|bytes| *bytes != 0);
    if let Some(limit) = given(memory.limit) {
        let (v1, v2) = bytes("memory.limit", limit)?;
        let files = vec![
            (false, "memory.limit_in_bytes", v1),
            (true, "memory.max", v2),
        ];
        all.put("memory.limit", true, files);
    }
    if let Some(both) = given(memory.swap) {
        let (v1, _) = bytes("memory.swap", both)?;
        // Version 2 counts swap alone.
        let v2 = match (both, given(memory.limit)) {
            (-1, _) => "max".to_owned(),
            (both, Some(limit)) if (0..=both).contains(&limit) => (both - limit).to_string(),
            _ => return invalid("linux.resources.memory.swap must not be below memory.limit"),
        };
        let files = vec![
            (false, "memory.memsw.limit_in_bytes", v1),
            (true, "memory.swap.max", v2),
        ];
        // Many kernels do not count swap; there is none to limit then, or it cannot be.
        all.put("memory.swap", false, files);
    }
    if let Some(reservation) = given(memory.reservation) {
        let (v1, v2) = bytes("memory.reservation", reservation)?;
        let files = vec![
            (false, "memory.soft_limit_in_bytes", v1),
            (true, "memory.low", v2),
        ];
        all.put("memory.reservation", true, files);
    }
    if let Some(limit) = given(memory.kernel_tcp) {
        let (v1, _) = bytes("memory.kernelTCP", limit)?;
        all.v1("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", v1);
    }
    if let Some(swappiness) = memory.swappiness {
        if swappiness > 100 {
            return invalid(format!(
                "linux.resources.memory.swappiness: {swappiness} is over 100"
            ));
        }
        let files = vec![(false, "memory.swappiness", swappiness.to_string())];
        all.put("memory.swappiness", false, files);
    }
    if memory.disable_oom_killer == Some(true) {
        all.v1("memory.disableOOMKiller", "memory.oom_control", 1);
    }
    Ok(())
}

fn cpu(cpu: &Cpu, all: &mut Settings) -> Result<()> {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        // 2 to 262144 becomes 1 to 10000 (the conversion that all runtimes use).
        let within = shares.clamp(2, 262_144);
        let weight = 1 + ((within - 2) * 9999) / 262_142;
        let files = vec![
            (false, "cpu.shares", shares.to_string()),
            (true, "cpu.weight", weight.to_string()),
        ];
        all.put("cpu.shares", true, files);
    }
    let (quota, period) = (
        cpu.quota.filter(|q| *q != 0),
        cpu.period.filter(|p| *p != 0),
    );
    if quota.is_some() || period.is_some() {
        let time = quota
            .filter(|q| *q > 0)
            .map_or("max".into(), |q| q.to_string());
        let v2 = format!("{time} {}", period.unwrap_or(PERIOD_USUAL));
        if let Some(period) = period {
            let files = vec![
                (false, "cpu.cfs_period_us", period.to_string()),
                (true, "cpu.max", v2.clone()),
            ];
            all.put("cpu.period", true, files);
        }
        if let Some(quota) = quota {
            let v1 = quota.max(-1).to_string();
            let files = vec![(false, "cpu.cfs_quota_us", v1), (true, "cpu.max", v2)];
            all.put("cpu.quota", true, files);
        }
    }
    if let Some(burst) = cpu.burst {
        all.both("cpu.burst", "cpu.cfs_burst_us", "cpu.max.burst", burst);
    }
    if let Some(period) = cpu.realtime_period.filter(|p| *p != 0) {
        all.v1("cpu.realtimePeriod", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|r| *r != 0) {
        all.v1("cpu.realtimeRuntime", "cpu.rt_runtime_us", runtime);
    }
    for (name, list, file) in [
        ("cpus", &cpu.cpus, "cpuset.cpus"),
        ("mems", &cpu.mems, "cpuset.mems"),
    ] {
        if !list.is_empty() {
            let known = |b: u8| b.is_ascii_digit() || b == b'-' || b == b',';
            if !list.bytes().all(known) || list.len() > TEXT_BYTES_MAX {
                return invalid(format!(
                    "linux.resources.cpu.{name}: {list:?} is not a list as 0-3,6"
                ));
            }
            all.both(&format!("cpu.{name}"), file, file, list);
        }
    }
    if let Some(idle) = cpu.idle {
        all.both("cpu.idle", "cpu.idle", "cpu.idle", idle);
    }
    Ok(())
}

fn block_io(io: &BlockIo, all: &mut Settings) -> Result<()> {
    let weight = |weight: u16| match weight {
        10..=1000 => Ok(u64::from(weight)),
        _ => invalid(format!(
            "linux.resources.blockIO: weight {weight} is not in 10 to 1000"
        )),
    };
    if let Some(wanted) = io.weight.filter(|w| *w != 0) {
        let wanted = weight(wanted)?;
        let text = wanted.to_string();
        // 10 to 1000 becomes 1 to 10000.
        let wide = 1 + ((wanted - 10) * 9999) / 990;
        let files = vec![
            (false, "blkio.weight", text.clone()),
            (false, "blkio.bfq.weight", text.clone()),
            (true, "io.bfq.weight", text),
            (true, "io.weight", wide.to_string()),
        ];
        all.put("blockIO.weight", true, files);
    }
    for device in &io.weight_device {
        if let Some(wanted) = device.weight {
            let text = format!("{}:{} {}", device.major, device.minor, weight(wanted)?);
            let files = vec![
                (false, "blkio.weight_device", text.clone()),
                (false, "blkio.bfq.weight_device", text.clone()),
                (true, "io.bfq.weight", text),
            ];
            all.put("blockIO.weightDevice", true, files);
        }
    }
    let rates: [(&str, &[Throttle], &str, &str); 4] = [
        (
            "throttleReadBpsDevice",
            &io.throttle_read_bps_device,
            "read_bps",
            "rbps",
        ),
        (
            "throttleWriteBpsDevice",
            &io.throttle_write_bps_device,
            "write_bps",
            "wbps",
        ),
        (
            "throttleReadIOPSDevice",
            &io.throttle_read_iops_device,
            "read_iops",
            "riops",
        ),
        (
            "throttleWriteIOPSDevice",
            &io.throttle_write_iops_device,
            "write_iops",
            "wiops",
        ),
    ];
    for (name, throttles, v1, v2) in rates {
        for throttle in throttles {
            let device = format!("{}:{}", throttle.major, throttle.minor);
            let file = format!("blkio.throttle.{v1}_device");
            let files = vec![
                (false, file.as_str(), format!("{device} {}", throttle.rate)),
                (true, "io.max", format!("{device} {v2}={}", throttle.rate)),
            ];
            all.put(&format!("blockIO.{name}"), true, files);
        }
    }
    Ok(())
}

/// A word in a line that a file takes.
fn word<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    let plain = !text.is_empty() && text.len() < 256 && text.bytes().all(|b| b.is_ascii_graphic());
    match plain {
        true => Ok(text),
        false => invalid(format!("linux.resources.{what}: {text:?} is not a name")),
    }
}

fn network(network: &Network, all: &mut Settings) -> Result<()> {
    if let Some(class) = network.class_id.filter(|class| *class != 0) {
        all.v1("network.classID", "net_cls.classid", class);
    }
    for priority in &network.priorities {
        let line = format!(
            "{} {}",
            word("network.priorities", &priority.name)?,
            priority.priority
        );
        all.v1("network.priorities", "net_prio.ifpriomap", line);
    }
    Ok(())
}

/// The rules of a document, one after the other, as a list of what is allowed; `None` where all is. What every
/// container may use comes first.
pub fn rules(accesses: &[DeviceAccess]) -> Result<Option<Vec<DeviceRule>>> {
    if accesses.len() > LIST_MAX {
        return invalid(format!(
            "linux.resources.devices: more than {LIST_MAX} rules"
        ));
    }
    let mut allowed = Some(Vec::new());
    for access in accesses {
        let rule = rule(access)?;
        let is_all = rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none();
        match (is_all, access.allow, &mut allowed) {
            (true, true, _) if rule.read && rule.write && rule.make => allowed = None,
            (true, false, _) if rule.read && rule.write && rule.make => allowed = Some(Vec::new()),
            (_, true, None) => {}
            (_, true, Some(list)) => list.push(rule),
            (_, false, Some(list)) => deny(list, &rule)?,
            (_, false, None) => {
                return invalid(
                    "linux.resources.devices: a device cannot be denied where all are allowed; deny all, and allow those that are needed",
                );
            }
        }
    }
    Ok(allowed.map(|list| DeviceRule::usual().into_iter().chain(list).collect()))
}

/// Takes access away from what was allowed so far.
fn deny(list: &mut Vec<DeviceRule>, denied: &DeviceRule) -> Result<()> {
    fn within<T: PartialEq>(narrow: Option<T>, wide: Option<T>) -> bool {
        wide.is_none() || narrow == wide
    }
    fn apart<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
        a.is_some() && b.is_some() && a != b
    }
    for rule in list.iter_mut() {
        if apart(rule.kind, denied.kind)
            || apart(rule.major, denied.major)
            || apart(rule.minor, denied.minor)
        {
            continue;
        }
        if !(within(rule.kind, denied.kind)
            && within(rule.major, denied.major)
            && within(rule.minor, denied.minor))
        {
            return invalid(
                "linux.resources.devices: a part of what an earlier rule allows cannot be denied; allow less instead",
            );
        }
        rule.read &= !denied.read;
        rule.write &= !denied.write;
        rule.make &= !denied.make;
    }
    list.retain(|rule| rule.read || rule.write || rule.make);
    Ok(())
}

fn rule(access: &DeviceAccess) -> Result<DeviceRule> {
    let number = |n: Option<i64>| match n {
        None | Some(-1) => Ok(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) if n < 1 << 20 => Ok(Some(n)),
            _ => invalid(format!(
                "linux.resources.devices: there is no device number {n}"
            )),
        },
    };
    let kind = match access.kind.as_str() {
        "" | "a" => None,
        "b" => Some(DeviceKind::Block),
        "c" | "u" => Some(DeviceKind::Character),
        other => {
            return invalid(format!(
                "linux.resources.devices: type {other:?} is unknown"
            ));
        }
    };
    let letters = match access.access.as_str() {
        "" => "rwm",
        letters => letters,
    };
    if let Some(letter) = letters.chars().find(|letter| !"rwm".contains(*letter)) {
        let e = format!("linux.resources.devices: {letter:?} is not an access");
        return Err(Error::Invalid(e));
    }
    Ok(DeviceRule {
        kind,
        major: number(access.major)?,
        minor: number(access.minor)?,
        read: letters.contains('r'),
        write: letters.contains('w'),
        make: letters.contains('m'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>) -> DeviceAccess {
        DeviceAccess {
            allow,
            kind: kind.into(),
            major,
            minor,
            access: String::new(),
        }
    }

    #[test]
    fn rules_for_devices_become_a_list_of_what_is_allowed() {
        let deny_all = access(false, "a", None, None);
        let usual = DeviceRule::usual().len();
        assert_eq!(rules(&[]).unwrap().unwrap().len(), usual);
        let list = rules(&[deny_all.clone(), access(true, "c", Some(10), Some(229))]);
        assert_eq!(list.unwrap().unwrap().len(), usual + 1);
        assert_eq!(
            rules(&[deny_all.clone(), access(true, "a", None, None)]).unwrap(),
            None
        );
        // What was allowed is taken back as a whole, or not at all.
        let one = access(true, "b", Some(7), Some(0));
        let many = access(false, "b", Some(7), None);
        let list = rules(&[one.clone(), many]).unwrap().unwrap();
        assert_eq!(list.len(), usual);
        let all_loops = access(true, "b", Some(7), None);
        let first = access(false, "b", Some(7), Some(0));
        assert!(rules(&[all_loops, first.clone()]).is_err());
        assert!(rules(&[access(true, "a", None, None), first]).is_err());
        assert!(rules(&[access(true, "x", None, None)]).is_err());
        assert!(rules(&[access(true, "c", Some(i64::MAX), None)]).is_err());
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        let read = |text: &str| limits(&serde_json::from_str(text).unwrap());
        for good in [
            r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":-1}}"#,
            r#"{"memory":{"limit":1000,"swap":2000},"cpu":{"shares":18446744073709551615,"quota":-1}}"#,
            r#"{"unified":{"memory.high":"1000"},"cpu":null}"#,
        ] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in [
            r#"{"memory":{"limit":-2}}"#,
            r#"{"memory":{"limit":2000,"swap":1000}}"#,
            r#"{"memory":{"swappiness":101}}"#,
            r#"{"cpu":{"cpus":"0\n1"}}"#,
            r#"{"blockIO":{"weight":5}}"#,
            r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#,
            r#"{"unified":{"../memory.max":"1"}}"#,
            r#"{"unified":{"cgroup.procs":"1"}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
