//! From a document to what the launcher is told: everything is checked here, so that nothing of it has to be
//! where it would take effect.

mod mounts;
mod process;
mod resources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cairn_runtime::bundle::{
    BundleSpace, BundleSpec, Hook, HookState, IdMap, IdMaps, Propagation, PropagationWay, Spaces,
};
use cairn_runtime::{DeviceKind, DeviceNode};

pub use self::mounts::options as mount_options;
pub use self::process::{label, process};
pub use self::resources::{limits, rules};
use crate::document::{Config, Device, Hooks, IdMapping, Linux, TimeOffset};
use crate::error::{Context, Error, Result};

/// More than the kernel takes of any list; a document with more is a mistake or an attack.
const LIST_MAX: usize = 4096;
const VALUE_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 64;
const OF_IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

pub(crate) fn invalid<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Invalid(why.into()))
}

/// A path of a document that has to be absolute.
pub(crate) fn absolute(what: &str, path: &str) -> Result<String> {
    match path.starts_with('/') {
        true => Ok(path.to_owned()),
        false => invalid(format!("{what}: {path:?} is not an absolute path")),
    }
}

/// What a container is created with beside its document.
pub struct Asked<'a> {
    /// Its name.
    pub id: &'a str,
    /// Its bundle's directory, absolute.
    pub bundle: &'a Path,
    /// The root is moved over the host's.
    pub no_pivot: bool,
    /// No session keyring of its own.
    pub no_keyring: bool,
    /// Descriptors from 3 on that it inherits.
    pub preserved: u32,
}

/// What the launcher is told.
pub fn spec(config: &Config, asked: &Asked<'_>) -> Result<BundleSpec> {
    version(&config.oci_version)?;
    if config.vm.is_some() {
        return invalid("vm: containers in virtual machines are not supported");
    }
    let none = Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&none);
    if linux.intel_rdt.is_some() {
        return invalid("linux.intelRdt is not supported");
    }
    let root = config.root.as_ref();
    let root = root.ok_or_else(|| Error::Invalid("root is missing".into()))?;
    let process = config.process.as_ref();
    let process = process.ok_or_else(|| Error::Invalid("process is missing".into()))?;
    let mut process = process::process(process, linux.seccomp.as_ref())?;
    process.keyring = !asked.no_keyring;
    process.preserved = asked.preserved;
    let spaces = spaces(linux)?;
    let named = |what: &str, name: &Option<String>| names(what, name, &spaces);
    let resources = linux.resources.clone().unwrap_or_default();
    let on = |moment: &str, hooks| hooks_of(moment, hooks);
    Ok(BundleSpec {
        state: HookState {
            oci_version: config.oci_version.clone(),
            id: asked.id.to_owned(),
            status: "creating".into(),
            pid: None,
            bundle: asked.bundle.to_owned(),
            annotations: config.annotations.clone(),
        },
        group: group(&linux.cgroups_path, asked.id)?,
        root: root_directory(&root.path, asked.bundle)?,
        read_only: root.readonly,
        propagation: match linux.rootfs_propagation.as_str() {
            "" => Propagation {
                way: PropagationWay::Slave,
                recursive: true,
            },
            text => propagation(text).ok_or_else(|| {
                Error::Invalid(format!("linux.rootfsPropagation: {text:?} is unknown"))
            })?,
        },
        no_pivot: asked.no_pivot,
        hostname: named("hostname", &config.hostname)?,
        domainname: named("domainname", &config.domainname)?,
        mounts: mounts::mounts(&config.mounts, asked.bundle)?,
        nodes: nodes(&linux.devices)?,
        devices: rules(&resources.devices)?,
        limits: limits(&resources)?,
        sysctls: sysctls(linux, &spaces)?,
        masked: paths("linux.maskedPaths", &linux.masked_paths)?,
        read_only_paths: paths("linux.readonlyPaths", &linux.readonly_paths)?,
        on_create: on("createContainer", &config.hooks.create_container)?,
        on_start: on("startContainer", &config.hooks.start_container)?,
        personality: personality(linux)?,
        spaces,
        process,
    })
}

/// Hooks that the command itself runs, by their moment.
pub struct HostHooks {
    /// Before the root is entered.
    pub create: Vec<Hook>,
    /// When the process has begun.
    pub started: Vec<Hook>,
    /// When the container was deleted.
    pub stopped: Vec<Hook>,
}

/// Those of a document.
pub fn host_hooks(hooks: &Hooks) -> Result<HostHooks> {
    let mut create = hooks_of("prestart", &hooks.prestart)?;
    create.extend(hooks_of("createRuntime", &hooks.create_runtime)?);
    Ok(HostHooks {
        create,
        started: hooks_of("poststart", &hooks.poststart)?,
        stopped: hooks_of("poststop", &hooks.poststop)?,
    })
}

fn version(text: &str) -> Result<()> {
    let mut numbers = text.split(['.', '-', '+']).map(|n| n.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(1), Some(_)) => Ok(()),
        _ => invalid(format!(
            "ociVersion: {text:?} is not a version 1 of runtime-spec"
        )),
    }
}

fn hooks_of(moment: &str, hooks: &[crate::document::Hook]) -> Result<Vec<Hook>> {
    if hooks.len() > LIST_MAX {
        return invalid(format!("hooks.{moment}: more than {LIST_MAX}"));
    }
    hooks
        .iter()
        .map(|hook| {
            let timeout_secs = match hook.timeout {
                None => None,
                Some(secs) if secs > 0 => Some(secs.unsigned_abs()),
                Some(secs) => {
                    return invalid(format!("hooks.{moment}: timeout {secs} is not above 0"));
                }
            };
            Ok(Hook {
                moment: moment.to_owned(),
                path: absolute(&format!("hooks.{moment}"), &hook.path)?.into(),
                args: hook.args.clone(),
                env: hook.env.clone(),
                timeout_secs,
            })
        })
        .collect()
}

fn root_directory(path: &str, bundle: &Path) -> Result<PathBuf> {
    let root = bundle.join(path);
    let real = root.canonicalize();
    let real = real.step(format!("root.path {}", root.display()))?;
    if !real.is_dir() {
        return invalid(format!("root.path {} is not a directory", root.display()));
    }
    if real == Path::new("/") {
        return invalid("root.path: the host's own root cannot be a container's");
    }
    Ok(real)
}

/// The name of the container's groups: a place below the root of each hierarchy.
fn group(path: &str, id: &str) -> Result<String> {
    if path.is_empty() {
        return Ok(format!("cairn-oci-{id}"));
    }
    if !path.starts_with('/') && path.matches(':').count() == 2 {
        return invalid(format!(
            "linux.cgroupsPath: {path:?} is a name for systemd, which is not supported; use the cgroupfs manager"
        ));
    }
    let names: Vec<&str> = path
        .split('/')
        .filter(|n| !n.is_empty() && *n != ".")
        .collect();
    if names.is_empty() || names.contains(&"..") || names.iter().any(|n| n.len() > 255) {
        return invalid(format!(
            "linux.cgroupsPath: {path:?} is not a place of its own"
        ));
    }
    Ok(names.join("/"))
}

pub(crate) fn propagation(text: &str) -> Option<Propagation> {
    let (recursive, way) = match text {
        "shared" | "slave" | "private" | "unbindable" => (false, text),
        _ => (true, text.strip_prefix('r')?),
    };
    let way = match way {
        "shared" => PropagationWay::Shared,
        "slave" => PropagationWay::Slave,
        "private" => PropagationWay::Private,
        "unbindable" => PropagationWay::Unbindable,
        _ => return None,
    };
    Some(Propagation { way, recursive })
}

fn paths(what: &str, paths: &[String]) -> Result<Vec<String>> {
    if paths.len() > LIST_MAX {
        return invalid(format!("{what}: more than {LIST_MAX}"));
    }
    paths.iter().map(|path| absolute(what, path)).collect()
}

pub(crate) fn runs(what: &str, mappings: &[IdMapping]) -> Result<Vec<IdMap>> {
    // The kernel takes 340 (user_namespaces(7)).
    if mappings.len() > 340 {
        return invalid(format!("{what}: more than 340 runs of ids"));
    }
    mappings
        .iter()
        .map(|m| {
            let fits = |first: u32| first.checked_add(m.size).is_some();
            if m.size == 0 || !fits(m.container_id) || !fits(m.host_id) {
                return invalid(format!(
                    "{what}: a run of {} ids from {} does not fit",
                    m.size, m.container_id
                ));
            }
            Ok(IdMap {
                inside: m.container_id,
                outside: m.host_id,
                size: m.size,
            })
        })
        .collect()
}

fn spaces(linux: &Linux) -> Result<Spaces> {
    let mut spaces = Spaces::default();
    let mut mount = BundleSpace::Caller;
    let mut seen = BTreeSet::new();
    for namespace in &linux.namespaces {
        let what = format!("linux.namespaces: {}", namespace.kind);
        let place = match namespace.kind.as_str() {
            "pid" => &mut spaces.pid,
            "network" => &mut spaces.network,
            "ipc" => &mut spaces.ipc,
            "uts" => &mut spaces.uts,
            "cgroup" => &mut spaces.cgroup,
            "time" => &mut spaces.time,
            "user" => &mut spaces.user,
            "mount" => &mut mount,
            _ => return invalid(format!("{what} is unknown")),
        };
        if !seen.insert(&namespace.kind) {
            return invalid(format!("{what} is there twice"));
        }
        *place = match namespace.path.as_str() {
            "" => BundleSpace::New,
            path => BundleSpace::Path(absolute(&what, path)?.into()),
        };
    }
    if mount != BundleSpace::New {
        return invalid(
            "linux.namespaces: a mount namespace of its own is needed, for mounts would reach the host",
        );
    }
    let ids = IdMaps {
        uids: runs("linux.uidMappings", &linux.uid_mappings)?,
        gids: runs("linux.gidMappings", &linux.gid_mappings)?,
    };
    let (some, all) = (
        !ids.uids.is_empty() || !ids.gids.is_empty(),
        !ids.uids.is_empty() && !ids.gids.is_empty(),
    );
    match &spaces.user {
        BundleSpace::New if !all => {
            return invalid("a user namespace needs linux.uidMappings and linux.gidMappings");
        }
        BundleSpace::New => spaces.ids = Some(ids),
        BundleSpace::Caller if some => {
            return invalid("linux.uidMappings and linux.gidMappings need a user namespace");
        }
        _ => {}
    }
    spaces.time_offsets = offsets(linux, &spaces.time)?;
    Ok(spaces)
}

fn offsets(linux: &Linux, time: &BundleSpace) -> Result<String> {
    if !linux.time_offsets.is_empty() && *time != BundleSpace::New {
        return invalid("linux.timeOffsets needs a time namespace of its own");
    }
    let line = |(clock, offset): (&String, &TimeOffset)| match clock.as_str() {
        "monotonic" | "boottime" if offset.nanosecs < 1_000_000_000 => {
            Ok(format!("{clock} {} {}\n", offset.secs, offset.nanosecs))
        }
        _ => invalid(format!("linux.timeOffsets: {clock} cannot be set so")),
    };
    linux.time_offsets.iter().map(line).collect()
}

fn names(what: &str, name: &Option<String>, spaces: &Spaces) -> Result<Option<String>> {
    match name.as_deref() {
        None | Some("") => Ok(None),
        Some(_) if spaces.uts == BundleSpace::Caller => invalid(format!(
            "{what}: needs a UTS namespace; it would be the host's"
        )),
        Some(name) if name.len() > NAME_BYTES_MAX => {
            invalid(format!("{what}: has more than {NAME_BYTES_MAX} bytes"))
        }
        Some(name) => Ok(Some(name.to_owned())),
    }
}

/// Only those of namespaces that the container does not share with whoever creates it.
fn sysctls(linux: &Linux, spaces: &Spaces) -> Result<Vec<(String, String)>> {
    let own = |space: &BundleSpace| *space != BundleSpace::Caller;
    let one = |(name, value): (&String, &String)| {
        let what = format!("linux.sysctl: {name}");
        // A slash is a dot, and a name of a device with dots in it is written with slashes around it.
        let path = match name.contains('/') {
            true => name.clone(),
            false => name.replace('.', "/"),
        };
        let plain = |part: &str| {
            let known = |b: u8| b.is_ascii_alphanumeric() || b"_-.@".contains(&b);
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(known)
        };
        if !path.split('/').all(plain) || value.len() > VALUE_BYTES_MAX {
            return invalid(format!("{what} is not a valid kernel parameter"));
        }
        let allowed = if OF_IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
            own(&spaces.ipc)
        } else if path.starts_with("net/") {
            own(&spaces.network)
        } else {
            path == "kernel/domainname" && own(&spaces.uts)
        };
        match allowed {
            true => Ok((path, value.clone())),
            false => invalid(format!(
                "{what} is not one of the container's own namespaces"
            )),
        }
    };
    linux.sysctl.iter().map(one).collect()
}

fn personality(linux: &Linux) -> Result<Option<u64>> {
    const LINUX32: u64 = 8;
    let Some(wanted) = &linux.personality else {
        return Ok(None);
    };
    if !wanted.flags.is_empty() {
        return invalid("linux.personality: flags are not supported");
    }
    match wanted.domain.as_str() {
        "LINUX" => Ok(Some(0)),
        "LINUX32" => Ok(Some(LINUX32)),
        other => invalid(format!("linux.personality: {other:?} is unknown")),
    }
}

fn nodes(devices: &[Device]) -> Result<Vec<DeviceNode>> {
    if devices.len() > LIST_MAX {
        return invalid(format!("linux.devices: more than {LIST_MAX}"));
    }
    let node = |device: &Device| {
        let what = format!("linux.devices: {}", device.path);
        let number = |n: i64| {
            let fits = u32::try_from(n).ok().filter(|n| *n < 1 << 20);
            fits.ok_or_else(|| Error::Invalid(format!("{what}: there is no device number {n}")))
        };
        Ok(DeviceNode {
            path: absolute("linux.devices", &device.path)?,
            kind: match device.kind.as_str() {
                "b" => DeviceKind::Block,
                "c" | "u" => DeviceKind::Character,
                other => return invalid(format!("{what}: type {other:?} is not supported")),
            },
            major: number(device.major)?,
            minor: number(device.minor)?,
            mode: device.file_mode.unwrap_or(0o666) & 0o7777,
            uid: device.uid.unwrap_or(0),
            gid: device.gid.unwrap_or(0),
        })
    };
    devices.iter().map(node).collect()
}
