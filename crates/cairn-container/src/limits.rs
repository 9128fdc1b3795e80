//! Limits, as the user writes them: each bounded where it is read.

use cairn_runtime::{DeviceNode, DeviceRule, Limits, Pids, Swap};

use crate::devices::{device, rule};
use crate::error::{Result, usage};

/// As Docker: less is not enough to start a program in.
const MEMORY_BYTES_MIN: u64 = 6 << 20;
const BYTES_MAX: f64 = (1_u64 << 60) as f64;
const PIDS_MAX: i64 = 4_194_304;

/// What the user says of limits; every field as written.
#[derive(Debug, Clone, Default)]
pub struct LimitOptions {
    /// `--memory`
    pub memory: Option<String>,
    /// `--memory-swap`
    pub memory_swap: Option<String>,
    /// `--memory-reservation`
    pub memory_reservation: Option<String>,
    /// `--cpus`
    pub cpus: Option<String>,
    /// `--cpu-shares`
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`
    pub cpuset: Option<String>,
    /// `--pids-limit`
    pub pids: Option<i64>,
    /// `--blkio-weight`
    pub blkio_weight: Option<u64>,
    /// `--device`
    pub devices: Vec<String>,
    /// `--device-cgroup-rule`
    pub device_rules: Vec<String>,
}

/// A size by Docker's grammar: a number, maybe with a fraction, and `b`, `k`, `m`, `g` or `t` for powers of
/// 1024, maybe followed by `b` or `ib`.
pub(crate) fn bytes(option: &str, text: &str) -> Result<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = lower.split_at(end.unwrap_or(lower.len()));
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return usage(option, text, "must be a size such as 512k, 64m or 1g"),
    };
    match number.parse::<f64>() {
        Ok(n) if number.starts_with(|c: char| c.is_ascii_digit()) => {
            let bytes = n * (1_u64 << shift) as f64;
            if bytes < BYTES_MAX {
                Ok(bytes as u64)
            } else {
                usage(option, text, "is too large")
            }
        }
        _ => usage(option, text, "must be a size such as 512k, 64m or 1g"),
    }
}

/// Numbers of processors in a list such as `0-3,6`; none where it is not one.
fn processors(list: &str) -> Option<Vec<u32>> {
    const PROCESSORS_MAX: u32 = 8192;
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u32>().ok().filter(|_| digits)
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= PROCESSORS_MAX {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

fn online() -> Vec<u32> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    processors(&list).unwrap_or_else(|| vec![0])
}

impl LimitOptions {
    /// The limits, within bounds.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let memory = memory("--memory", self.memory.as_deref())?;
        Ok(Limits {
            memory_bytes: memory,
            swap: self.swap(memory)?,
            memory_reservation_bytes: self.reservation(memory)?,
            cpu_quota: self.quota()?,
            cpu_shares: within("--cpu-shares", self.cpu_shares, 2, 262_144)?,
            cpuset: self.cpuset.as_deref().map(cpuset).transpose()?,
            pids: self.pids()?,
            blkio_weight: within("--blkio-weight", self.blkio_weight, 10, 1000)?,
            more: Vec::new(),
        })
    }

    fn reservation(&self, memory_bytes: Option<u64>) -> Result<Option<u64>> {
        const OPTION: &str = "--memory-reservation";
        let text = self.memory_reservation.as_deref();
        let bytes = memory(OPTION, text)?;
        match bytes.zip(memory_bytes).is_some_and(|(n, most)| n > most) {
            true => usage(OPTION, text.unwrap_or_default(), "must not exceed --memory"),
            false => Ok(bytes),
        }
    }

    fn quota(&self) -> Result<Option<u64>> {
        match self.cpus.as_deref() {
            Some(text) => quota(text),
            None => Ok(None),
        }
    }

    fn pids(&self) -> Result<Pids> {
        Ok(match self.pids {
            None => Pids::Usual,
            Some(-1 | 0) => Pids::Unlimited,
            Some(n) if (1..=PIDS_MAX).contains(&n) => Pids::Most(n.unsigned_abs()),
            Some(n) => {
                let why = format!("must be -1 (unlimited) or 1 to {PIDS_MAX}");
                return usage("--pids-limit", &n.to_string(), &why);
            }
        })
    }

    /// Limits that have what is given here, and else what they had.
    pub(crate) fn change(&self, old: &Limits) -> Result<Limits> {
        let number = |n: Option<u64>| n.map(|n| n.to_string());
        let or = |given: &Option<String>, old: Option<String>| given.clone().or(old);
        let mut all = Self {
            memory: or(&self.memory, number(old.memory_bytes)),
            memory_swap: or(
                &self.memory_swap,
                match old.swap {
                    Swap::Usual => None,
                    Swap::Unlimited => Some("-1".into()),
                    Swap::Bytes(both) => Some(both.to_string()),
                },
            ),
            memory_reservation: or(
                &self.memory_reservation,
                number(old.memory_reservation_bytes),
            ),
            cpus: or(
                &self.cpus,
                old.cpu_quota
                    .map(|quota| format!("{}.{:05}", quota / 100_000, quota % 100_000)),
            ),
            cpu_shares: self.cpu_shares.or(old.cpu_shares),
            cpuset: or(&self.cpuset, old.cpuset.clone()),
            pids: self.pids.or(match old.pids {
                Pids::Usual => None,
                Pids::Unlimited => Some(-1),
                Pids::Most(most) => i64::try_from(most).ok(),
            }),
            blkio_weight: self.blkio_weight.or(old.blkio_weight),
            devices: Vec::new(),
            device_rules: Vec::new(),
        };
        // Without a limit of memory there is none of both together either.
        let lifts = matches!(
            all.memory.as_deref().map(|t| bytes("--memory", t)),
            Some(Ok(0))
        );
        if lifts && self.memory_swap.is_none() {
            all.memory_swap = None;
        }
        all.limits()
    }

    fn swap(&self, memory: Option<u64>) -> Result<Swap> {
        const OPTION: &str = "--memory-swap";
        match (self.memory_swap.as_deref(), memory) {
            (None, _) => Ok(Swap::Usual),
            (Some("-1"), _) => Ok(Swap::Unlimited),
            (Some(text), memory) => match (bytes(OPTION, text)?, memory) {
                (0, _) => Ok(Swap::Usual),
                (_, None) => usage(OPTION, text, "needs --memory, too"),
                (both, Some(memory)) if both < memory => usage(
                    OPTION,
                    text,
                    "is memory and swap together, so it must not be less than --memory",
                ),
                (both, Some(_)) => Ok(Swap::Bytes(both)),
            },
        }
    }

    /// Which devices may be used, and which nodes are there beside the usual ones.
    pub(crate) fn devices(&self) -> Result<(Vec<DeviceRule>, Vec<DeviceNode>)> {
        let mut rules = DeviceRule::usual();
        let mut nodes = Vec::new();
        for text in &self.devices {
            let (node, rule) = device(text)?;
            rules.push(rule);
            nodes.push(node);
        }
        for text in &self.device_rules {
            rules.push(rule(text)?);
        }
        Ok((rules, nodes))
    }
}

/// A size of memory; zero is as if it were not given.
fn memory(option: &str, text: Option<&str>) -> Result<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    match bytes(option, text)? {
        0 => Ok(None),
        n if n < MEMORY_BYTES_MIN => usage(option, text, "the minimum is 6m"),
        n => Ok(Some(n)),
    }
}

/// Zero is as if it were not given, as Docker has it.
fn within(option: &str, value: Option<u64>, least: u64, most: u64) -> Result<Option<u64>> {
    match value {
        None | Some(0) => Ok(None),
        Some(n) if (least..=most).contains(&n) => Ok(Some(n)),
        Some(n) => usage(
            option,
            &n.to_string(),
            &format!("must be {least} to {most}"),
        ),
    }
}

/// Hundred-thousandths of a processor.
fn quota(text: &str) -> Result<Option<u64>> {
    let there = online().len();
    let number = text.parse::<f64>().ok();
    let number = number.filter(|_| text.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    match number {
        Some(0.0) => Ok(None),
        Some(n) if n >= 0.01 && n <= there as f64 => Ok(Some((n * 100_000.0).round() as u64)),
        _ => usage(
            "--cpus",
            text,
            &format!("must be 0.01 to {there}, the number of processors"),
        ),
    }
}

fn cpuset(text: &str) -> Result<String> {
    let there = online();
    let unknown = |all: Vec<u32>| all.into_iter().find(|n| !there.contains(n));
    match processors(text).map(unknown) {
        None => usage("--cpuset-cpus", text, "must be a list such as 0-3,6"),
        Some(Some(n)) => usage("--cpuset-cpus", text, &format!("there is no processor {n}")),
        Some(None) => Ok(text.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(options: LimitOptions) -> Result<Limits, String> {
        options.limits().map_err(|e| e.to_string())
    }

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, bytes_wanted) in [
            ("6m", Some(6 << 20)),
            ("6291456", Some(6 << 20)),
            ("1G", Some(1 << 30)),
            ("1.5g", Some(3 << 29)),
            ("64mb", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("512K", Some(512 << 10)),
            ("0", Some(0)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1e9", None),
            (".5g", None),
            ("1x", None),
            ("inf", None),
            ("99999999999t", None),
        ] {
            assert_eq!(bytes("--memory", text).ok(), bytes_wanted, "{text}");
        }
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let text = |t: &str| Some(t.to_owned());
        let old = Limits {
            memory_bytes: Some(64 << 20),
            swap: Swap::Bytes(96 << 20),
            cpu_quota: Some(50_000),
            pids: Pids::Most(10),
            ..Limits::default()
        };
        let change = |options: LimitOptions| options.change(&old).map_err(|e| e.to_string());
        assert_eq!(change(LimitOptions::default()), Ok(old.clone()));
        let more = change(LimitOptions {
            cpus: text("0"),
            pids: Some(-1),
            memory_reservation: text("32m"),
            ..LimitOptions::default()
        });
        let expected = Limits {
            cpu_quota: None,
            pids: Pids::Unlimited,
            memory_reservation_bytes: Some(32 << 20),
            ..old.clone()
        };
        assert_eq!(more, Ok(expected));
        let lifted = change(LimitOptions {
            memory: text("0"),
            ..LimitOptions::default()
        });
        assert_eq!(
            lifted.map(|l| (l.memory_bytes, l.swap)),
            Ok((None, Swap::Usual))
        );
        let above = change(LimitOptions {
            memory: text("128m"),
            ..LimitOptions::default()
        });
        assert!(
            above.unwrap_err().contains("--memory-swap"),
            "both were 96m"
        );
        assert!(
            change(LimitOptions {
                memory: text("1m"),
                ..LimitOptions::default()
            })
            .is_err()
        );
    }

    #[test]
    fn limits_have_bounds() {
        let text = |t: &str| Some(t.to_owned());
        let with = |change: &dyn Fn(&mut LimitOptions)| {
            let mut options = LimitOptions::default();
            change(&mut options);
            limits(options)
        };
        assert_eq!(with(&|_| ()), Ok(Limits::default()));
        type Change<'a> = (&'a str, &'a dyn Fn(&mut LimitOptions));
        let bad: [Change<'_>; 13] = [
            ("the minimum is 6m", &|o| o.memory = text("5m")),
            ("needs --memory", &|o| o.memory_swap = text("1g")),
            ("less than --memory", &|o| {
                (o.memory, o.memory_swap) = (text("1g"), text("512m"))
            }),
            ("exceed --memory", &|o| {
                (o.memory, o.memory_reservation) = (text("8m"), text("9m"))
            }),
            ("number of processors", &|o| o.cpus = text("4000")),
            ("number of processors", &|o| o.cpus = text("0.001")),
            ("number of processors", &|o| o.cpus = text("nan")),
            ("2 to 262144", &|o| o.cpu_shares = Some(1)),
            ("no processor 8000", &|o| o.cpuset = text("0,8000")),
            ("a list", &|o| o.cpuset = text("3-1")),
            ("a list", &|o| o.cpuset = text("0-99999999")),
            ("-1 (unlimited)", &|o| o.pids = Some(-2)),
            ("10 to 1000", &|o| o.blkio_weight = Some(9)),
        ];
        for (words, change) in bad {
            let e = with(change).unwrap_err();
            assert!(e.contains(words), "{words}: {e}");
        }
        let limits = with(&|o| {
            (o.memory, o.memory_swap, o.cpus) = (text("1g"), text("-1"), text("0.5"));
            (o.cpuset, o.pids) = (text("0"), Some(-1));
        });
        let limits = limits.unwrap();
        assert_eq!(
            (limits.swap, limits.pids),
            (Swap::Unlimited, Pids::Unlimited)
        );
        assert_eq!(limits.cpu_quota, Some(50_000));
    }
}
