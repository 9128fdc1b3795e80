//! Options that Docker's `run` has and Cairn's does not: each is refused by name, with a way on.

const NO_PORTS: &str =
    "name each port with -p HOST:CONTAINER; on the host's network a server listens directly";
const NO_ADDRESSES: &str = "set the network up yourself and use --network ns:PATH";
const NO_HEALTH: &str = "health checks are not run";
const NO_LOG_DRIVER: &str = "output goes to standard output, or to \"cairn logs\" with -d";
const NO_THROTTLE: &str = "use --blkio-weight";

const OPTIONS: [(&str, &str); 44] = [
    ("--annotation", "use --label"),
    (
        "--attach",
        "output is connected unless -d is given; use -i for input",
    ),
    (
        "-a",
        "output is connected unless -d is given; use -i for input",
    ),
    ("--blkio-weight-device", NO_THROTTLE),
    (
        "--cgroup-parent",
        "a container has control groups of its own",
    ),
    ("--cgroupns", "a container sees its own control groups only"),
    ("--cpu-period", "use --cpus"),
    ("--cpu-quota", "use --cpus"),
    ("--cpu-rt-period", "use --cpus"),
    ("--cpu-rt-runtime", "use --cpus"),
    ("--cpuset-mems", "use --cpuset-cpus"),
    ("--device-read-bps", NO_THROTTLE),
    ("--device-read-iops", NO_THROTTLE),
    ("--device-write-bps", NO_THROTTLE),
    ("--device-write-iops", NO_THROTTLE),
    ("--domainname", "use --hostname"),
    ("--expose", NO_PORTS),
    ("--gpus", "use --device and -v"),
    (
        "--group-add",
        "use -u USER:GROUP, or the image's /etc/group",
    ),
    ("--health-cmd", NO_HEALTH),
    ("--health-interval", NO_HEALTH),
    ("--health-retries", NO_HEALTH),
    ("--health-start-period", NO_HEALTH),
    ("--health-timeout", NO_HEALTH),
    ("--no-healthcheck", "health checks are not run anyway"),
    ("--ip", NO_ADDRESSES),
    ("--ip6", NO_ADDRESSES),
    ("--isolation", "it is for Windows"),
    (
        "--kernel-memory",
        "use --memory, which counts the kernel's memory, too",
    ),
    ("--label-file", "use --label"),
    ("--link", "use --add-host"),
    ("--log-driver", NO_LOG_DRIVER),
    ("--log-opt", NO_LOG_DRIVER),
    ("--mac-address", NO_ADDRESSES),
    ("--memory-swappiness", "use --memory-swap"),
    ("--network-alias", NO_ADDRESSES),
    ("--oom-kill-disable", "use --memory with a larger limit"),
    ("--oom-score-adj", "use --memory"),
    ("--publish-all", NO_PORTS),
    ("-P", NO_PORTS),
    (
        "--restart",
        "let a service manager run it in the foreground",
    ),
    ("--sig-proxy", "signals are passed on; see \"cairn attach\""),
    ("--storage-opt", "the repository's file system is the limit"),
    (
        "--volume-driver",
        "volumes are directories of the repository",
    ),
];

/// Says why an option of Docker's is not there, and what to do, where that is what is wrong with the command
/// line.
pub fn explain(error: &clap::Error) -> bool {
    use clap::error::{ContextKind, ErrorKind};
    let command = std::env::args().find(|word| word == "run" || word == "create");
    if command.is_none() || error.kind() != ErrorKind::UnknownArgument {
        return false;
    }
    let option = error.get(ContextKind::InvalidArg);
    let words = option.and_then(|option| instead(&option.to_string()));
    if let Some(words) = &words {
        crate::output::say(words);
    }
    words.is_some()
}

fn instead(option: &str) -> Option<String> {
    let name = option.split('=').next().unwrap_or(option);
    let (_, instead) = OPTIONS.iter().find(|(known, _)| *known == name)?;
    Some(format!("{name} is not supported: {instead}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn only_what_is_not_there_is_called_unsupported() {
        let run = crate::args::Cli::command();
        let run = run.find_subcommand("run").unwrap();
        for (name, _) in OPTIONS {
            let bare = name.trim_start_matches('-');
            let there = run.get_arguments().any(|argument| {
                argument.get_long() == Some(bare)
                    || argument.get_short().map(|c| c.to_string()).as_deref() == Some(bare)
            });
            assert!(!there, "{name}");
        }
        let words = instead("--expose=80").unwrap();
        assert!(words.starts_with("--expose is not supported: "));
        assert_eq!(instead("--bogus"), None);
    }
}
