//! Tells the service manager that a container runs, by the protocol of `sd_notify(3)`.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says `READY=1`, with the process that the manager should watch, where `NOTIFY_SOCKET` names a socket. A
/// manager that does not listen is its own affair: the container runs all the same.
pub(crate) fn ready() {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(e) = send(&socket, std::process::id())
    {
        tracing::warn!(error = %e, "the service manager cannot be told");
    }
}

fn send(socket: &OsStr, main: u32) -> std::io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => {
            return Err(std::io::Error::other(
                "NOTIFY_SOCKET is neither a path nor a name",
            ));
        }
    };
    let words = format!("READY=1\nMAINPID={main}\n");
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
            send(&address, 42).unwrap();
            let mut words = [0; 100];
            let length = socket.recv(&mut words).unwrap();
            assert_eq!(&words[..length], b"READY=1\nMAINPID=42\n");
        }
        for bad in ["", "relative", "/nosuch/socket", "@nobody-listens-there"] {
            assert!(send(OsStr::new(bad), 1).is_err(), "{bad}");
        }
    }
}
