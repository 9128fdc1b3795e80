//! The socket: systemd's, or one that is made; and who may speak at it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener as Listener;
use std::path::{Path, PathBuf};

use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::Sender;

use crate::error::{At, Error, Result};

/// The first descriptor that systemd hands over (sd_listen_fds(3)).
const FIRST: i32 = 3;
/// How long to wait where no descriptor is left for another client.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// A socket to listen at; what was made for it goes with it.
pub(crate) struct Socket {
    listener: Listener,
    made: Option<Made>,
}

/// A file that was made for a socket, and the lock that says so.
struct Made {
    path: PathBuf,
    _lock: File,
}

impl Drop for Made {
    fn drop(&mut self) {
        // The next server takes away what is left.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The socket that systemd handed over to this process.
fn handed_over() -> Result<Option<Listener>> {
    let text = |name: &str| std::env::var(name).ok();
    let is_ours = text("LISTEN_PID") == Some(std::process::id().to_string());
    let Some(count) = text("LISTEN_FDS").filter(|_| is_ours) else {
        return Ok(None);
    };
    if count != "1" {
        return Err(Error::Sockets(count));
    }
    let socket: io::Result<OwnedFd> = cairn_sys::inherited(FIRST);
    let socket = socket.at("take over", Path::new("the socket of systemd"))?;
    Ok(Some(Listener::from(socket)))
}

/// Beside the socket: held by the server that listens at it.
fn lock(path: &Path) -> Result<File> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let name = Path::new(&name);
    let mut options = File::options();
    options.create(true).write(true).truncate(false);
    let file = options.open(name).at("open", name)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Taken(path.to_owned())),
        Err(e) => Err(io::Error::from(e)).at("lock", name),
    }
}

fn group_id(name: &str) -> Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let text = std::fs::read_to_string("/etc/group").at("read", Path::new("/etc/group"))?;
    let id = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        fields.nth(1).filter(|_| found)?.parse().ok()
    });
    id.ok_or_else(|| Error::NoGroup(name.to_owned()))
}

impl Socket {
    /// The one of systemd, or a new one at `path` that `group` may use beside root.
    pub fn open(path: &Path, group: Option<u32>) -> Result<Self> {
        if let Some(listener) = handed_over()? {
            return Ok(Self {
                listener,
                made: None,
            });
        }
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).at("create directory", directory)?;
        }
        let lock = lock(path)?;
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).at("remove", path),
            _ => {}
        }
        let listener = Listener::bind(path).at("listen at", path)?;
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .at("change the mode of", path)?;
        if group.is_some() {
            chown(path, None, group).at("change the group of", path)?;
        }
        let made = Made {
            path: path.to_owned(),
            _lock: lock,
        };
        Ok(Self {
            listener,
            made: Some(made),
        })
    }

    /// The group by name or number.
    pub fn group(name: Option<&str>) -> Result<Option<u32>> {
        name.map(group_id).transpose()
    }

    /// Passes connections on until the receiver is gone.
    pub async fn accept(
        self,
        group: Option<u32>,
        to: Sender<io::Result<UnixStream>>,
    ) -> Result<()> {
        let Self { listener, made } = self;
        let place = Path::new("the socket");
        listener.set_nonblocking(true).at("prepare", place)?;
        let listener = UnixListener::from_std(listener).at("listen at", place)?;
        while !to.is_closed() {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if may_speak(&stream, group) && to.send(Ok(stream)).await.is_err() {
                            break;
                        }
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "cannot take a connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                () = to.closed() => break,
            }
        }
        drop(made);
        Ok(())
    }
}

/// Root, the user of the server, and members of the group.
fn may_speak(stream: &UnixStream, group: Option<u32>) -> bool {
    let Ok(peer) = stream.peer_cred() else {
        return false;
    };
    let own = rustix::process::geteuid().as_raw();
    let may = peer.uid() == 0 || peer.uid() == own || group.is_some_and(|g| is_member(&peer, g));
    if !may {
        tracing::warn!(
            uid = peer.uid(),
            "a connection was refused: not root or of the group"
        );
    }
    may
}

fn is_member(peer: &UCred, group: u32) -> bool {
    let of_process = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", peer.pid()?)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Groups:"))?;
        Some(line.split_whitespace().any(|id| id.parse() == Ok(group)))
    };
    peer.gid() == group || of_process().unwrap_or(false)
}
