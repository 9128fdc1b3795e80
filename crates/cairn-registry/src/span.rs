//! A part of a blob, wherever it is: for what is not read from its start to its end.

use std::io::Read;

use cairn_image::RemoteBlob;
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_RANGE, RANGE};

use crate::client::Client;
use crate::error::{Failure, Result};
use crate::http::{Answer, Question, broken};

impl Client {
    /// `len` bytes of a blob from `at` on. That they are the right ones is for the caller to verify. A cut begins it
    /// anew, so it should be no more than some megabytes.
    ///
    /// # Errors
    /// Also where the registry sends no parts, or another one.
    pub fn span(&self, blob: &RemoteBlob, at: u64, len: u64) -> Result<Vec<u8>> {
        self.insist(&format!("blob {}", blob.digest), || {
            self.try_span(blob, at, len)
        })
    }

    fn try_span(&self, blob: &RemoteBlob, at: u64, len: u64) -> Result<Vec<u8>, Failure> {
        let last = at + len.saturating_sub(1);
        if len == 0 || last >= blob.bytes {
            return Err(Failure::wrong(format!(
                "it has no bytes {at} to {last}, only {}",
                blob.bytes
            )));
        }
        let address = self.address(&format!("blobs/{}", blob.digest))?;
        let answer = self.get(address, &mut |uri| {
            let mut question = Question::get(uri);
            question.is_short = false;
            question.with(RANGE, format!("bytes={at}-{last}"))
        })?;
        check(&answer, at, last, blob.bytes)?;
        read_exactly(answer, len)
    }
}

/// The bytes of an answer, which have to be so many.
fn read_exactly(answer: Answer, len: u64) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    let mut body = answer.stream().take(len + 1);
    body.read_to_end(&mut out).map_err(|e| broken(&e))?;
    match (out.len() as u64).cmp(&len) {
        std::cmp::Ordering::Equal => Ok(out),
        std::cmp::Ordering::Less => Err(Failure::passing("the connection ended too early")),
        std::cmp::Ordering::Greater => Err(Failure::wrong(format!(
            "the registry sends more than the {len} bytes that were asked for"
        ))),
    }
}

/// The answer has to be this very part, or the whole of a blob that is no longer.
fn check(answer: &Answer, at: u64, last: u64, size: u64) -> Result<(), Failure> {
    let whole = at == 0 && last + 1 == size;
    match answer.status {
        StatusCode::OK if whole => Ok(()),
        StatusCode::OK => Err(Failure::wrong("the registry sends no parts of blobs")),
        StatusCode::PARTIAL_CONTENT => {
            let header = answer.header(CONTENT_RANGE).unwrap_or_default();
            match is_range(header, at, last, size) {
                true => Ok(()),
                false => Err(Failure::wrong(format!(
                    "the registry sends the range {header:?} instead of {at} to {last} of {size}"
                ))),
            }
        }
        status => Err(Failure::wrong(format!("the registry answers {status}"))),
    }
}

fn is_range(header: &str, at: u64, last: u64, size: u64) -> bool {
    let span = format!("bytes {at}-{last}/");
    let of = header.strip_prefix(&span);
    of.is_some_and(|of| of == "*" || of.parse() == Ok(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_that_was_asked_for_will_do() {
        for (header, fits) in [
            ("bytes 5-9/20", true),
            ("bytes 5-9/*", true),
            ("bytes 5-9/21", false),
            ("bytes 5-8/20", false),
            ("bytes 0-9/20", false),
            ("5-9/20", false),
            ("", false),
        ] {
            assert_eq!(is_range(header, 5, 9, 20), fits, "{header}");
        }
    }
}
