//! The wait between creation and start: process 1 listens at a socket in the container's directory, until
//! whoever starts it says so there. The connection then tells how that went: it closes as the program begins.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};

use crate::error::{Error, Result, Step};
use crate::wire::{self, Message};

const NAME: &str = "start";

/// The socket's name has 108 bytes at most (unix(7)), the directory's may have more.
fn address(directory: &Path) -> Result<(std::fs::File, SocketAddrUnix)> {
    let open = format!("open {}", directory.display());
    let directory = std::fs::File::open(directory).step(open)?;
    let path = format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd());
    let address = SocketAddrUnix::new(path).step("name a socket")?;
    Ok((directory, address))
}

fn socket() -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).step("create a socket")
}

/// Makes the place where the container in `directory` waits.
pub fn listen_in(directory: &Path) -> Result<OwnedFd> {
    let (_directory, address) = address(directory)?;
    let socket = socket()?;
    bind(&socket, &address).step("create the start socket")?;
    listen(&socket, 4).step("create the start socket")?;
    Ok(socket)
}

/// Process 1: waits to be started; where to say how it went.
pub fn wait(listener: &OwnedFd) -> Result<OwnedFd> {
    loop {
        let connection = match accept_with(listener, SocketFlags::CLOEXEC) {
            Err(rustix::io::Errno::INTR) => continue,
            done => done.step("wait to be started")?,
        };
        // Whoever went away without a word did not start it.
        if rustix::io::read(&connection, &mut [0; 1]) == Ok(1) {
            return Ok(connection);
        }
    }
}

/// True while the container in `directory` has not been started.
pub fn is_waiting(directory: &Path) -> bool {
    directory.join(NAME).exists()
}

/// Starts the container that waits in `directory`. Its program has begun when this returns.
pub fn start(directory: &Path) -> Result<()> {
    let (_directory, address) = address(directory)?;
    let socket = socket()?;
    connect(&socket, &address).step("reach the container that waits to be started")?;
    wire::go(&socket)?;
    let message = wire::receive(&socket);
    std::fs::remove_file(directory.join(NAME)).step("remove the start socket")?;
    match message? {
        Message::Begun => Ok(()),
        Message::Failed(code, words) => Err(Error::Init { code, words }),
        _ => Err(Error::Invalid("init sent an invalid message".into())),
    }
}
