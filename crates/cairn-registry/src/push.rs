//! Images to a registry: what it has is found, what it lacks is uploaded in parts that can be taken up again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use cairn_image::sha256;
use cairn_model::{Class, Digest};
use ureq::http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use ureq::http::{Method, StatusCode, Uri};

use crate::client::Client;
use crate::error::{Failure, Result};
use crate::http::{Answer, Question};
use crate::meter::Meter;
use crate::retry::Tries;
use crate::said;
use crate::url::{redirected, with_parameter};

/// Bytes sent at once; what is sent of them is sent again after a cut.
const PART_BYTES: u64 = 16 << 20;
const STREAM: &str = "application/octet-stream";

/// Some bytes of a file, told of to whoever waits.
struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
    client: &'a Client,
}

impl Read for Part<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.client.options().watch.check()?;
        let room = out
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut out[..room], self.at)?;
        if read == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// An upload under way.
struct Upload {
    /// Where what follows is sent to.
    to: Uri,
    /// Bytes that the registry has.
    at: u64,
}

impl Client {
    /// True where the repository has a blob.
    pub fn has_blob(&self, digest: &Digest, bytes: u64) -> Result<bool> {
        self.insist(&format!("blob {digest}"), || {
            let address = self.address(&format!("blobs/{digest}"))?;
            let answer = self.ask(address, &mut |uri| Question::of(Method::HEAD, uri))?;
            match answer.status {
                StatusCode::OK => match answer.header("content-length").map(str::parse::<u64>) {
                    Some(Ok(length)) if length != bytes => Err(Failure::wrong(format!(
                        "the registry has {length} bytes under this digest instead of {bytes}"
                    ))),
                    _ => Ok(true),
                },
                StatusCode::NOT_FOUND => Ok(false),
                _ => Err(said::failure(answer, self.registry())),
            }
        })
    }

    /// Has the registry take a blob from another of its repositories; false where it does not.
    pub fn mount_blob(&self, digest: &Digest, from: &str) -> Result<bool> {
        self.insist(&format!("blob {digest}"), || {
            let address = with_parameter("blobs/uploads/", "mount", &digest.to_string());
            let address = self.address(&with_parameter(&address, "from", from))?;
            let answer = self.ask(address, &mut |uri| empty(Method::POST, uri))?;
            match answer.status {
                StatusCode::CREATED => Ok(true),
                StatusCode::ACCEPTED => {
                    // An upload was begun instead, which nobody will go on with.
                    if let Ok(to) = next(&answer) {
                        let _ = self.ask(to, &mut |uri| Question::of(Method::DELETE, uri));
                    }
                    Ok(false)
                }
                // Whoever may not read the other repository uploads.
                status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                    Ok(false)
                }
                _ => Err(said::failure(answer, self.registry())),
            }
        })
    }

    /// Uploads a blob, which is all of a file of this length.
    pub fn put_blob(&self, digest: &Digest, file: &File, bytes: u64) -> Result<()> {
        let _slot = self.slots().take(&self.options().watch)?;
        let meter = Meter::new(&self.options().watch, *digest, bytes);
        let mut tries = Tries::new(self.options().retries);
        let mut upload = None;
        loop {
            let before = upload.as_ref().map_or(0, |upload: &Upload| upload.at);
            let Err(failure) = self.go_on(&mut upload, digest, file, &meter, bytes) else {
                meter.done();
                return Ok(());
            };
            if upload.as_ref().is_some_and(|upload| upload.at > before) {
                tries.forgive();
            }
            tries
                .next(failure, &self.options().watch)
                .map_err(|failure| failure.of(&format!("blob {digest}"), &self.name()))?;
        }
    }

    /// Begins an upload, or takes it up where it is, and brings it to its end.
    fn go_on(
        &self,
        upload: &mut Option<Upload>,
        digest: &Digest,
        file: &File,
        meter: &Meter,
        bytes: u64,
    ) -> Result<(), Failure> {
        let mut now = match upload.take() {
            Some(known) => match self.where_it_is(&known.to)? {
                Some(found) if found.at <= bytes => found,
                _ => self.begin()?,
            },
            None => self.begin()?,
        };
        loop {
            let (to, at) = (now.to.clone(), now.at);
            *upload = Some(Upload { to: to.clone(), at });
            meter.set(at);
            if at == bytes {
                return self.finish(to, digest);
            }
            let len = PART_BYTES.min(bytes - at);
            let answer = self.ask(to, &mut |uri| {
                let part = Part {
                    file,
                    at,
                    left: len,
                    client: self,
                };
                let mut question = Question::of(Method::PATCH, uri)
                    .with(CONTENT_TYPE, STREAM)
                    .with(CONTENT_RANGE, format!("{at}-{}", at + len - 1));
                question.body = Some((len, Box::new(part)));
                question
            })?;
            match answer.status {
                StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT => {}
                // It has more or less than was thought: it is asked.
                StatusCode::RANGE_NOT_SATISFIABLE => {
                    return Err(Failure::passing("the registry expects another part"));
                }
                StatusCode::NOT_FOUND => {
                    *upload = None;
                    return Err(Failure::passing("the registry has forgotten the upload"));
                }
                _ => return Err(said::failure(answer, self.registry())),
            }
            now = Upload {
                to: next(&answer)?,
                at: at + len,
            };
            self.options().watch.read(len);
        }
    }

    fn begin(&self) -> Result<Upload, Failure> {
        let answer = self.ask(self.address("blobs/uploads/")?, &mut |uri| {
            empty(Method::POST, uri)
        })?;
        match answer.status {
            StatusCode::ACCEPTED => Ok(Upload {
                to: next(&answer)?,
                at: 0,
            }),
            _ => Err(said::failure(answer, self.registry())),
        }
    }

    /// What the registry has of an upload; none where it does not know it any more.
    fn where_it_is(&self, to: &Uri) -> Result<Option<Upload>, Failure> {
        let answer = self.ask(to.clone(), &mut Question::get)?;
        if !answer.status.is_success() {
            return match answer.status.is_client_error() {
                true => Ok(None),
                false => Err(said::failure(answer, self.registry())),
            };
        }
        let range = answer.header(RANGE).unwrap_or_default();
        let last = range.trim_start_matches("bytes=").strip_prefix("0-");
        let Some(last) = last.and_then(|last| last.parse::<u64>().ok()) else {
            return Ok(None);
        };
        // A registry that has nothing says 0-0, as one that has a byte does: such an upload begins anew.
        Ok((last > 0 && last < u64::MAX).then(|| Upload {
            to: next(&answer).unwrap_or_else(|_| to.clone()),
            at: last + 1,
        }))
    }

    fn finish(&self, to: Uri, digest: &Digest) -> Result<(), Failure> {
        let address = with_parameter(&to.to_string(), "digest", &digest.to_string());
        let address = address.parse().map_err(Failure::wrong)?;
        let answer = self.ask(address, &mut |uri| empty(Method::PUT, uri))?;
        match answer.status {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            _ => Err(said::failure(answer, self.registry())),
        }
    }

    /// Puts a manifest under a tag or its digest; its digest.
    pub fn put_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<Digest> {
        let digest = sha256(bytes);
        self.insist(&format!("manifest {reference}"), || {
            let address = self.address(&format!("manifests/{reference}"))?;
            let answer = self.ask(address, &mut |uri| {
                let mut question = Question::of(Method::PUT, uri).with(CONTENT_TYPE, media_type);
                question.body = Some((bytes.len() as u64, Box::new(bytes)));
                question
            })?;
            if !answer.status.is_success() {
                let failure = said::failure(answer, self.registry());
                // Not the manifest is missing, but something it names.
                return Err(match failure.class {
                    Class::NotFound => Failure::wrong(failure.why),
                    _ => failure,
                });
            }
            let stated = answer
                .header("docker-content-digest")
                .map(str::parse::<Digest>);
            match stated {
                Some(Ok(stated)) if stated != digest => Err(Failure::wrong(format!(
                    "the registry stored {stated} instead of {digest}"
                ))),
                _ => Ok(digest),
            }
        })
    }
}

/// A question with a body of no bytes.
fn empty<'a>(method: Method, uri: Uri) -> Question<'a> {
    let mut question = Question::of(method, uri);
    question.body = Some((0, Box::new(io::empty())));
    question
}

/// Where an answer says that an upload goes on.
fn next(answer: &Answer) -> Result<Uri, Failure> {
    let to = answer.header(LOCATION).unwrap_or_default();
    redirected(&answer.uri, to).map_err(|why| Failure::wrong(format!("the registry sends {why}")))
}
