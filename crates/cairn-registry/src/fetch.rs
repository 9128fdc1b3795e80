//! A blob as a stream that survives cuts: what follows is asked for from where the connection broke.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use cairn_image::{RemoteBlob, RemoteError};
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_RANGE, RANGE};

use crate::client::Client;
use crate::error::Failure;
use crate::http::{Answer, Question, broken};
use crate::partial::Partial;
use crate::retry::Tries;

/// So much has to come before earlier failures are forgiven, and in each span of time at least.
const PROGRESS_BYTES: u64 = 64 << 10;

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
    tries: Tries,
    /// Since when, and from which byte, progress is measured.
    pace: (Instant, u64),
}

impl Fetch {
    pub fn new(client: Arc<Client>, blob: RemoteBlob, kept: Option<Arc<Partial>>) -> Self {
        if let Some(kept) = &kept
            && kept.len() > blob.bytes
        {
            kept.empty();
        }
        Self {
            kept,
            tries: Tries::new(client.options().retries),
            client,
            blob,
            at: 0,
            body: None,
            pace: (Instant::now(), 0),
        }
    }

    /// A body that goes on at `self.at`.
    fn open(&self) -> Result<Box<dyn Read + Send>, Failure> {
        let (at, size) = (self.at, self.blob.bytes);
        let address = self
            .client
            .address(&format!("blobs/{}", self.blob.digest))?;
        let answer = self.client.get(address, &mut |uri| {
            let mut question = Question::get(uri);
            question.is_short = false;
            match at {
                0 => question,
                at => question.with(RANGE, format!("bytes={at}-")),
            }
        })?;
        let is_part = answer.status == StatusCode::PARTIAL_CONTENT;
        let length = answer.length();
        if is_part {
            check_range(&answer, at, size)?;
            return Ok(answer.stream());
        }
        if answer.status != StatusCode::OK {
            return Err(Failure::wrong(format!(
                "the registry answers {}",
                answer.status
            )));
        }
        if length.is_some_and(|length| length != size) {
            let length = length.unwrap_or_default();
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
        let left = self.blob.bytes - self.at;
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let body = self.open()?;
                self.body.insert(body)
            }
        };
        if left == 0 {
            // Also lets the connection be used again.
            let more = body.read(&mut [0]).unwrap_or(0);
            self.body = None;
            return match more {
                0 => Ok(0),
                _ => {
                    let size = self.blob.bytes;
                    Err(Failure::wrong(format!(
                        "the registry sends more than the {size} bytes it should have"
                    )))
                }
            };
        }
        let room = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = body.read(&mut out[..room]).map_err(|e| broken(&e))?;
        if read == 0 {
            return Err(Failure::passing("the connection ended too early"));
        }
        if let Some(kept) = &self.kept {
            kept.append(&out[..read], self.at);
        }
        self.at += read as u64;
        self.keep_pace()?;
        Ok(read)
    }

    /// Fails where bytes come, but so slowly that they are better asked for again.
    fn keep_pace(&mut self) -> Result<(), Failure> {
        let (since, from) = self.pace;
        if self.at - from >= PROGRESS_BYTES {
            self.tries.forgive();
            self.pace = (Instant::now(), self.at);
        } else if since.elapsed() > self.client.options().silence_max * 2 {
            self.pace = (Instant::now(), self.at);
            return Err(Failure::passing("the registry sends too slowly"));
        }
        Ok(())
    }
}

/// The part has to begin where it was asked to, and be one of the whole.
fn check_range(answer: &Answer, at: u64, size: u64) -> Result<(), Failure> {
    let header = answer.header(CONTENT_RANGE).unwrap_or_default();
    let wrong = || {
        Failure::wrong(format!(
            "the registry sends the range {header:?} instead of {at} to {size}"
        ))
    };
    let range = header
        .strip_prefix("bytes ")
        .and_then(|range| range.split_once('/'));
    let (span, whole) = range.ok_or_else(wrong)?;
    let (first, last) = span.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    let whole = if whole == "*" { size } else { number(whole)? };
    let fits = at > 0 && first == at && last >= first && last < size && whole == size;
    let length = answer.length();
    if fits && length.is_none_or(|length| length == last - first + 1) {
        return Ok(());
    }
    Err(wrong())
}

impl Read for Fetch {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || (self.at == self.blob.bytes && self.body.is_none()) {
            return Ok(0);
        }
        if let Some(kept) = &self.kept
            && self.body.is_none()
            && let Ok(read @ 1..) = kept.read_at(out, self.at)
        {
            self.at += read as u64;
            self.pace = (Instant::now(), self.at);
            return Ok(read);
        }
        loop {
            let before = self.at;
            let failure = match self.step(out) {
                Ok(read) => return Ok(read),
                // What came is good; the rest is asked for anew.
                Err(_) if self.at > before => {
                    self.body = None;
                    return Ok(usize::try_from(self.at - before).unwrap_or(0));
                }
                Err(failure) => failure,
            };
            self.body = None;
            self.tries
                .next(failure, &self.client.options().watch)
                .map_err(|failure| {
                    if let Some(kept) = &self.kept {
                        kept.was_cut();
                    }
                    let object = format!("blob {}", self.blob.digest);
                    let error = failure.of(&object, &self.client.name());
                    match error {
                        crate::Error::Cancelled(cancelled) => cancelled.into(),
                        error => {
                            io::Error::other(cairn_image::Error::from(RemoteError::from(error)))
                        }
                    }
                })?;
        }
    }
}
