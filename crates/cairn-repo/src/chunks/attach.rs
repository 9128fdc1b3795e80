//! The artifact of an image that is pushed.

use std::collections::{HashMap, HashSet};

use cairn_image::sha256;
use cairn_layer::Layer;
use cairn_model::{BlobId, Digest};
use cairn_registry::{Client, EMPTY_CONFIG, OCI_MANIFEST};
use serde::Serialize;
use serde_json::{Value, json};

use super::known::Known;
use super::packs::{Packs, put};
use super::table::{self, Pack, Place};
use super::{ARTIFACT, DIFF_ID, PACK, TABLE, blobs_of};
use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::report;

/// An earlier pack is used again where at least one of so many bytes in it is of use.
const USED_SHARE_MIN: u64 = 4;
/// Most earlier packs that are used again; what smaller ones have is sent again.
const REUSED_MAX: usize = 256;

/// What was attached to a pushed image.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ChunksPushed {
    /// Digest of the artifact's manifest.
    #[serde(serialize_with = "report::text")]
    pub digest: Digest,
    /// Layers that can be had as blobs.
    pub layers: usize,
    /// Blobs of these layers.
    pub blobs: u64,
    /// Blobs that packs of earlier images have.
    pub blobs_present: u64,
    /// Bytes of packs and tables that were sent.
    pub bytes_sent: u64,
}

/// An artifact that is being made.
pub(crate) struct Attachment<'a> {
    repo: &'a Repo,
    client: &'a Client,
    known: Known,
}

/// All blobs of an artifact, which are in the registry.
pub(crate) struct Sent {
    tables: Vec<Value>,
    packs: Vec<Pack>,
    pushed: ChunksPushed,
}

impl<'a> Attachment<'a> {
    /// Looks for earlier artifacts; called before the tag moves.
    pub fn begin(repo: &'a Repo, client: &'a Client, tag: &str) -> Result<Self> {
        Ok(Self {
            repo,
            client,
            known: Known::read(client, tag, &repo.options.limits)?,
        })
    }

    /// Sends the blobs that no earlier pack has, and tables of all.
    pub fn send(&self, layers: &[Layer]) -> Result<Sent> {
        let needs = layers
            .iter()
            .map(|layer| Ok((*layer, blobs_of(&self.repo.store, layer)?)))
            .collect::<Result<Vec<_>>>()?;
        let mut order: Vec<BlobId> = Vec::new();
        let mut seen = HashSet::new();
        for id in needs.iter().flat_map(|(_, ids)| ids) {
            if seen.insert(*id) {
                order.push(*id);
            }
        }
        let reused = self.reused(&order)?;
        let mut packs = Packs::new(self.repo, self.client);
        let mut places: HashMap<BlobId, (Pack, Place)> = HashMap::new();
        for id in &order {
            match self
                .known
                .place(id)
                .filter(|(pack, _)| reused.contains(pack))
            {
                Some(known) => drop(places.insert(*id, *known)),
                None => packs.add(id)?,
            }
        }
        packs.flush()?;
        let present = places.len() as u64;
        places.extend(packs.places.drain());
        let mut sent = Sent {
            tables: Vec::new(),
            packs: Vec::new(),
            pushed: ChunksPushed {
                digest: sha256(&[]),
                layers: 0,
                blobs: order.len() as u64,
                blobs_present: present,
                bytes_sent: packs.sent,
            },
        };
        for (layer, ids) in &needs {
            self.table(&mut sent, layer, ids, &places)?;
        }
        Ok(sent)
    }

    /// Earlier packs that are of enough use, and still there.
    fn reused(&self, needed: &[BlobId]) -> Result<HashSet<Pack>> {
        let mut used: HashMap<Pack, u64> = HashMap::new();
        for (pack, place) in needed.iter().filter_map(|id| self.known.place(id)) {
            *used.entry(*pack).or_default() += u64::from(place.stored);
        }
        used.retain(|pack, bytes| bytes.saturating_mul(USED_SHARE_MIN) >= pack.bytes);
        let mut used: Vec<(Pack, u64)> = used.into_iter().collect();
        used.sort_unstable_by_key(|(pack, bytes)| (std::cmp::Reverse(*bytes), pack.digest));
        used.truncate(REUSED_MAX);
        let mut there = HashSet::new();
        for (pack, _) in used {
            if self.client.has_blob(&pack.digest, pack.bytes)? {
                there.insert(pack);
            }
        }
        Ok(there)
    }

    /// Sends the table of a layer, if it can have one.
    fn table(
        &self,
        sent: &mut Sent,
        layer: &Layer,
        ids: &[BlobId],
        places: &HashMap<BlobId, (Pack, Place)>,
    ) -> Result<()> {
        let mut packs: Vec<Pack> = Vec::new();
        let mut own: Vec<Place> = Vec::with_capacity(ids.len());
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        for id in &ids {
            let (pack, place) = places.get(id).ok_or(Error::LayerGone)?;
            let number = packs.iter().position(|known| known == pack);
            let number = number.unwrap_or_else(|| {
                packs.push(*pack);
                packs.len() - 1
            });
            own.push(Place {
                pack: number as u32,
                ..*place
            });
        }
        let (Some(bytes), Some(diff_id)) = (table::encode(layer, &packs, &own), layer.diff_id)
        else {
            tracing::warn!(layer = %layer.id, "too large to be shared as blobs");
            return Ok(());
        };
        sent.pushed.bytes_sent += put(self.repo, self.client, &bytes)?;
        sent.pushed.layers += 1;
        let mut descriptor = descriptor(TABLE, &sha256(&bytes), bytes.len() as u64);
        descriptor["annotations"] = json!({DIFF_ID: diff_id.to_string()});
        sent.tables.push(descriptor);
        packs.retain(|pack| !sent.packs.contains(pack));
        sent.packs.extend(packs);
        Ok(())
    }

    /// Attaches the artifact to the image of this manifest.
    pub fn finish(&self, sent: Sent, subject: &Digest, bytes: usize) -> Result<ChunksPushed> {
        put(self.repo, self.client, EMPTY_CONFIG)?;
        let packs = sent.packs.iter();
        let packs = packs.map(|pack| descriptor(PACK, &pack.digest, pack.bytes));
        let layers: Vec<Value> = sent.tables.into_iter().chain(packs).collect();
        let empty = "application/vnd.oci.empty.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT,
            "config": descriptor(empty, &sha256(EMPTY_CONFIG), EMPTY_CONFIG.len() as u64),
            "layers": layers,
            "subject": descriptor(OCI_MANIFEST, subject, bytes as u64),
        });
        let manifest = manifest.to_string();
        let digest = self
            .client
            .attach(manifest.as_bytes(), ARTIFACT, subject, true)?;
        Ok(ChunksPushed {
            digest,
            ..sent.pushed
        })
    }
}

fn descriptor(kind: &str, digest: &Digest, bytes: u64) -> Value {
    json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes})
}
