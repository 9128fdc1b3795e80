//! A blob as a stream that survives cuts: what follows is asked for from where the connection broke.

use std::io::{self, Read};
use std::sync::Arc;

use cairn_image::{RemoteBlob, RemoteError};
use ureq::http::StatusCode;

use crate::client::Client;
use crate::error::Failure;
use crate::http::broken;
use crate::meter::Meter;
use crate::pace::Pace;
use crate::partial::Partial;
use crate::ranges::{Ranges, Waited};
use crate::retry::Tries;

/// A blob on its way. It ends after exactly the bytes that its descriptor states; that they are the right ones is
/// for the reader to verify.
pub(crate) struct Fetch {
    client: Arc<Client>,
    blob: RemoteBlob,
    /// Bytes handed on.
    at: u64,
    body: Option<Box<dyn Read + Send>>,
    /// Where what comes is kept.
    kept: Option<Arc<Partial>>,
    generation: u64,
    /// The connections of a large one.
    ranges: Option<Ranges>,
    tries: Tries,
    pace: Pace,
    /// Why the connection was given up after its last bytes.
    gave_up: Option<Failure>,
    meter: Arc<Meter>,
}

impl Fetch {
    pub fn new(client: Arc<Client>, blob: RemoteBlob, kept: Option<Arc<Partial>>) -> Self {
        let options = client.options();
        let meter = Arc::new(Meter::new(&options.watch, blob.digest, blob.bytes));
        let mut ranges = None;
        if let Some(kept) = &kept {
            meter.set(kept.bytes());
            let count = kept.pieces().count().min(options.jobs);
            if count > 1 {
                ranges = Ranges::start(&client, &blob, kept, &meter, count);
            }
        }
        Self {
            tries: Tries::new(options.retries),
            generation: kept.as_ref().map_or(0, |kept| kept.generation()),
            kept,
            client,
            blob,
            at: 0,
            body: None,
            ranges,
            pace: Pace::new(0),
            gave_up: None,
            meter,
        }
    }

    /// A body that goes on at `self.at`.
    fn open(&self) -> Result<Box<dyn Read + Send>, Failure> {
        let (at, size) = (self.at, self.blob.bytes);
        let answer = self.client.part(&self.blob, at, None)?;
        if answer.status == StatusCode::PARTIAL_CONTENT {
            return Ok(answer.stream());
        }
        let length = answer.length().unwrap_or(size);
        if length != size {
            return Err(Failure::wrong(format!(
                "the registry sends {length} bytes instead of {size}"
            )));
        }
        // All of it comes, though the rest was asked for.
        let mut body = answer.stream();
        let skipped =
            io::copy(&mut (&mut body).take(at), &mut io::sink()).map_err(|e| broken(&e))?;
        match skipped == at {
            true => Ok(body),
            false => Err(Failure::passing("the connection ended too early")),
        }
    }

    /// Some bytes, at least one, unless the blob is at its end.
    fn step(&mut self, out: &mut [u8]) -> Result<usize, Failure> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let body = self.open()?;
                self.body.insert(body)
            }
        };
        let left = self.blob.bytes - self.at;
        if left == 0 {
            // Also lets the connection be used again.
            let more = body.read(&mut [0]).unwrap_or(0);
            self.body = None;
            return self.at_end(more);
        }
        let room = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = body.read(&mut out[..room]).map_err(|e| broken(&e))?;
        if read == 0 {
            return Err(Failure::passing("the connection ended too early"));
        }
        if let Some(kept) = &self.kept {
            kept.append(&out[..read], self.at, self.generation);
        }
        self.at += read as u64;
        self.meter.add(read as u64);
        let silence_max = self.client.options().silence_max;
        self.pace.keep(self.at, &mut self.tries, silence_max)?;
        Ok(read)
    }

    fn at_end(&self, more: usize) -> Result<usize, Failure> {
        if more == 0 {
            return Ok(0);
        }
        let size = self.blob.bytes;
        Err(Failure::wrong(format!(
            "the registry sends more than the {size} bytes it should have"
        )))
    }

    /// What is there already, or is brought by the connections of a large blob.
    fn take_kept(&mut self, out: &mut [u8]) -> Result<Option<usize>, Failure> {
        let Some(kept) = self.kept.as_ref().filter(|_| self.body.is_none()) else {
            return Ok(None);
        };
        if let Some(ranges) = &self.ranges
            && let Waited::WholeOnly = ranges.wait(self.at)?
        {
            self.ranges = None;
            self.generation = kept.generation();
        }
        let read = kept.read_at(out, self.at).unwrap_or(0);
        self.at += read as u64;
        self.pace = Pace::new(self.at);
        Ok((read > 0).then_some(read))
    }

    fn read_on(&mut self, out: &mut [u8]) -> Result<usize, Failure> {
        if let Some(read) = self.take_kept(out)? {
            return Ok(read);
        }
        if let Some(failure) = self.gave_up.take() {
            self.tries.next(failure, &self.client.options().watch)?;
        }
        loop {
            let before = self.at;
            let failure = match self.step(out) {
                Ok(read) => return Ok(read),
                // What came is good; the rest is asked for anew.
                Err(failure) if self.at > before => {
                    self.body = None;
                    self.gave_up = Some(failure);
                    return Ok(usize::try_from(self.at - before).unwrap_or(0));
                }
                Err(failure) => failure,
            };
            self.body = None;
            self.tries.next(failure, &self.client.options().watch)?;
        }
    }

    /// The error that the reader gets.
    fn failed(&self, failure: Failure) -> io::Error {
        if let Some(kept) = &self.kept {
            kept.was_cut();
        }
        let object = format!("blob {}", self.blob.digest);
        match failure.of(&object, &self.client.name()) {
            crate::Error::Cancelled(cancelled) => cancelled.into(),
            error => io::Error::other(cairn_image::Error::from(RemoteError::from(error))),
        }
    }
}

impl Read for Fetch {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.at == self.blob.bytes && self.body.is_none() {
            if let Some(ranges) = self.ranges.take() {
                ranges.finish();
            }
            self.meter.done();
            return Ok(0);
        }
        self.read_on(out).map_err(|failure| self.failed(failure))
    }
}
