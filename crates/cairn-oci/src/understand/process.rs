//! The process of a document.

use std::path::Path;

use cairn_runtime::bundle::{BundleProcess, CapabilitySets, Scheduler};
use cairn_runtime::seccomp::{Circumstances, Document};
use cairn_runtime::{Capabilities, Ulimit};

use super::{LIST_MAX, absolute, invalid};
use crate::document::{self, IoPriority, Process};
use crate::error::{Error, Result};

/// Says "leave it as it is" to system calls, which would leave root.
const NO_ID: u32 = u32::MAX;
const UMASK_USUAL: u32 = 0o022;
/// As many as the kernel takes (setgroups(2)).
const GROUPS_MAX: usize = 65536;

/// Understands it; `seccomp` is the container's.
pub fn process(process: &Process, seccomp: Option<&serde_json::Value>) -> Result<BundleProcess> {
    let user = &process.user;
    if user.uid == NO_ID || user.gid == NO_ID || user.additional_gids.contains(&NO_ID) {
        return invalid(format!("process.user: {NO_ID} is not an id"));
    }
    if user.additional_gids.len() > GROUPS_MAX {
        return invalid(format!(
            "process.user.additionalGids: more than {GROUPS_MAX}"
        ));
    }
    if process.args.is_empty() {
        return invalid("process.args must not be empty");
    }
    if let Some(variable) = process.env.iter().find(|v| !v.contains('=')) {
        let name: String = variable.chars().take(40).collect();
        return invalid(format!(
            "process.env: {name:?} has no value; write NAME=VALUE"
        ));
    }
    let capabilities = capabilities(process.capabilities.as_ref());
    let oom_score_adj = match process.oom_score_adj {
        None => None,
        Some(score) => match i32::try_from(score) {
            Ok(score @ -1000..=1000) => Some(score),
            _ => {
                return invalid(format!(
                    "process.oomScoreAdj: {score} is not in -1000 to 1000"
                ));
            }
        },
    };
    let size = process.console_size.map(|size| {
        let fit = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        (fit(size.height), fit(size.width))
    });
    Ok(BundleProcess {
        terminal: process.terminal,
        size,
        uid: user.uid,
        gid: user.gid,
        groups: user.additional_gids.clone(),
        umask: user.umask.unwrap_or(UMASK_USUAL) & 0o777,
        args: process.args.clone(),
        env: process.env.clone(),
        cwd: absolute("process.cwd", &process.cwd)?,
        seccomp: seccomp
            .map(|document| filter(document, &capabilities.bounding))
            .transpose()?,
        capabilities,
        ulimits: ulimits(process)?,
        no_new_privileges: process.no_new_privileges,
        oom_score_adj,
        label: label(&process.apparmor_profile, &process.selinux_label)?,
        io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
        scheduler: process.scheduler.as_ref().map(scheduler).transpose()?,
        keyring: true,
        preserved: 0,
    })
}

fn filter(
    document: &serde_json::Value,
    capabilities: &Capabilities,
) -> Result<cairn_runtime::seccomp::Filter> {
    let bytes = serde_json::to_vec(document);
    let bytes = bytes.map_err(|e| Error::Invalid(format!("linux.seccomp: {e}")))?;
    let document = Document::parse("of the bundle", &bytes)?;
    Ok(document.compile(&Circumstances::here(capabilities))?)
}

/// Names that this kernel does not know are left out with a note, as those of a newer kernel.
fn capabilities(wanted: Option<&document::Capabilities>) -> CapabilitySets {
    let Some(wanted) = wanted else {
        return CapabilitySets::default();
    };
    let known = |names: &[String]| {
        let (known, unknown) = Capabilities::known(names);
        if !unknown.is_empty() {
            tracing::warn!(?unknown, "capabilities that this kernel does not have");
        }
        known
    };
    CapabilitySets {
        bounding: known(&wanted.bounding),
        effective: known(&wanted.effective),
        permitted: known(&wanted.permitted),
        inheritable: known(&wanted.inheritable),
        ambient: known(&wanted.ambient),
    }
}

fn ulimits(process: &Process) -> Result<Vec<Ulimit>> {
    if process.rlimits.len() > LIST_MAX {
        return invalid(format!("process.rlimits: more than {LIST_MAX}"));
    }
    let mut all: Vec<Ulimit> = Vec::new();
    for limit in &process.rlimits {
        let name = limit.kind.strip_prefix("RLIMIT_").unwrap_or_default();
        let wanted = Ulimit {
            name: name.to_ascii_lowercase(),
            soft: limit.soft,
            hard: limit.hard,
        };
        let what = format!("process.rlimits: {}", limit.kind);
        if !wanted.is_known() {
            return invalid(format!("{what} is unknown"));
        }
        if all.iter().any(|other| other.name == wanted.name) {
            return invalid(format!("{what} is there twice"));
        }
        if wanted.soft > wanted.hard {
            return invalid(format!("{what}: the soft limit is above the hard one"));
        }
        all.push(wanted);
    }
    Ok(all)
}

/// The label that the program gets, by the security module that is there.
pub fn label(apparmor: &str, selinux: &str) -> Result<Option<(String, String)>> {
    if !apparmor.is_empty() {
        let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        if enabled.is_ok_and(|text| text.trim() == "Y") {
            let own = Path::new("/proc/self/attr/apparmor/exec").exists();
            let file = if own { "apparmor/exec" } else { "exec" };
            return Ok(Some((format!("exec {apparmor}"), file.to_owned())));
        }
        if apparmor != "unconfined" {
            return invalid(format!(
                "process.apparmorProfile: {apparmor:?} cannot be applied, for AppArmor is not enabled on this host"
            ));
        }
    }
    // As with every runtime, a label means nothing where SELinux is not in use.
    match Path::new("/sys/fs/selinux/enforce").exists() && !selinux.is_empty() {
        true => Ok(Some((selinux.to_owned(), "exec".to_owned()))),
        false => Ok(None),
    }
}

fn io_priority(wanted: &IoPriority) -> Result<u16> {
    const CLASS_SHIFT: u16 = 13;
    let class = match wanted.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return invalid(format!("process.ioPriority: class {other:?} is unknown")),
    };
    match u16::try_from(wanted.priority) {
        Ok(level @ 0..=7) => Ok(class << CLASS_SHIFT | level),
        _ => invalid(format!(
            "process.ioPriority: {} is not in 0 to 7",
            wanted.priority
        )),
    }
}

fn scheduler(wanted: &document::Scheduler) -> Result<Scheduler> {
    let named = |what: &str, name: &str, table: &[(&str, u64)]| {
        let found = table.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| Error::Invalid(format!("process.scheduler: {what} {name:?} is unknown")))
    };
    let policies = [
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ];
    let known = [
        ("SCHED_FLAG_RESET_ON_FORK", 1),
        ("SCHED_FLAG_RECLAIM", 2),
        ("SCHED_FLAG_DL_OVERRUN", 4),
        ("SCHED_FLAG_KEEP_POLICY", 8),
        ("SCHED_FLAG_KEEP_PARAMS", 16),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", 32),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", 64),
    ];
    let mut flags = 0;
    for flag in &wanted.flags {
        flags |= named("flag", flag, &known)?;
    }
    if !(-20..=19).contains(&wanted.nice) {
        return invalid(format!(
            "process.scheduler: nice {} is not in -20 to 19",
            wanted.nice
        ));
    }
    Ok(Scheduler {
        policy: named("policy", &wanted.policy, &policies)? as u32,
        flags,
        nice: wanted.nice,
        priority: wanted.priority,
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
    })
}
