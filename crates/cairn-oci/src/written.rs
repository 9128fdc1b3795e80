//! A launch of Cairn's own as a document of a bundle, for any runtime.
//!
//! What it says is what [the runtime](cairn_runtime) would do by itself, as far as a document has words for it.
//! What it has none for is refused, so that nobody runs a container that is more open than it looks.

use std::collections::BTreeMap;

use cairn_runtime::seccomp::{Circumstances, Document};
use cairn_runtime::{
    DeviceKind, DeviceRule, LaunchSpec, Limits, Mount, MountKind, Network, Origin, Pids, Space,
    Swap, User, hidden_paths,
};
use serde_json::{Value, json};

use crate::error::{Error, Result};

const PATH_USUAL: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a bundle has files that a container of Cairn's own would have in its directory: by their place inside, the
/// path in the bundle.
pub type Files = BTreeMap<String, String>;

/// The document of a launch; `user` is who its process is.
pub fn document_of(spec: &LaunchSpec, user: &User, files: &Files) -> Result<Value> {
    if spec.ids.is_some() {
        return refused("--userns: files of a bundle have the ids of the host; use --userns host");
    }
    if spec.init {
        return refused(
            "--init: a bundle's process is process 1; omit it, or add an init to the image",
        );
    }
    let (hidden, closed) = match spec.privileged {
        true => (Vec::new(), Vec::new()),
        false => hidden_paths(),
    };
    let mut linux = json!({
        "namespaces": namespaces(spec)?,
        "resources": resources(spec),
        "maskedPaths": hidden,
        "readonlyPaths": closed,
    });
    if !spec.sysctls.is_empty() {
        let dotted = |(name, value): &(String, String)| (name.replace('/', "."), value.clone());
        let all: BTreeMap<String, String> = spec.sysctls.iter().map(dotted).collect();
        linux["sysctl"] = json!(all);
    }
    if !spec.nodes.is_empty() {
        linux["devices"] = nodes(spec);
    }
    if let Some(filter) = &spec.seccomp {
        linux["seccomp"] = seccomp(spec, &filter.profile)?;
    }
    let mut document = json!({
        "ociVersion": "1.0.2",
        "process": process(spec, user)?,
        "root": {"path": "rootfs", "readonly": spec.read_only},
        "mounts": mounts(spec, files)?,
        "linux": linux,
        "annotations": annotations(spec),
    });
    if spec.uts == Space::Private {
        document["hostname"] = json!(spec.hostname);
    }
    Ok(document)
}

fn refused<T>(why: &str) -> Result<T> {
    Err(Error::Refused(format!("a bundle cannot have {why}")))
}

fn annotations(spec: &LaunchSpec) -> BTreeMap<String, String> {
    let mut all = spec.labels.clone();
    let signal = spec.stop_signal.to_string();
    all.insert("org.opencontainers.image.stopSignal".into(), signal);
    all
}

/// Text of a document is UTF-8.
fn text(what: &str, text: &cairn_runtime::Text) -> Result<String> {
    let text = std::str::from_utf8(text.as_bytes());
    text.map(str::to_owned)
        .map_err(|_| Error::Refused(format!("a bundle cannot have a {what} that is not UTF-8")))
}

fn process(spec: &LaunchSpec, user: &User) -> Result<Value> {
    let texts = |what: &str, all: &[cairn_runtime::Text]| -> Result<Vec<String>> {
        all.iter().map(|one| text(what, one)).collect()
    };
    let mut env = vec![
        PATH_USUAL.to_owned(),
        format!("HOSTNAME={}", spec.hostname),
        format!("HOME={}", user.home),
    ];
    if spec.terminal {
        env.push("TERM=xterm".into());
    }
    // What image and user say counts; each variable once.
    let own = texts("variable", &spec.env)?;
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    env.retain(|usual| own.iter().all(|other| name(other) != name(usual)));
    env.extend(own);
    let (keep, ambient) = (json!(spec.capabilities), json!(spec.ambient));
    let capabilities = match user.uid {
        0 => json!({"bounding": keep, "effective": keep, "permitted": keep}),
        _ => json!({
            "bounding": keep, "effective": ambient, "permitted": ambient,
            "inheritable": ambient, "ambient": ambient,
        }),
    };
    let limit = |limit: &cairn_runtime::Ulimit| {
        let kind = format!("RLIMIT_{}", limit.name.to_uppercase());
        json!({"type": kind, "soft": limit.soft, "hard": limit.hard})
    };
    Ok(json!({
        "terminal": spec.terminal,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
        "args": texts("argument", &spec.args)?,
        "env": env,
        "cwd": text("working directory", &spec.cwd)?,
        "capabilities": capabilities,
        "rlimits": spec.ulimits.iter().map(limit).collect::<Vec<_>>(),
        "noNewPrivileges": spec.no_new_privileges,
    }))
}

fn namespaces(spec: &LaunchSpec) -> Result<Value> {
    let mut all = vec![json!({"type": "mount"}), json!({"type": "cgroup"})];
    match &spec.network {
        Network::None => all.push(json!({"type": "network"})),
        Network::Namespace(path) => all.push(json!({"type": "network", "path": path})),
        Network::Host => {}
        Network::Container { .. } => {
            return refused(
                "--network container:NAME: the other container may be another process by then; use none, host or ns:PATH",
            );
        }
        Network::User(_) => {
            return refused(
                "--network user: a helper of Cairn's connects it; use none, host or ns:PATH",
            );
        }
    }
    for (space, kind) in [(&spec.pid, "pid"), (&spec.ipc, "ipc"), (&spec.uts, "uts")] {
        match space {
            Space::Private => all.push(json!({"type": kind})),
            Space::Container { .. } if kind == "ipc" => {
                return refused(
                    "--ipc container:NAME: a bundle has no words for the other container's /dev/shm; use private or host",
                );
            }
            Space::Container { pid, .. } => {
                all.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{kind}")}));
            }
            Space::Host => {}
        }
    }
    Ok(json!(all))
}

/// What every container has, as Cairn mounts it, and then what was asked for.
fn mounts(spec: &LaunchSpec, files: &Files) -> Result<Value> {
    let quiet = ["nosuid", "noexec", "nodev"];
    let mut sys = quiet.to_vec();
    if !spec.privileged {
        sys.push("ro");
    }
    let size = format!("size={}", spec.shm_bytes);
    let shared = match spec.ipc {
        Space::Host => {
            json!({"destination": "/dev/shm", "type": "bind", "source": "/dev/shm", "options": ["rbind"]})
        }
        _ => json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", size]}),
    };
    let mut all = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": quiet}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": sys}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=64m"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        shared,
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet}),
    ];
    let mut own: Vec<&Mount> = spec.mounts.iter().collect();
    // Upper directories first, as Cairn mounts them.
    own.sort_by_key(|mount| {
        mount
            .target
            .as_bytes()
            .iter()
            .filter(|b| **b == b'/')
            .count()
    });
    for mount in own {
        all.push(one(mount, files)?);
    }
    Ok(json!(all))
}

fn one(mount: &Mount, files: &Files) -> Result<Value> {
    let target = text("mount point", &mount.target)?;
    let mut options = Vec::new();
    if mount.read_only {
        options.push("ro".to_owned());
    }
    let bind = |source: Value, mut options: Vec<String>| {
        options.extend(["rbind".to_owned(), "rprivate".to_owned()]);
        json!({"destination": target, "type": "bind", "source": source, "options": options})
    };
    if let Some(file) = files.get(&target) {
        options.extend(["nosuid", "noexec", "nodev"].map(str::to_owned));
        return Ok(bind(json!(file), options));
    }
    match &mount.what {
        MountKind::Bind { source } if mount.origin != Origin::Generated => {
            Ok(bind(json!(source), options))
        }
        MountKind::Tmpfs {
            options: text,
            exec,
            suid,
            dev,
        } => {
            for (allowed, name) in [(exec, "noexec"), (suid, "nosuid"), (dev, "nodev")] {
                if !allowed {
                    options.push(name.to_owned());
                }
            }
            options.extend(text.split(',').filter(|o| !o.is_empty()).map(str::to_owned));
            Ok(
                json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}),
            )
        }
        MountKind::Secret(_) => refused(&format!("the secret at {target}: it would be on a disk")),
        _ => refused(&format!(
            "the mount at {target}: only Cairn itself can make it"
        )),
    }
}

fn resources(spec: &LaunchSpec) -> Value {
    let mut resources = limits(&spec.limits);
    let rule = |rule: &DeviceRule| {
        let mut access = String::new();
        for (allowed, letter) in [(rule.read, 'r'), (rule.write, 'w'), (rule.make, 'm')] {
            if allowed {
                access.push(letter);
            }
        }
        let kinds = match rule.kind {
            Some(DeviceKind::Block) => vec!["b"],
            Some(DeviceKind::Character) => vec!["c"],
            None => vec!["b", "c"],
        };
        kinds
            .into_iter()
            .map(move |kind| {
                let mut one = json!({"allow": true, "type": kind, "access": access});
                for (name, number) in [("major", rule.major), ("minor", rule.minor)] {
                    if let Some(number) = number {
                        one[name] = json!(number);
                    }
                }
                one
            })
            .collect::<Vec<_>>()
    };
    let mut devices = vec![json!({"allow": spec.devices.is_none(), "access": "rwm"})];
    devices.extend(spec.devices.iter().flatten().flat_map(rule));
    resources["devices"] = json!(devices);
    resources
}

fn limits(limits: &Limits) -> Value {
    let mut resources = json!({});
    let memory = limits.memory_bytes.map(|bytes| {
        let swap = match limits.swap {
            Swap::Usual => json!(bytes.saturating_mul(2)),
            Swap::Unlimited => json!(-1),
            Swap::Bytes(both) => json!(both),
        };
        json!({"limit": bytes, "swap": swap})
    });
    if let Some(memory) = memory {
        resources["memory"] = memory;
    }
    if let Some(bytes) = limits.memory_reservation_bytes {
        resources["memory"]["reservation"] = json!(bytes);
    }
    if let Some(quota) = limits.cpu_quota {
        resources["cpu"] = json!({"quota": quota, "period": 100_000});
    }
    if let Some(shares) = limits.cpu_shares {
        resources["cpu"]["shares"] = json!(shares);
    }
    if let Some(list) = &limits.cpuset {
        resources["cpu"]["cpus"] = json!(list);
    }
    match limits.pids {
        Pids::Usual => resources["pids"] = json!({"limit": cairn_runtime::PIDS_USUAL}),
        Pids::Most(most) => resources["pids"] = json!({"limit": most}),
        Pids::Unlimited => {}
    }
    if let Some(weight) = limits.blkio_weight {
        resources["blockIO"] = json!({"weight": weight});
    }
    resources
}

fn nodes(spec: &LaunchSpec) -> Value {
    let node = |node: &cairn_runtime::DeviceNode| {
        let kind = match node.kind {
            DeviceKind::Block => "b",
            DeviceKind::Character => "c",
        };
        json!({
            "path": format!("/dev/{}", node.path), "type": kind, "major": node.major, "minor": node.minor,
            "fileMode": node.mode, "uid": node.uid, "gid": node.gid,
        })
    };
    spec.nodes.iter().map(node).collect()
}

/// The filter's own document, which the launch names.
fn seccomp(spec: &LaunchSpec, profile: &str) -> Result<Value> {
    let document = match profile {
        "default" => Document::default_profile()?,
        path => {
            let bytes = std::fs::read(path)
                .map_err(|e| Error::step(format!("read the seccomp profile {path}"), e))?;
            Document::parse(path, &bytes)?
        }
    };
    Ok(document.as_oci(&Circumstances::here(&spec.capabilities))?)
}
