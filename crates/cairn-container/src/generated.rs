//! The files that the network decides and not the image: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`.

use std::path::Path;

use cairn_runtime::{Mount, MountKind, Network, Origin};

use crate::error::{Error, Result, Step};

/// What the kernel takes (sethostname(2)).
const HOSTNAME_BYTES_MAX: usize = 64;

/// Refuses what is no host name.
pub fn check_hostname(name: &str) -> Result<()> {
    if name.len() > HOSTNAME_BYTES_MAX {
        return Err(Error::Usage(format!(
            "host name {name:?} has {} bytes, but at most {HOSTNAME_BYTES_MAX} are allowed; choose a shorter one with --hostname",
            name.len()
        )));
    }
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if name.is_empty() || !name.bytes().all(valid) {
        return Err(Error::Usage(format!(
            "{name:?} is not a valid host name: only letters, digits, -, . and _ are allowed"
        )));
    }
    Ok(())
}

/// Writes the files into the container's directory; the mounts that show them.
pub fn files(directory: &Path, hostname: &str, network: Network) -> Result<Vec<Mount>> {
    let local = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
    let resolv = match network {
        Network::Host => std::fs::read("/etc/resolv.conf").unwrap_or_default(),
        Network::None => Vec::new(),
    };
    let files = [
        (
            "hosts",
            format!("{local}127.0.1.1\t{hostname}\n").into_bytes(),
        ),
        ("hostname", format!("{hostname}\n").into_bytes()),
        ("resolv.conf", resolv),
    ];
    let mut mounts = Vec::new();
    for (name, text) in files {
        let source = directory.join(name);
        std::fs::write(&source, text).step(format!("write {}", source.display()))?;
        mounts.push(Mount {
            target: format!("/etc/{name}").into(),
            what: MountKind::Bind { source },
            read_only: false,
            origin: Origin::Generated,
        });
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::check_hostname;

    #[test]
    fn a_host_name_that_the_kernel_refuses_is_refused_first() {
        assert!(check_hostname(&"x".repeat(64)).is_ok());
        let e = check_hostname(&"x".repeat(65)).unwrap_err().to_string();
        assert!(e.contains("65 bytes") && e.contains("at most 64"), "{e}");
        assert!(check_hostname("").is_err() && check_hostname("a b").is_err());
    }
}
