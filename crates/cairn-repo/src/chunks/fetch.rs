//! Blobs that are lacking, from the packs of an artifact.
//!
//! What comes is made part of the store bit by bit, under a lease and without anything that refers to it: a pull that
//! is killed finds it there again, and without another pull a collection removes it.

use std::collections::{HashMap, HashSet};

use cairn_image::SourceImage;
use cairn_layer::Layer;
use cairn_model::{BlobId, Cancelled, Class, Digest};
use cairn_registry::{Artifact, Client};
use cairn_store::{Ingest, Lease, Packed};
use cairn_sys::threads;
use serde::Serialize;

use super::known::{artifacts, read_table, soft, tables};
use super::plan::{Span, of_span, spans};
use super::recipe::Recipes;
use super::table::{Pack, Place, Table};
use crate::error::{Error, Result};
use crate::repo::Repo;

/// Parts that are fetched at once.
const JOBS: usize = 4;
/// So much is fetched between two moments at which it becomes part of the store.
const BATCH_BYTES: u64 = 32 << 20;

/// What was fetched as blobs instead of whole layers.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[non_exhaustive]
pub struct ChunksFetched {
    /// Layers that were put together from blobs; fewer than were meant to be where something was wrong.
    pub layers: usize,
    /// Blobs that were fetched.
    pub blobs: u64,
    /// Bytes of tables and parts of packs that were fetched.
    pub bytes: u64,
}

/// Layers that can be put together from blobs which are there, as long as the lease lives.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub recipes: Recipes,
    counts: ChunksFetched,
    _lease: Lease,
}

impl Fetched {
    /// What was fetched, and of how much use it was.
    pub fn counts(&self) -> ChunksFetched {
        ChunksFetched {
            layers: self.recipes.rebuilt(),
            ..self.counts
        }
    }
}

/// What is to be fetched.
#[derive(Default)]
struct Plan {
    recipes: HashMap<Digest, Layer>,
    wanted: Vec<(Pack, Place)>,
    ids: HashSet<BlobId>,
    tables: u64,
}

/// Fetches what is lacking of these layers of an image, where the registry has an artifact that helps. Only the end of
/// the work is an error: whatever else goes wrong, the layers can be fetched whole.
pub(crate) fn fetch(
    repo: &Repo,
    client: &Client,
    image: &SourceImage,
    lacking: &[Digest],
) -> Result<Option<Fetched>, Cancelled> {
    let Some(manifest) = image.manifest.filter(|_| !lacking.is_empty()) else {
        return Ok(None);
    };
    let found = soft(artifacts(client, &manifest))?.unwrap_or_default();
    for artifact in found {
        match try_artifact(repo, client, image, &artifact, lacking) {
            Ok(None) => {}
            Ok(fetched) => return Ok(fetched),
            Err(e) if e.class() == Class::Cancelled => return Err(Cancelled),
            Err(e) => repo.watch().passed_over(
                &format!("the chunks of {manifest}"),
                &cairn_model::one_line(&e),
            ),
        }
    }
    Ok(None)
}

fn try_artifact(
    repo: &Repo,
    client: &Client,
    image: &SourceImage,
    artifact: &Artifact,
    lacking: &[Digest],
) -> Result<Option<Fetched>> {
    let lease = repo.store.lease()?;
    let plan = plan(repo, client, image, artifact, lacking)?;
    if plan.recipes.is_empty() {
        return Ok(None);
    }
    let mut counts = ChunksFetched {
        layers: 0,
        blobs: plan.wanted.len() as u64,
        bytes: plan.tables,
    };
    let spans = spans(plan.wanted);
    let bytes: u64 = spans.iter().map(|span| span.len).sum();
    counts.bytes += bytes;
    repo.watch().total(bytes);
    for batch in batches(&spans) {
        fetch_batch(repo, client, batch)?;
    }
    Ok(Some(Fetched {
        recipes: Recipes::new(plan.recipes),
        counts,
        _lease: lease,
    }))
}

/// The layers for which it pays, and the blobs that they lack.
fn plan(
    repo: &Repo,
    client: &Client,
    image: &SourceImage,
    artifact: &Artifact,
    lacking: &[Digest],
) -> Result<Plan> {
    let known = tables(artifact);
    let mut plan = Plan::default();
    for (id, source) in image.config.diff_ids().iter().zip(&image.layers) {
        let Some(at) = known.get(id).filter(|_| lacking.contains(id)) else {
            continue;
        };
        if plan.recipes.contains_key(id)
            || artifact.layers[*at].blob.bytes > source.stored_bytes()?
        {
            continue;
        }
        let table = read_table(client, artifact, *at, &repo.options.limits)?;
        if table.layer.diff_id != Some(*id) {
            return Err(Error::Invalid(format!(
                "the table of layer {id} is that of another"
            )));
        }
        plan.tables += artifact.layers[*at].blob.bytes;
        plan.add(repo, *id, &table, source.stored_bytes()?)?;
    }
    Ok(plan)
}

impl Plan {
    /// Adds a layer if that takes fewer bytes than the whole of it.
    fn add(&mut self, repo: &Repo, id: Digest, table: &Table, whole: u64) -> Result<()> {
        let mut new = Vec::new();
        for place in &table.places {
            if !self.ids.contains(&place.id) && !repo.store.has(&place.id)? {
                new.push((table.packs[place.pack as usize], *place));
            }
        }
        let bytes: u64 = new.iter().map(|(_, place)| u64::from(place.stored)).sum();
        if bytes < whole {
            self.ids.extend(new.iter().map(|(_, place)| place.id));
            self.wanted.extend(new);
            self.recipes.insert(id, table.layer);
        }
        Ok(())
    }
}

/// Parts that are fetched before what they have becomes part of the store.
fn batches(spans: &[Span]) -> Vec<&[Span]> {
    let (mut out, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, span) in spans.iter().enumerate() {
        bytes += span.len;
        if bytes >= BATCH_BYTES || at + 1 == spans.len() {
            out.push(&spans[start..=at]);
            (start, bytes) = (at + 1, 0);
        }
    }
    out
}

fn fetch_batch(repo: &Repo, client: &Client, batch: &[Span]) -> Result<()> {
    let ingest = repo.store.ingest()?;
    let done = threads::for_each(JOBS, batch, |_, span| {
        fetch_span(repo, client, &ingest, span)
    });
    // What came before something failed is good.
    if !repo.watch().is_cancelled() {
        let kept = ingest.finish().and_then(|prepared| {
            repo.store
                .publish::<_, cairn_store::Error>(prepared, |_| Ok(()))
        });
        done?;
        return Ok(kept?);
    }
    done
}

fn fetch_span(repo: &Repo, client: &Client, ingest: &Ingest, span: &Span) -> Result<()> {
    let pack = cairn_image::RemoteBlob {
        digest: span.pack.digest,
        bytes: span.pack.bytes,
        media_type: super::PACK.to_owned(),
    };
    let bytes = match span.len {
        0 => Vec::new(),
        len => client.span(&pack, span.at, len)?,
    };
    repo.watch().read(span.len);
    let mut feeder = ingest.feeder();
    for place in &span.blobs {
        let content = of_span(span, place, &bytes).and_then(|payload| {
            let packed = Packed {
                codec: place.codec,
                raw: place.raw,
                payload: payload.to_vec(),
            };
            packed.open(&place.id)
        });
        let content = content.ok_or_else(|| {
            let pack = span.pack.digest;
            Error::Invalid(format!("blob {} in pack {pack} is another one", place.id))
        })?;
        feeder.put(&content)?;
    }
    feeder.ids()?;
    Ok(())
}
