//! A record of a log: one line of it, or a piece of one.

use cairn_model::Moment;

/// Longest text of one record; longer lines become several.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 10;
/// Longest record: time, stream and tag come before the text.
pub(super) const RECORD_BYTES_MAX: usize = TEXT_BYTES_MAX + 64;

/// Where a container wrote something to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// `stdout` or `stderr`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line of output, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// When it was written.
    pub time: Moment,
    /// Where it was written to.
    pub stream: LogStream,
    /// It ends a line.
    pub ends_line: bool,
    /// Without the end of the line.
    pub text: Vec<u8>,
}

/// Appends the records of `bytes`; `each` is told of every one where it begins.
pub(super) fn encode(
    time: Moment,
    stream: LogStream,
    bytes: &[u8],
    out: &mut Vec<u8>,
    mut each: impl FnMut(&mut Vec<u8>, usize),
) {
    let time = time.to_string();
    let mut record = |text: &[u8], ends_line: bool| {
        let start = out.len();
        let tag = if ends_line { "F" } else { "P" };
        for part in [
            time.as_bytes(),
            b" ",
            stream.name().as_bytes(),
            b" ",
            tag.as_bytes(),
            b" ",
        ] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(text);
        out.push(b'\n');
        each(out, start);
    };
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let (text, ends) = line
            .strip_suffix(b"\n")
            .map_or((line, false), |text| (text, true));
        if text.is_empty() {
            record(text, ends);
        }
        let mut pieces = text.chunks(TEXT_BYTES_MAX).peekable();
        while let Some(piece) = pieces.next() {
            record(piece, ends && pieces.peek().is_none());
        }
    }
}

/// Reads one record, which may lack its end; `None` for what is none.
pub(super) fn decode(line: &[u8]) -> Option<LogRecord> {
    let (line, whole) = line
        .strip_suffix(b"\n")
        .map_or((line, false), |line| (line, true));
    let mut parts = line.splitn(4, |b| *b == b' ');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let time = text()?.parse().ok()?;
    let stream = match text()? {
        "stdout" => LogStream::Stdout,
        "stderr" => LogStream::Stderr,
        _ => return None,
    };
    let ends_line = match text()? {
        "F" => whole,
        "P" => false,
        _ => return None,
    };
    Some(LogRecord {
        time,
        stream,
        ends_line,
        text: parts.next()?.to_vec(),
    })
}
