//! `--sysctl`: kernel parameters of the container's own namespaces, and no others.

use cairn_runtime::Network;

use crate::error::{Error, Result};

const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];
const VALUE_BYTES_MAX: usize = 4096;

/// Reads `NAME=VALUE`: the path below `/proc/sys` and the value.
fn parse(text: &str, network: &Network, private_ipc: bool) -> Result<(String, String)> {
    let refused = |why: &str| Err(Error::Usage(format!("--sysctl {text}: {why}")));
    let Some((name, value)) = text.split_once('=') else {
        return refused("must be NAME=VALUE");
    };
    // A slash is a dot, and a name of a device with dots in it is written with slashes around it.
    let path = if name.contains('/') {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    if !path.split('/').all(plain) || value.len() > VALUE_BYTES_MAX {
        return refused("is not a valid kernel parameter");
    }
    let dotted = path.replace('/', ".");
    if OF_IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        if !private_ipc {
            return refused("is the host's with --ipc host");
        }
    } else if dotted.starts_with("net.") {
        if *network == Network::Host {
            return refused("is the host's; use --network none, or a network namespace");
        }
    } else {
        return refused("is a parameter of the whole host, not of a container");
    }
    Ok((path, value.to_owned()))
}

/// All parameters, as paths below `/proc/sys` with their values.
pub(crate) fn sysctls(
    texts: &[String],
    network: &Network,
    private_ipc: bool,
) -> Result<Vec<(String, String)>> {
    let one = |text: &String| parse(text, network, private_ipc);
    texts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_namespaces_are_taken() {
        let path = |text: &str| parse(text, &Network::None, true).ok().map(|(path, _)| path);
        assert_eq!(path("kernel.shmmax=1").as_deref(), Some("kernel/shmmax"));
        assert_eq!(
            path("net.ipv4.ip_forward=1").as_deref(),
            Some("net/ipv4/ip_forward")
        );
        assert_eq!(
            path("net/ipv4/conf/eth0.1/forwarding=1").as_deref(),
            Some("net/ipv4/conf/eth0.1/forwarding")
        );
        for bad in [
            "kernel.core_pattern=|/x",
            "kernel.hostname=x",
            "vm.swappiness=1",
            "fs.file-max=1",
            "net.ipv4.ip_forward",
            "net/../kernel/core_pattern=x",
            "net..x=1",
            "net/ipv4//x=1",
            "/net/x=1",
            "=1",
        ] {
            assert_eq!(path(bad), None, "{bad}");
        }
        assert!(parse("net.ipv4.ip_forward=1", &Network::Host, true).is_err());
        assert!(parse("kernel.shmmax=1", &Network::None, false).is_err());
    }
}
