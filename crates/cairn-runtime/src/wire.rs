//! What init and monitor say to each other, over a socket pair that closes when the process begins.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::error::{Error, Result, Step};

/// A message of init.
#[derive(Debug)]
pub enum Message {
    /// Init itself, as a descriptor of a process.
    Process(OwnedFd),
    /// The other end of the process's terminal.
    Terminal(OwnedFd),
    /// Everything is set up; the process begins when told so.
    Ready,
    /// It failed: exit code and words.
    Failed(u8, String),
    /// The process has begun (the socket is closed).
    Begun,
}

const MESSAGE_BYTES_MAX: usize = 4096;

fn send(socket: impl AsFd, bytes: &[u8], fd: Option<&OwnedFd>) -> Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )
    .step("talk to the monitor")
    .map(drop)
}

/// Init: says which process it is.
pub fn send_process(socket: impl AsFd, pidfd: &OwnedFd) -> Result<()> {
    send(socket, b"P", Some(pidfd))
}

/// Init: hands over the terminal.
pub fn send_terminal(socket: impl AsFd, terminal: &OwnedFd) -> Result<()> {
    send(socket, b"T", Some(terminal))
}

/// Init: says that all is set up, and waits to be told to go.
pub fn ready(socket: impl AsFd) -> Result<()> {
    send(&socket, b"R", None)?;
    let mut go = [0; 1];
    match rustix::io::read(&socket, &mut go).step("wait for the monitor")? {
        1 => Ok(()),
        _ => Err(Error::Invalid("the monitor exited".into())),
    }
}

/// Init: says why it failed.
pub fn fail(socket: impl AsFd, code: u8, words: &str) -> Result<()> {
    let mut bytes = vec![b'E', code];
    bytes.extend_from_slice(&words.as_bytes()[..words.len().min(MESSAGE_BYTES_MAX - 2)]);
    send(socket, &bytes, None)
}

/// Monitor: lets the process begin.
pub fn go(socket: impl AsFd) -> Result<()> {
    send(socket, b"G", None)
}

/// One message of a socket: its length, and the descriptor that came with it.
pub fn receive_with(
    socket: impl AsFd,
    bytes: &mut [u8],
) -> rustix::io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut *bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            done => break done?,
        }
    };
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((received.bytes, fd))
}

/// Monitor: the next message.
pub fn receive(socket: impl AsFd) -> Result<Message> {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    let (length, fd) = receive_with(&socket, &mut bytes).step("read from init")?;
    match (&bytes[..length], fd) {
        ([], _) => Ok(Message::Begun),
        ([b'P'], Some(fd)) => Ok(Message::Process(fd)),
        ([b'T'], Some(fd)) => Ok(Message::Terminal(fd)),
        ([b'R'], _) => Ok(Message::Ready),
        ([b'E', code, words @ ..], _) => Ok(Message::Failed(
            *code,
            String::from_utf8_lossy(words).into_owned(),
        )),
        _ => Err(Error::Invalid("init sent an invalid message".into())),
    }
}
