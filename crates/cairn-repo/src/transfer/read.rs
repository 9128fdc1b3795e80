//! Takes in a file of images.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use cairn_image::{Platform, SourceImage};
use cairn_layer::Layer;
use cairn_model::{BlobId, Class, Digest};
use cairn_store::Lease;
use cairn_trust::{FileKey, FileSignature, Prehash};

use super::format::{HeadV1, MAGIC, cut, read_head, read_record, wrong};
use super::source::source;
use crate::chunks::{RecipeV1, blobs_of};
use crate::error::{At, Error, Result};
use crate::repo::Repo;

/// Longest signature file.
const SIGNATURE_BYTES_MAX: u64 = 16 << 10;

/// True for a file of images.
pub(crate) fn is_transfer(path: &Path) -> bool {
    let mut start = [0; 8];
    let is_file = path.metadata().is_ok_and(|meta| meta.is_file());
    let read =
        is_file && File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok());
    read && start == MAGIC[..8]
}

/// Where the signature of a file is.
pub fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// A file whose blobs are in the store, as long as the lease lives; nothing refers to them yet.
pub(crate) struct Taken {
    pub images: Vec<SourceImage>,
    _lease: Lease,
}

/// Hashes what is read.
struct Hashing<'a, R> {
    from: R,
    hash: blake3::Hasher,
    repo: &'a Repo,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.repo.watch().check()?;
        let n = self.from.read(out)?;
        self.hash.update(&out[..n]);
        self.repo.watch().read(n as u64);
        Ok(n)
    }
}

impl Repo {
    /// Stores what a file has, all of it verified. With a key the file needs a signature of that key.
    pub(crate) fn take_transfer(
        &self,
        path: &Path,
        platform: &Platform,
        key: Option<&FileKey>,
    ) -> Result<Taken> {
        let mut file = File::open(path).at("open", path)?;
        let signed = key.map(|key| verify(&mut file, path, key)).transpose()?;
        file.rewind().at("read", path)?;
        self.watch().total(file.metadata().at("stat", path)?.len());
        let lease = self.store.lease()?;
        let (head, hash) = self.store_transfer(path, file, signed)?;
        tracing::debug!(%hash, "all of the file was read");
        let layers = self.described(path, &head)?;
        let images = head
            .images
            .into_iter()
            .map(|image| source(&self.store, path, image, &layers, platform))
            .collect::<Result<Vec<_>>>()?;
        Ok(Taken {
            images,
            _lease: lease,
        })
    }

    /// Reads the file to its end; then its blobs are in the store.
    fn store_transfer(
        &self,
        path: &Path,
        file: File,
        signed: Option<blake3::Hash>,
    ) -> Result<(HeadV1, blake3::Hash)> {
        let ingest = self.store.ingest()?;
        let told = |e: io::Error| unreadable(path, e);
        let mut from = Hashing {
            from: BufReader::with_capacity(1 << 17, file),
            hash: blake3::Hasher::new(),
            repo: self,
        };
        let head = read_head(&mut from).map_err(told)?;
        let mut feeder = ingest.feeder();
        for _ in 0..head.blobs {
            let (_, content) = read_record(&mut from).map_err(told)?;
            feeder.put(&content)?;
        }
        feeder.ids()?;
        drop(feeder);
        let hash = from.hash.finalize();
        let mut end = [0; 32];
        from.read_exact(&mut end).map_err(cut).map_err(told)?;
        if end != *hash.as_bytes() {
            return Err(told(wrong("it is damaged")));
        }
        if from.read(&mut [0]).map_err(told)? != 0 {
            return Err(told(wrong("something follows its end")));
        }
        if signed.is_some_and(|signed| signed != from.hash.finalize()) {
            return Err(told(wrong("it changed after its signature was checked")));
        }
        let publish = |prepared| self.store.publish::<_, Error>(prepared, |_| Ok(()));
        publish(ingest.finish()?)?;
        Ok((head, hash))
    }

    /// The layers that the file describes, by diff id; each is there with all its blobs.
    fn described(&self, path: &Path, head: &HeadV1) -> Result<HashMap<Digest, Layer>> {
        self.store.reload_index()?;
        let mut layers = HashMap::new();
        for recipe in &head.layers {
            let layer = self.whole_layer(path, recipe)?;
            layers.extend(layer.diff_id.map(|diff_id| (diff_id, layer)));
        }
        Ok(layers)
    }

    fn whole_layer(&self, path: &Path, recipe: &RecipeV1) -> Result<Layer> {
        let told = |why: &str| unreadable(path, wrong(why));
        let layer = recipe.layer(&self.options.limits).map_err(told)?;
        let missing = |id: &BlobId| {
            told(&format!(
                "it relies on blob {id}, which is not here; export again with a list that \"cairn have\" writes now"
            ))
        };
        let blobs = match blobs_of(&self.store, &layer) {
            Err(Error::Store(cairn_store::Error::MissingBlob(id)))
            | Err(Error::Layer(cairn_layer::Error::Store(cairn_store::Error::MissingBlob(id)))) => {
                return Err(missing(&id));
            }
            Err(e) if e.class() == Class::Corrupt => {
                return Err(told(&cairn_model::one_line(&e)));
            }
            blobs => blobs?,
        };
        for id in &blobs {
            if !self.store.has(id)? {
                return Err(missing(id));
            }
        }
        Ok(layer)
    }
}

/// Fails unless there is a signature of this key over the file; the hash of what is signed.
fn verify(file: &mut File, path: &Path, key: &FileKey) -> Result<blake3::Hash> {
    let beside = signature_path(path);
    let mut text = String::new();
    let signature = File::open(&beside).at("open the signature", &beside)?;
    let read = signature
        .take(SIGNATURE_BYTES_MAX)
        .read_to_string(&mut text);
    read.at("read", &beside)?;
    let mut prehash = Prehash::default();
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        let n = file.read(&mut buffer).at("read", path)?;
        if n == 0 {
            break;
        }
        prehash.update(&buffer[..n]);
        hash.update(&buffer[..n]);
    }
    key.verify(&prehash, &FileSignature::parse(&text)?)?;
    Ok(hash.finalize())
}

fn unreadable(path: &Path, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::InvalidData => Error::Invalid(format!("{}: {e}", path.display())),
        _ => Error::Io {
            action: "read",
            path: path.to_owned(),
            source: e,
        },
    }
}
