//! What is mounted in a container beside its root: `-v`, `--tmpfs`, and the volumes an image declares.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use cairn_runtime::{Mount, MountKind, Origin, Text};

use crate::error::{Error, Result, Step};

/// A place in the container as the user writes it: absolute, and not the root itself.
fn absolute(target: &[u8]) -> Result<Text> {
    let names = normal(target);
    if target.first() == Some(&b'/') && !names.is_empty() {
        return Ok(Text::from(target.to_vec()));
    }
    Err(Error::Usage(format!(
        "{:?} is not a valid mount point: it must start with / and must not be / itself",
        String::from_utf8_lossy(target)
    )))
}

/// The names of a path, without empty ones and `.`; `..` goes back.
pub fn normal(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    for name in path.split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names
}

/// `HOST:CONTAINER[:ro|rw]`
pub fn volume(text: &Text) -> Result<Mount> {
    let parts: Vec<&[u8]> = text.as_bytes().split(|b| *b == b':').collect();
    let (source, target, read_only) = match parts[..] {
        [source, target] | [source, target, b"rw"] => (source, target, false),
        [source, target, b"ro"] => (source, target, true),
        _ => {
            return Err(Error::Usage(format!(
                "volume {:?}: write HOST:CONTAINER or HOST:CONTAINER:ro",
                text.lossy()
            )));
        }
    };
    let source = PathBuf::from(OsStr::from_bytes(source));
    let shown = source.display().to_string();
    let source = source.canonicalize().step(format!("volume {shown}"))?;
    Ok(Mount {
        target: absolute(target)?,
        what: MountKind::Bind { source },
        read_only,
        origin: Origin::User,
    })
}

/// `CONTAINER[:OPTIONS]`, by Docker's rules: not executable, without set-user-id bits and devices, unless the
/// options say otherwise; everything else is for the file system, whose own default is mode 1777.
pub fn tmpfs(text: &str) -> Result<Mount> {
    let (target, all) = text.split_once(':').unwrap_or((text, ""));
    let (mut exec, mut suid, mut dev, mut read_only) = (false, false, false, false);
    let mut options = Vec::new();
    for option in all.split(',').filter(|option| !option.is_empty()) {
        match option {
            "exec" => exec = true,
            "noexec" => exec = false,
            "suid" => suid = true,
            "nosuid" => suid = false,
            "dev" => dev = true,
            "nodev" => dev = false,
            "ro" => read_only = true,
            "rw" => read_only = false,
            // They change nothing that a file system in memory would tell.
            "defaults" | "async" | "sync" | "atime" | "noatime" | "diratime" | "nodiratime"
            | "relatime" | "norelatime" | "strictatime" | "nostrictatime" => {}
            _ => {
                let key = option.split_once('=').map(|(key, _)| key);
                let known = [
                    "size",
                    "mode",
                    "uid",
                    "gid",
                    "nr_inodes",
                    "nr_blocks",
                    "huge",
                ];
                if !key.is_some_and(|key| known.contains(&key)) {
                    return Err(Error::Usage(format!(
                        "tmpfs {target}: unknown option {option:?}; valid options are size=, mode=, uid=, gid=, nr_inodes=, nr_blocks=, huge=, ro, exec, suid and dev"
                    )));
                }
                options.push(option);
            }
        }
    }
    Ok(Mount {
        target: absolute(target.as_bytes())?,
        what: MountKind::Tmpfs {
            options: options.join(","),
            exec,
            suid,
            dev,
        },
        read_only,
        origin: Origin::User,
    })
}

/// What of the mounts the root file system has to have a mount point for: directories and files. What lies
/// below another mount is made there when its turn comes.
pub fn mount_points(mounts: &[Mount], cwd: &Text) -> (Vec<Text>, Vec<Text>) {
    let below_another = |mount: &Mount| {
        let names = normal(mount.target.as_bytes());
        mounts.iter().any(|other| {
            let above = normal(other.target.as_bytes());
            above.len() < names.len() && names.starts_with(&above)
        })
    };
    let mut directories: Vec<Text> = ["/proc", "/sys", "/dev"].map(Text::from).into();
    directories.push(cwd.clone());
    let mut files = Vec::new();
    for mount in mounts {
        let names = normal(mount.target.as_bytes());
        if names.first() == Some(&&b"dev"[..]) && names.len() > 1 || below_another(mount) {
            continue;
        }
        let is_directory = match &mount.what {
            MountKind::Bind { source } => source.is_dir(),
            MountKind::Tmpfs { .. } => true,
        };
        if is_directory {
            directories.push(mount.target.clone());
        } else {
            files.push(mount.target.clone());
        }
    }
    (directories, files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(target: &str) -> Mount {
        tmpfs(target).unwrap()
    }

    #[test]
    fn options_of_tmpfs_are_flags_of_the_mount_or_options_of_the_file_system() {
        let all = "/run:rw,noexec,nosuid,nodev,exec,suid,dev,mode=755,size=1m,uid=3,gid=4";
        let MountKind::Tmpfs {
            options,
            exec,
            suid,
            dev,
        } = mount(all).what
        else {
            unreachable!("it is a tmpfs")
        };
        assert_eq!(options, "mode=755,size=1m,uid=3,gid=4");
        assert!(exec && suid && dev);
        let MountKind::Tmpfs {
            exec, suid, dev, ..
        } = mount("/run:mode=755").what
        else {
            unreachable!("it is a tmpfs")
        };
        assert!(!exec && !suid && !dev);
        assert!(mount("/run:ro").read_only);
        for bad in ["/run:bogus", "run", "/", "/../..", "/run:source=/x"] {
            assert!(matches!(tmpfs(bad), Err(Error::Usage(_))), "{bad}");
        }
    }

    #[test]
    fn volumes_are_paths_of_the_host_and_of_the_container() {
        let given = volume(&Text::from("/tmp:/data/:ro")).unwrap();
        assert!(given.read_only && given.target == Text::from("/data/"));
        for bad in ["/tmp", "/tmp:data", "/tmp:/", "/tmp:/x:zz", "a:b:c:d"] {
            assert!(
                matches!(volume(&Text::from(bad)), Err(Error::Usage(_))),
                "{bad}"
            );
        }
        assert!(volume(&Text::from("/nonexistent-source:/x")).is_err());
    }

    #[test]
    fn only_what_no_other_mount_covers_needs_a_mount_point() {
        let mounts = [
            mount("/data"),
            mount("/data/sub/x"),
            mount("/dev/foo"),
            mount("/data2/"),
        ];
        let (directories, files) = mount_points(&mounts, &Text::from("/work"));
        let shown: Vec<String> = directories.iter().map(Text::lossy).collect();
        assert_eq!(
            shown,
            ["/proc", "/sys", "/dev", "/work", "/data", "/data2/"]
        );
        assert!(files.is_empty());
        assert_eq!(normal(b"//a/./b/../c/"), [b"a", b"c"]);
    }
}
