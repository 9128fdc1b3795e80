//! Cairn as an OCI runtime: containers created from bundles (runtime-spec 1.2), for tools that drive one.
//!
//! **Invariant:** a document takes effect as it is written or is refused with a line; nothing of it is applied
//! before all of it was understood. No process of ours stays: a container's state is what its file and the kernel
//! say.
//!
//! ```
//! // A document of resources, as `update` takes it.
//! let limits = cairn_oci::limits_of(br#"{"memory": {"limit": 67108864}, "devices": null}"#);
//! assert_eq!(limits.unwrap().more[0].name, "linux.resources.memory.limit");
//! assert!(cairn_oci::limits_of(br#"{"pids": {"limit": 1e99}}"#).is_err());
//! ```

mod container;
mod create;
mod delete;
mod document;
mod error;
mod events;
mod exec;
mod features;
mod hooks;
mod kill;
mod understand;
mod update;
mod written;

pub use container::{Container, Root, RuntimeState, Status};
pub use create::{Creating, create, start};
pub use delete::delete;
pub use error::{Error, Result};
pub use events::{Figures, figures};
pub use exec::{Changes, Joining, exec};
pub use features::features;
pub use kill::{kill, kill_all, pause, resume};
pub use update::{limits_of, update};
pub use written::{Files, document_of};

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use error::Context;

/// Where processes of a container have their standard streams.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// The caller does not stay: streams are its own, and the container outlives it.
    pub detach: bool,
    /// A socket that takes the other end of the process's terminal.
    pub console_socket: Option<PathBuf>,
    /// A file that takes the process's number.
    pub pid_file: Option<PathBuf>,
}

impl Connection {
    fn check(&self, terminal: bool) -> Result<()> {
        let refused = |why: &str| Err(Error::Invalid(why.to_owned()));
        match (terminal, self.detach, self.console_socket.is_some()) {
            (true, true, false) => refused(
                "cannot allocate a terminal without a console socket while detaching; use --console-socket",
            ),
            (_, false, true) => refused("--console-socket needs a detached process"),
            (false, _, true) => {
                refused("--console-socket needs process.terminal; the process has no terminal")
            }
            _ => Ok(()),
        }
    }

    /// Hands the terminal over.
    fn give(&self, terminal: &OwnedFd) -> Result<()> {
        let Some(path) = &self.console_socket else {
            return Ok(());
        };
        let step = || format!("send the terminal to {}", path.display());
        let socket = std::os::unix::net::UnixStream::connect(path).step(step())?;
        send(&socket, terminal).step(step())
    }

    /// Writes the number down, as a whole or not at all.
    fn note(&self, pid: i32) -> Result<()> {
        match &self.pid_file {
            Some(path) => write_whole(path, pid.to_string().as_bytes(), 0o644),
            None => Ok(()),
        }
    }
}

/// Sends a descriptor with its name, as runc does.
fn send(socket: &std::os::unix::net::UnixStream, fd: &OwnedFd) -> std::io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let name = [std::io::IoSlice::new(b"/dev/ptmx")];
    sendmsg(socket, &name, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Writes a file so that nobody sees a part of it.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let step = || format!("write {}", path.display());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut options = std::fs::File::options();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), mode);
    let mut file = options.open(&temporary).step(step())?;
    let written = std::io::Write::write_all(&mut file, bytes)
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.step(step())
}
