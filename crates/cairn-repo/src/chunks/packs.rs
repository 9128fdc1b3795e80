//! Packs as they go to a registry: the stored bytes of blobs one after another.

use std::collections::HashMap;
use std::io::Write;

use cairn_image::sha256;
use cairn_model::BlobId;
use cairn_registry::Client;

use super::table::{Pack, Place};
use crate::error::{At, Result};
use crate::repo::Repo;

/// A pack is sent when it has grown to this length; so much memory does one take.
const PACK_BYTES: usize = 32 << 20;

/// Sends blobs in packs.
pub struct Packs<'a> {
    repo: &'a Repo,
    client: &'a Client,
    bytes: Vec<u8>,
    /// What is in the pack that is being filled.
    open: Vec<Place>,
    /// What was sent.
    pub places: HashMap<BlobId, (Pack, Place)>,
    /// Bytes that were sent.
    pub sent: u64,
}

impl<'a> Packs<'a> {
    /// Nothing is sent yet.
    pub fn new(repo: &'a Repo, client: &'a Client) -> Self {
        Self {
            repo,
            client,
            bytes: Vec::new(),
            open: Vec::new(),
            places: HashMap::new(),
            sent: 0,
        }
    }

    /// Adds a blob.
    pub fn add(&mut self, id: &BlobId) -> Result<()> {
        let packed = self.repo.store.packed(id)?;
        self.open.push(Place {
            id: *id,
            pack: 0,
            offset: self.bytes.len() as u32,
            stored: packed.payload.len() as u32,
            raw: packed.raw,
            codec: packed.codec,
        });
        self.bytes.extend_from_slice(&packed.payload);
        match self.bytes.len() >= PACK_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Sends what was added.
    pub fn flush(&mut self) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let pack = Pack {
            digest: sha256(&self.bytes),
            bytes: self.bytes.len() as u64,
        };
        self.sent += put(self.repo, self.client, &self.bytes)?;
        self.bytes.clear();
        let placed = self.open.drain(..).map(|place| (place.id, (pack, place)));
        self.places.extend(placed);
        Ok(())
    }
}

/// Brings a blob that is at hand, unless it is there; the bytes that were sent.
pub fn put(repo: &Repo, client: &Client, bytes: &[u8]) -> Result<u64> {
    let (digest, len) = (sha256(bytes), bytes.len() as u64);
    if client.has_blob(&digest, len)? {
        return Ok(0);
    }
    let spool = repo.spool();
    let mut file = tempfile::tempfile_in(&spool).at("create a temporary file in", &spool)?;
    file.write_all(bytes).at("write into", &spool)?;
    repo.watch().total(len);
    client.put_blob(&digest, &file, len)?;
    Ok(len)
}
