//! Tells the service manager that a container runs, by the protocol of `sd_notify(3)`.
//!
//! The monitor speaks, also where it only passes on what the container says: the manager knows it as the service's
//! process, and the container cannot speak about other processes.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Result, Step};

/// Where a container finds the socket that is meant for it.
pub const SOCKET: &str = "/run/notify/notify.sock";
/// More than that is no message of this protocol.
const MESSAGE_BYTES_MAX: usize = 4096;
/// What a container may say about itself.
const PASSED_ON: [&str; 6] = [
    "READY=1",
    "RELOADING=1",
    "STOPPING=1",
    "STATUS=",
    "WATCHDOG=1",
    "EXTEND_TIMEOUT_USEC=",
];

/// Who tells the service manager that a container is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Notify {
    /// The monitor, as soon as the process has begun.
    Monitor,
    /// The container; the monitor passes it on.
    Container,
    /// Nobody.
    Ignore,
}

/// Where the socket of a container is on the host.
pub fn place(directory: &Path) -> PathBuf {
    directory.join("notify")
}

/// Says `READY=1`, with the process that the manager should watch, where `NOTIFY_SOCKET` names a socket. A
/// manager that does not listen is its own affair: the container runs all the same.
pub(crate) fn ready() {
    say(&format!("READY=1\nMAINPID={}\n", std::process::id()));
}

fn say(words: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(e) = send(&socket, words)
    {
        tracing::warn!(error = %e, "the service manager cannot be told");
    }
}

/// The socket at which a container speaks.
pub(crate) struct Heard(UnixDatagram);

impl Heard {
    /// Listens for the container in `directory`; whatever its users, they may write to it.
    pub fn listen(directory: &Path) -> Result<Self> {
        let path = place(directory);
        let step = || format!("listen at {}", path.display());
        // One of an earlier run.
        let _ = std::fs::remove_file(&path);
        let socket =
            crate::control::with_name(directory, "notify", |name| UnixDatagram::bind(name));
        let socket = socket.step(step())?;
        socket.set_nonblocking(true).step(step())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).step(step())?;
        Ok(Self(socket))
    }

    /// Readable when the container has said something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Passes on what the container has said.
    pub fn pass_on(&self) {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        while let Ok(length) = self.0.recv(&mut bytes) {
            let words = of_container(&String::from_utf8_lossy(&bytes[..length]));
            if !words.is_empty() {
                say(&words);
            }
        }
    }
}

/// What is passed on of a container's message; that it is ready with the process to watch.
fn of_container(message: &str) -> String {
    let allowed = |line: &&str| PASSED_ON.iter().any(|start| line.starts_with(start));
    let said = |line: &str| match line {
        "READY=1" => format!("READY=1\nMAINPID={}\n", std::process::id()),
        line => format!("{line}\n"),
    };
    message.lines().filter(allowed).map(said).collect()
}

fn send(socket: &OsStr, words: &str) -> std::io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => {
            return Err(std::io::Error::other(
                "NOTIFY_SOCKET is neither a path nor a name",
            ));
        }
    };
    UnixDatagram::unbound()?.send_to_addr(words.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_by_path_or_by_name_is_told() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let name = format!("cairn-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
                format!("@{name}").into(),
            ),
        ];
        for (socket, address) in sockets {
            send(&address, "READY=1\n").unwrap();
            let mut words = [0; 100];
            let length = socket.recv(&mut words).unwrap();
            assert_eq!(&words[..length], b"READY=1\n");
        }
        for bad in ["", "relative", "/nosuch/socket", "@nobody-listens-there"] {
            assert!(send(OsStr::new(bad), "READY=1\n").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_container_speaks_about_itself_only() {
        let message = "STATUS=working\nMAINPID=1\nREADY=1\nFDSTORE=1\nX=READY=1";
        let main = std::process::id();
        assert_eq!(
            of_container(message),
            format!("STATUS=working\nREADY=1\nMAINPID={main}\n")
        );
        assert_eq!(of_container("MAINPID=1\n"), "");
    }
}
