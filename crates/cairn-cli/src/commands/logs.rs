//! `cairn logs`

use std::io::{self, BufWriter, Write};

use anyhow::Result;
use cairn_container::{LogOptions, LogPiece};
use cairn_runtime::{LogRecord, LogStream, Text};
use serde_json::{Value, json};

use super::Env;
use crate::args::Logs;
use crate::output;

/// `cairn logs`
pub fn logs(env: &Env, args: &Logs) -> Result<()> {
    let repo = env.open()?;
    let directory = repo
        .containers()
        .dir(&repo.containers().find(&args.container)?.id);
    drop(repo);
    let options = LogOptions {
        follow: args.follow,
        since: args.since,
        until: args.until,
        tail: args.tail.0,
        times: args.timestamps || env.json,
    };
    let mut printer = Printer {
        out: BufWriter::new(output::Stdout),
        json: env.json,
        timestamps: args.timestamps,
    };
    let done = cairn_container::logs(&args.container, &directory, options, &mut |piece| {
        printer.print(piece)
    });
    match done {
        // Told at the end, as of any command.
        Err(_) if output::is_broken() => Ok(()),
        done => Ok(done?),
    }
}

/// Writes what a container wrote: its bytes, to the stream they came from.
struct Printer {
    out: BufWriter<output::Stdout>,
    json: bool,
    timestamps: bool,
}

impl Printer {
    fn print(&mut self, piece: LogPiece) -> io::Result<()> {
        match piece {
            LogPiece::Plain(bytes) => self.out.write_all(&bytes),
            LogPiece::Pause => self.out.flush(),
            LogPiece::Record(record, _) if self.json => {
                let line = output::json_line(&object(record))?;
                self.out.write_all(line.as_bytes())
            }
            LogPiece::Record(record, begins) => {
                let mut bytes = Vec::with_capacity(record.text.len() + 32);
                if begins && self.timestamps {
                    write!(bytes, "{} ", record.time)?;
                }
                bytes.extend_from_slice(&record.text);
                if record.ends_line {
                    bytes.push(b'\n');
                }
                match record.stream {
                    LogStream::Stdout => self.out.write_all(&bytes),
                    LogStream::Stderr => {
                        // In the order in which the container wrote.
                        self.out.flush()?;
                        io::stderr().write_all(&bytes)
                    }
                }
            }
        }
    }
}

fn object(record: LogRecord) -> Value {
    json!({
        "time": record.time.to_string(),
        "stream": record.stream.name(),
        "text": Text::from(record.text),
        "ends_line": record.ends_line,
    })
}
