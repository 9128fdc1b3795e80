//! `--tmpfs CONTAINER[:OPTIONS]`

use cairn_runtime::{Mount, MountKind, Origin};

use super::absolute;
use crate::error::{Error, Result};

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
}
