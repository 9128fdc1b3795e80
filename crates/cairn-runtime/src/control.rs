//! The monitor's control socket: what others ask of a running container.
//!
//! One request a connection, a line of JSON each way. The monitor keeps what was asked for as long as the
//! connection is open: a frozen container thaws when whoever asked for it is done, interrupted or killed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cgroup::Frozen;
use crate::error::{Error, Result, Step};

const VERSION: u32 = 1;
/// How long the monitor waits for a client that says nothing, and a client for the monitor.
const PATIENCE: Duration = Duration::from_secs(2);
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    version: u32,
    request: Verb,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verb {
    /// Hold all processes still until the connection closes.
    Freeze,
    /// Hold all processes still until told otherwise.
    Pause,
    /// Let them go on.
    Unpause,
    /// Show the output of the container, and take input for it: frames follow.
    Attach,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    error: Option<String>,
}

/// Does something with the socket's name in `directory`, however long the directory's own path is: the name
/// of a socket has 108 bytes at most (unix(7)).
pub(crate) fn with_name<T>(
    directory: &Path,
    name: &str,
    act: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let directory = File::open(directory)?;
    let place = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    act(Path::new(&place))
}

/// Listens for requests to the container in `directory`.
pub(crate) fn listen(directory: &Path) -> Result<UnixListener> {
    // One of an earlier run that was killed.
    let _ = std::fs::remove_file(directory.join("control"));
    let listening = "listen at the container's control socket";
    let listener =
        with_name(directory, "control", |name| UnixListener::bind(name)).step(listening)?;
    listener.set_nonblocking(true).step(listening)?;
    Ok(listener)
}

/// A client and what is held for it.
pub(crate) struct Client {
    pub stream: UnixStream,
    frozen: Option<Rc<Frozen>>,
}

impl Client {
    /// Takes the next client, if there is one.
    pub fn accept(listener: &UnixListener) -> Option<Self> {
        let (stream, _) = listener.accept().ok()?;
        // A client that is slow does not hold the monitor up.
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self {
            stream,
            frozen: None,
        })
    }

    /// Does what the client asks, once its bytes are there; false when it is to be let go.
    pub fn serve(&mut self, asked: Asked<'_>) -> bool {
        let mut line = Vec::new();
        let mut reader = BufReader::new(std::io::Read::take(&self.stream, 4096));
        if !matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            return false;
        }
        let request = serde_json::from_slice::<Request>(&line);
        let request = request.ok().filter(|request| request.version == VERSION);
        let done = match &request {
            Some(request) => match self.act(request.request, asked) {
                // It has its answer, and is not this socket's client any more.
                Ok(()) if matches!(request.request, Verb::Attach) => return false,
                done => done.map_err(|e| cairn_model::one_line(&e)),
            },
            None => Err("the container's monitor is another version of cairn".to_owned()),
        };
        // Only what is held keeps the connection.
        let kept = self.frozen.is_some() && done.is_ok();
        let answer = Answer { error: done.err() };
        let bytes = serde_json::to_vec(&answer).unwrap_or_default();
        let written = self
            .stream
            .write_all(&bytes)
            .and_then(|()| self.stream.write_all(b"\n"));
        kept && written.is_ok()
    }

    fn act(&mut self, verb: Verb, asked: Asked<'_>) -> Result<()> {
        // One freezer serves all who want the container frozen.
        let held = || {
            let of_client = asked.others.iter().find_map(|client| client.frozen.clone());
            match of_client.or_else(|| asked.paused.clone()) {
                Some(shared) => Ok(shared),
                None => Frozen::freeze(asked.group, asked.pid).map(Rc::new),
            }
        };
        match verb {
            Verb::Freeze => self.frozen = Some(held()?),
            Verb::Pause if asked.paused.is_some() => {
                return Err(Error::Invalid("the container is paused already".into()));
            }
            Verb::Pause => {
                *asked.paused = Some(held()?);
                (asked.note)(true)?;
            }
            Verb::Unpause => {
                let paused = asked.paused.take();
                paused.ok_or_else(|| Error::Invalid("the container is not paused".into()))?;
                (asked.note)(false)?;
            }
            Verb::Attach => {
                let stream = self.stream.try_clone().step("attach a client")?;
                (asked.attach)(stream, b"{\"error\":null}\n")?;
            }
        }
        Ok(())
    }
}

/// What a request is about.
pub(crate) struct Asked<'a> {
    /// The container's groups.
    pub group: &'a str,
    /// Its process 1.
    pub pid: i32,
    /// Who else is there.
    pub others: &'a [Client],
    /// What holds it still for no client in particular.
    pub paused: &'a mut Option<Rc<Frozen>>,
    /// Writes down whether it is paused.
    pub note: &'a mut dyn FnMut(bool) -> Result<()>,
    /// Takes a client that wants to see the output, and tells it by these bytes.
    pub attach: &'a dyn Fn(UnixStream, &[u8]) -> Result<()>,
}

/// A container held still by its monitor until this is dropped, or its process ends however it may.
#[derive(Debug)]
#[must_use = "the container runs on as soon as this is dropped"]
pub struct FrozenContainer {
    _connection: UnixStream,
}

/// Asks the monitor of the container in `directory` to hold it still; fails where it cannot be sure that it
/// does.
pub fn freeze(directory: &Path) -> Result<FrozenContainer> {
    ask(directory, Verb::Freeze).map(|connection| FrozenContainer {
        _connection: connection,
    })
}

/// Holds the container in `directory` still until [`unpause`], or its end.
pub fn pause(directory: &Path) -> Result<()> {
    ask(directory, Verb::Pause).map(drop)
}

/// Lets the container in `directory` go on.
pub fn unpause(directory: &Path) -> Result<()> {
    ask(directory, Verb::Unpause).map(drop)
}

/// A connection that carries the streams of the container in `directory`.
pub(crate) fn attach(directory: &Path) -> Result<UnixStream> {
    let connection = ask(directory, Verb::Attach)?;
    connection
        .set_read_timeout(None)
        .step("ask the container's monitor")?;
    Ok(connection)
}

/// The line of an answer, and nothing of what follows it.
fn read_answer(mut stream: &UnixStream) -> std::io::Result<Vec<u8>> {
    const ANSWER_BYTES_MAX: usize = 65536;
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < ANSWER_BYTES_MAX
        && std::io::Read::read(&mut stream, &mut byte)? == 1
        && byte != *b"\n"
    {
        line.extend(byte);
    }
    Ok(line)
}

/// Asks the monitor of the container in `directory`, which does what is asked before it answers.
fn ask(directory: &Path, verb: Verb) -> Result<UnixStream> {
    let ask = "ask the container's monitor";
    let mut stream = with_name(directory, "control", |name| UnixStream::connect(name)).step(ask)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE)).step(ask)?;
    let request = Request {
        version: VERSION,
        request: verb,
    };
    let mut bytes = serde_json::to_vec(&request)
        .map_err(std::io::Error::other)
        .step(ask)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).step(ask)?;
    let line = read_answer(&stream).step(ask)?;
    match serde_json::from_slice::<Answer>(&line) {
        Ok(Answer { error: None }) => Ok(stream),
        Ok(Answer { error: Some(words) }) => Err(Error::Invalid(words)),
        Err(_) => Err(Error::Invalid(
            "the container ended before its monitor could answer".into(),
        )),
    }
}
