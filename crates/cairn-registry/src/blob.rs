//! One request for a blob, or for a part of one.

use cairn_image::RemoteBlob;
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_RANGE, RANGE};

use crate::client::Client;
use crate::error::Failure;
use crate::http::{Answer, Question};

impl Client {
    /// Asks for the bytes of a blob from `at` on, up to `end` where there is one. The answer is that part or, with the
    /// status 200, the whole blob.
    pub(crate) fn part(
        &self,
        blob: &RemoteBlob,
        at: u64,
        end: Option<u64>,
    ) -> Result<Answer, Failure> {
        let range = match (at, end) {
            (_, Some(end)) => Some(format!("bytes={at}-{}", end - 1)),
            (0, None) => None,
            (at, None) => Some(format!("bytes={at}-")),
        };
        let address = self.address(&format!("blobs/{}", blob.digest))?;
        let answer = self.get(address, &mut |uri| {
            let mut question = Question::get(uri);
            question.is_short = false;
            match &range {
                None => question,
                Some(range) => question.with(RANGE, range),
            }
        })?;
        match answer.status {
            // A part that was not asked for is none.
            StatusCode::PARTIAL_CONTENT if range.is_none() => {
                check_range(&answer, 0, 0, blob.bytes)?
            }
            StatusCode::PARTIAL_CONTENT => {
                check_range(&answer, at, end.unwrap_or(blob.bytes), blob.bytes)?;
            }
            StatusCode::OK => {}
            status => {
                return Err(Failure::wrong(format!("the registry answers {status}")));
            }
        }
        Ok(answer)
    }
}

/// The part has to begin where it was asked to, and be one of the whole.
fn check_range(answer: &Answer, at: u64, end: u64, size: u64) -> Result<(), Failure> {
    let header = answer.header(CONTENT_RANGE).unwrap_or_default();
    let wrong = || {
        Failure::wrong(format!(
            "the registry sends the range {header:?} instead of {at} to {end}"
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
    let fits = first == at && last >= first && last < end && whole == size;
    let length = answer.length();
    if fits && length.is_none_or(|length| length == last - first + 1) {
        return Ok(());
    }
    Err(wrong())
}
