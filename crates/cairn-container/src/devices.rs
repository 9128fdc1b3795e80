//! Devices, as the user writes them.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use cairn_runtime::{DeviceKind, DeviceNode, DeviceRule};

use crate::error::{Result, Step, usage};

/// Nodes for all devices of the host that are not in every container anyway.
pub(crate) fn all_devices() -> Result<Vec<DeviceNode>> {
    const NODES_MAX: usize = 10_000;
    const OWN: [&str; 12] = [
        "pts",
        "shm",
        "mqueue",
        "hugepages",
        "console",
        "ptmx",
        "tty",
        "null",
        "zero",
        "full",
        "random",
        "urandom",
    ];
    let mut nodes = Vec::new();
    let mut ahead = vec![PathBuf::from("/dev")];
    while let Some(directory) = ahead.pop() {
        let entries =
            std::fs::read_dir(&directory).step(format!("read {}", directory.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.strip_prefix("/dev").unwrap_or(&path);
            // What has gone since is not there.
            let Ok(meta) = path.symlink_metadata() else {
                continue;
            };
            if OWN.iter().any(|own| name == Path::new(own)) || nodes.len() >= NODES_MAX {
                continue;
            }
            let kind = meta.file_type();
            if kind.is_dir() {
                ahead.push(path);
            } else if kind.is_block_device() || kind.is_char_device() {
                nodes.extend(device(&path.to_string_lossy()).map(|(node, _)| node).ok());
            }
        }
    }
    nodes.sort_by(|a: &DeviceNode, b| a.path.cmp(&b.path));
    Ok(nodes)
}

fn access(letters: &str) -> Option<(bool, bool, bool)> {
    let known = !letters.is_empty() && letters.chars().all(|c| "rwm".contains(c));
    let has = |c| letters.contains(c);
    known.then(|| (has('r'), has('w'), has('m')))
}

/// `HOST[:CONTAINER][:rwm]`
pub(crate) fn device(text: &str) -> Result<(DeviceNode, DeviceRule)> {
    const OPTION: &str = "--device";
    let parts: Vec<&str> = text.split(':').collect();
    let (host, target, letters) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, letters] if access(letters).is_some() => (host, host, letters),
        [host, target] => (host, target, "rwm"),
        [host, target, letters] => (host, target, letters),
        _ => return usage(OPTION, text, "must be HOST[:CONTAINER][:rwm]"),
    };
    let Some((read, write, make)) = access(letters) else {
        return usage(OPTION, text, "access must be letters of rwm");
    };
    let below = Path::new(target).strip_prefix("/dev").ok();
    let plain = |path: &&Path| {
        path.components().count() > 0
            && path.components().all(|c| matches!(c, Component::Normal(_)))
    };
    let Some(path) = below.filter(plain).and_then(Path::to_str) else {
        return usage(OPTION, text, "the path in the container must be below /dev");
    };
    let meta = std::fs::metadata(host).step(format!("{OPTION} {host}"))?;
    let kind = match meta.file_type() {
        kind if kind.is_block_device() => DeviceKind::Block,
        kind if kind.is_char_device() => DeviceKind::Character,
        _ => return usage(OPTION, text, "is not a device"),
    };
    let (major, minor) = (
        rustix::fs::major(meta.rdev()),
        rustix::fs::minor(meta.rdev()),
    );
    let node = DeviceNode {
        path: path.to_owned(),
        kind,
        major,
        minor,
        mode: meta.mode() & 0o777,
        uid: meta.uid(),
        gid: meta.gid(),
    };
    let rule = DeviceRule {
        kind: Some(kind),
        major: Some(major),
        minor: Some(minor),
        read,
        write,
        make,
    };
    Ok((node, rule))
}

/// `TYPE MAJOR:MINOR ACCESS`, where numbers may be `*`.
pub(crate) fn rule(text: &str) -> Result<DeviceRule> {
    const OPTION: &str = "--device-cgroup-rule";
    let refused = || {
        usage(
            OPTION,
            text,
            "must be TYPE MAJOR:MINOR ACCESS, such as \"c 13:* rwm\"",
        )
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let [kind, numbers, letters] = words[..] else {
        return refused();
    };
    let kind = match kind {
        "a" => None,
        "b" => Some(DeviceKind::Block),
        "c" => Some(DeviceKind::Character),
        _ => return refused(),
    };
    let number = |text: &str, most: u32| match text {
        "*" => Some(None),
        text if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().ok().filter(|n| *n <= most).map(Some)
        }
        _ => None,
    };
    let Some((major, minor)) = numbers.split_once(':') else {
        return refused();
    };
    let numbers = (number(major, 0xfff), number(minor, 0xf_ffff));
    match (numbers, access(letters)) {
        ((Some(major), Some(minor)), Some((read, write, make))) => Ok(DeviceRule {
            kind,
            major,
            minor,
            read,
            write,
            make,
        }),
        _ => refused(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_by_path_and_by_rule() {
        let (node, given) = device("/dev/null:/dev/zip:r").unwrap();
        assert_eq!((node.path.as_str(), node.major, node.minor), ("zip", 1, 3));
        assert!(given.read && !given.write && !given.make);
        assert_eq!(device("/dev/null:rw").unwrap().0.path, "null");
        for bad in [
            "/etc/passwd",
            "/dev/null:/etc/x",
            "/dev/null:/dev/../etc/x",
            "/dev/null:/dev",
            "/dev/null:/dev/x:rwx",
            "/dev/nonexistent",
            "a:b:c:d",
        ] {
            assert!(device(bad).is_err(), "{bad}");
        }
        let all = rule("c 13:* rw").unwrap();
        assert_eq!((all.major, all.minor, all.make), (Some(13), None, false));
        assert_eq!(rule("a *:* m").unwrap().kind, None);
        for bad in [
            "",
            "c 13 rw",
            "x 1:1 r",
            "c 1:1",
            "c -1:1 r",
            "c 1:1 rz",
            "c 9999:0 r",
        ] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }
}
