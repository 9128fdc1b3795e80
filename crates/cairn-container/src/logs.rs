//! The output of containers.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use cairn_model::Moment;
use cairn_runtime::{LogReader, LogRecord, LogStream, State};

use crate::error::{Error, Result, Step};

const LOOK_AGAIN: Duration = Duration::from_millis(50);
const BUFFER_BYTES: usize = 32 << 10;

/// Which lines of a log are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Those that are written later, too, until the container ends.
    pub follow: bool,
    /// Not those that were begun before.
    pub since: Option<Moment>,
    /// Not those that were begun later.
    pub until: Option<Moment>,
    /// Of those that are there already, so many at the end.
    pub tail: Option<u64>,
    /// Times matter: a log without any is refused.
    pub times: bool,
}

/// What is handed out of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPiece {
    /// A line or a piece of one; true where it begins the line.
    Record(LogRecord, bool),
    /// Bytes of a log as earlier versions wrote it, without times and streams.
    Plain(Vec<u8>),
    /// There is no more for now.
    Pause,
}

/// Which line of its stream a record belongs to.
#[derive(Default)]
struct Lines {
    /// Lines that were begun, of both streams together.
    begun: u64,
    open: [Option<(u64, Moment)>; 2],
}

impl Lines {
    /// Number and time of the record's line, and whether it begins it.
    fn take(&mut self, record: &LogRecord) -> (u64, Moment, bool) {
        let open = &mut self.open[usize::from(record.stream == LogStream::Stderr)];
        let (begins, line) = match *open {
            Some(line) => (false, line),
            None => {
                self.begun += 1;
                (true, (self.begun, record.time))
            }
        };
        *open = (!record.ends_line).then_some(line);
        (line.0, line.1, begins)
    }
}

/// Hands the lines of the log of the container in `directory` to `out`, in their order.
pub fn logs(
    name: &str,
    directory: &Path,
    options: LogOptions,
    out: &mut dyn FnMut(LogPiece) -> std::io::Result<()>,
) -> Result<()> {
    let mut running = State::load(directory).is_busy();
    let Some(mut log) = LogReader::open(directory) else {
        return match File::open(directory.join("log")) {
            Ok(file) => earlier(name, directory, options, file, out),
            // It has not written anything yet, or never will.
            Err(_) => Err(Error::Refused(format!(
                "container {name} has no log; containers started with --rm and without -d have none"
            ))),
        };
    };
    let wanted = |time: Moment| {
        options.since.is_none_or(|since| time >= since)
            && options.until.is_none_or(|until| time <= until)
    };
    let mut skip = 0;
    if let Some(tail) = options.tail {
        let (mut lines, mut count) = (Lines::default(), 0_u64);
        while let Some(record) = log.next_record()? {
            let (_, time, begins) = lines.take(&record);
            count += u64::from(begins && wanted(time));
        }
        skip = count.saturating_sub(tail);
        log.rewind()?;
    }
    let (mut lines, mut first) = (Lines::default(), 0);
    let mut seen = 0_u64;
    loop {
        let torn = |log: &mut LogReader| (!running).then(|| log.torn()).flatten();
        while let Some(record) = log.next_record()?.or_else(|| torn(&mut log)) {
            let (number, time, begins) = lines.take(&record);
            if begins && wanted(time) {
                seen += 1;
                if seen == skip + 1 {
                    first = number;
                }
            }
            if seen > skip && number >= first && wanted(time) {
                out(LogPiece::Record(record, begins)).step("write the log")?;
            }
        }
        out(LogPiece::Pause).step("write the log")?;
        let over = options.until.is_some_and(|until| Moment::now() > until);
        if !options.follow || !running || over {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
        // First the state: what is written afterwards is read in this round.
        running = State::load(directory).is_busy();
    }
}

/// A log of an earlier version: what both streams gave, and nothing else.
fn earlier(
    name: &str,
    directory: &Path,
    options: LogOptions,
    mut log: File,
    out: &mut dyn FnMut(LogPiece) -> std::io::Result<()>,
) -> Result<()> {
    let reading = || format!("read the log of container {name}");
    if options.times || options.since.is_some() || options.until.is_some() {
        return Err(Error::Refused(format!(
            "the log of container {name} was written by an earlier version and has no times"
        )));
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut skip = 0;
    if let Some(tail) = options.tail {
        let mut lines = 0_u64;
        let mut last = b'\n';
        loop {
            let read = log.read(&mut buffer).step(reading())?;
            let Some(end) = buffer[..read].last() else {
                break;
            };
            last = *end;
            lines += buffer[..read].iter().filter(|b| **b == b'\n').count() as u64;
        }
        skip = (lines + u64::from(last != b'\n')).saturating_sub(tail);
        std::io::Seek::rewind(&mut log).step(reading())?;
    }
    loop {
        let running = State::load(directory).is_busy();
        loop {
            let read = log.read(&mut buffer).step(reading())?;
            if read == 0 {
                break;
            }
            let mut bytes = &buffer[..read];
            while skip > 0
                && let Some(end) = bytes.iter().position(|b| *b == b'\n')
            {
                (bytes, skip) = (&bytes[end + 1..], skip - 1);
            }
            if skip == 0 {
                out(LogPiece::Plain(bytes.to_vec())).step("write the log")?;
            }
        }
        out(LogPiece::Pause).step("write the log")?;
        if !options.follow || !running {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
