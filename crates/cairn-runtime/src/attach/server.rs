//! The monitor's side: clients that see the output of the container, and what they type.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{SendFlags, send};
use rustix::termios::{Winsize, tcsetwinsize};

use super::frame::{self, Frame};
use crate::error::{Error, Result, Step};
use crate::log::LogStream;
use crate::monitor::ends::{Terminal, write_all};

/// How long the container waits for a client to take a frame.
pub const PATIENCE: Duration = Duration::from_secs(2);
const CLIENTS_MAX: usize = 64;
/// Stack of the thread that reads what a client types.
const STACK_BYTES: usize = 128 << 10;

/// Who sees the output of a container. Output is written by one thread a stream, so that frames stay whole under
/// the lock.
#[derive(Clone, Default)]
pub struct Clients(Arc<Mutex<Vec<Arc<UnixStream>>>>);

impl Clients {
    fn all(&self) -> MutexGuard<'_, Vec<Arc<UnixStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; `input` gets what it types. It is told by `greeting`, after which it misses nothing.
    pub fn add(&self, client: UnixStream, greeting: &[u8], input: Arc<Input>) -> Result<()> {
        let mut all = self.all();
        if all.len() >= CLIENTS_MAX {
            return Err(Error::Invalid(format!(
                "{CLIENTS_MAX} clients are attached already"
            )));
        }
        client.set_read_timeout(None).step("attach a client")?;
        send_whole(&client, greeting, Instant::now() + PATIENCE).step("attach a client")?;
        let client = Arc::new(client);
        let (reader, clients) = (client.clone(), self.clone());
        let read = move || {
            read(&reader, &input);
            // It has gone, or is to go.
            clients.all().retain(|other| !Arc::ptr_eq(other, &reader));
            let _ = reader.shutdown(std::net::Shutdown::Both);
        };
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(read)
            .step("start a thread")?;
        all.push(client);
        Ok(())
    }

    /// Shows output to all; whoever does not take it is cut off.
    pub fn write(&self, stream: LogStream, bytes: &[u8]) {
        let mut all = self.all();
        if all.is_empty() {
            return;
        }
        let kind = match stream {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
        };
        for piece in bytes.chunks(frame::FRAME_BYTES_MAX) {
            let frame = frame::bytes(kind, piece);
            all.retain(|client| is_taken(client, &frame));
        }
    }

    /// Tells all that the container ended, and lets them go.
    pub fn end(&self, code: u8) {
        let frame = Frame::End(code).encode();
        for client in self.all().drain(..) {
            if is_taken(&client, &frame) {
                let _ = client.shutdown(std::net::Shutdown::Write);
            }
        }
    }
}

/// Sends a frame; false where the client is gone or too slow, and is cut off.
fn is_taken(client: &UnixStream, frame: &[u8]) -> bool {
    let sent = send_whole(client, frame, Instant::now() + PATIENCE);
    if sent.is_err() {
        // Its reader ends, too.
        let _ = client.shutdown(std::net::Shutdown::Both);
    }
    sent.is_ok()
}

fn send_whole(client: &UnixStream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(client, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                let mut fds = [PollFd::new(client.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut fds, left);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Passes on what a client types until it goes.
fn read(mut client: &UnixStream, input: &Input) {
    while let Ok(Some(frame)) = Frame::read(&mut client) {
        match frame {
            Frame::Input(bytes) => input.write(&bytes),
            Frame::Size { rows, columns } => input.resize(rows, columns),
            _ => break,
        }
    }
}

/// Where input of the container goes.
pub enum Input {
    /// Nowhere.
    None,
    /// A pipe, until somebody closes it.
    Pipe(Mutex<Option<OwnedFd>>),
    /// A terminal, with or without input: its size counts anyway.
    Terminal { terminal: Terminal, open: bool },
}

impl Input {
    /// Writes it on. What nobody takes any more is dropped.
    pub fn write(&self, bytes: &[u8]) {
        self.take(bytes);
    }

    /// The same; false where nobody takes it any more.
    pub fn take(&self, bytes: &[u8]) -> bool {
        match self {
            Self::None | Self::Terminal { open: false, .. } => false,
            Self::Pipe(pipe) => {
                let pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
                pipe.as_ref().is_some_and(|fd| write_all(fd.as_fd(), bytes))
            }
            Self::Terminal { terminal, .. } => {
                // Not under the lock: a program that does not read must not keep others from the terminal.
                let shared = terminal.lock().unwrap_or_else(PoisonError::into_inner);
                let own = shared.as_ref().and_then(|fd| fd.try_clone().ok());
                drop(shared);
                own.is_some_and(|fd| write_all(fd.as_fd(), bytes))
            }
        }
    }

    /// Ends a pipe.
    pub fn close(&self) {
        if let Self::Pipe(pipe) = self {
            pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    fn resize(&self, rows: u16, columns: u16) {
        if let Self::Terminal { terminal, .. } = self {
            let shared = terminal.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(master) = shared.as_ref() {
                let size = Winsize {
                    ws_row: rows,
                    ws_col: columns,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                // One that is gone has no size.
                let _ = tcsetwinsize(master, size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_client_that_reads_nothing_is_cut_off_and_others_see_everything() {
        let clients = Clients::default();
        let (good, theirs) = UnixStream::pair().unwrap();
        let (_stuck, stuck) = UnixStream::pair().unwrap();
        clients.add(theirs, b"", Arc::new(Input::None)).unwrap();
        clients.add(stuck, b"", Arc::new(Input::None)).unwrap();
        let reader = std::thread::spawn(move || {
            let (mut good, mut bytes) = (good, 0);
            while let Ok(Some(frame)) = Frame::read(&mut good) {
                match frame {
                    Frame::Stdout(content) => bytes += content.len(),
                    Frame::End(code) => return (bytes, code),
                    _ => {}
                }
            }
            (bytes, 255)
        });
        let piece = vec![b'x'; 100_000];
        (0..40).for_each(|_| clients.write(LogStream::Stdout, &piece));
        assert_eq!(clients.all().len(), 1);
        clients.end(7);
        assert_eq!(reader.join().unwrap(), (4_000_000, 7));
    }

    #[test]
    fn input_of_several_clients_reaches_the_pipe_until_it_is_closed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let input = Arc::new(Input::Pipe(Mutex::new(Some(writer.into()))));
        let clients = Clients::default();
        for text in [&b"one"[..], b"two"] {
            let (client, theirs) = UnixStream::pair().unwrap();
            clients.add(theirs, b"", input.clone()).unwrap();
            io::Write::write_all(&mut &client, &Frame::Input(text.to_vec()).encode()).unwrap();
            let mut bytes = [0; 3];
            reader.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, text);
        }
        let start = Instant::now();
        while !clients.all().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "they have gone");
        }
        input.close();
        assert!(!input.take(b"x"));
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    }
}
