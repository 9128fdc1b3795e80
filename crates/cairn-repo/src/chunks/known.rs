//! What packs of earlier images of the same repository have.
//!
//! They are found from the tag that is pushed to and from the tags beside it in their natural order: `app:1.9` stands
//! before `app:1.10`. What cannot be read is passed over: it is only sent again.

use std::cmp::Ordering;
use std::collections::HashMap;

use cairn_layer::Limits;
use cairn_model::{BlobId, Cancelled, Digest};
use cairn_registry::{Artifact, Client};

use super::table::{self, Pack, Place, TABLE_BYTES_MAX, Table};
use super::{ARTIFACT, DIFF_ID, TABLE};
use crate::error::{Error, Result};

/// Images that are asked for artifacts, and artifacts that are read.
const IMAGES_MAX: usize = 6;
const ARTIFACTS_MAX: usize = 2;
/// Part of a table that is fetched at once.
const PART_BYTES: u64 = 4 << 20;

/// Where blobs are in packs of the repository.
#[derive(Default)]
pub struct Known(HashMap<BlobId, (Pack, Place)>);

impl Known {
    /// What earlier artifacts say; called before the tag moves.
    pub fn read(client: &Client, tag: &str, limits: &Limits) -> Result<Self, Cancelled> {
        let mut known = Self::default();
        let mut read = 0;
        for digest in images(client, tag)? {
            if read == ARTIFACTS_MAX {
                break;
            }
            for artifact in soft(artifacts(client, &digest))?.unwrap_or_default() {
                known.add(client, &artifact, limits)?;
                read += 1;
            }
        }
        Ok(known)
    }

    fn add(
        &mut self,
        client: &Client,
        artifact: &Artifact,
        limits: &Limits,
    ) -> Result<(), Cancelled> {
        for layer in tables(artifact).values() {
            let Some(table) = soft(read_table(client, artifact, *layer, limits))? else {
                continue;
            };
            for place in &table.places {
                let pack = table.packs[place.pack as usize];
                self.0.entry(place.id).or_insert((pack, *place));
            }
        }
        Ok(())
    }

    /// The place of a blob.
    pub fn place(&self, id: &BlobId) -> Option<&(Pack, Place)> {
        self.0.get(id)
    }
}

/// The answer, or none with a word in the log; only the end of the work ends this.
pub fn soft<T>(answer: Result<T>) -> Result<Option<T>, Cancelled> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(e) if e.class() == cairn_model::Class::Cancelled => Err(Cancelled),
        Err(e) => {
            tracing::warn!(why = cairn_model::one_line(&e), "no chunks");
            Ok(None)
        }
    }
}

/// Images that may have artifacts: that of the tag, then those of the tags nearest to it.
fn images(client: &Client, tag: &str) -> Result<Vec<Digest>, Cancelled> {
    let tags = soft(client.tags().map_err(Error::from))?.unwrap_or_default();
    let mut out = Vec::new();
    for near in nearest(tag, &tags) {
        let digest = soft(client.digest_of(near).map_err(Error::from))?.flatten();
        if let Some(digest) = digest.filter(|digest| !out.contains(digest)) {
            out.push(digest);
        }
    }
    Ok(out)
}

/// The tag itself, then others, those that stand shortly before it first.
fn nearest<'a>(tag: &'a str, tags: &'a [String]) -> Vec<&'a str> {
    let others = tags.iter().map(String::as_str);
    let mut others: Vec<&str> = others.filter(|other| is_of_image(other, tag)).collect();
    others.sort_by(|a, b| natural(a, b));
    let at = others.partition_point(|other| natural(other, tag) == Ordering::Less);
    let (before, after) = others.split_at(at);
    std::iter::once(tag)
        .chain(before.iter().rev().copied())
        .chain(after.iter().copied())
        .take(IMAGES_MAX)
        .collect()
}

fn is_of_image(other: &str, tag: &str) -> bool {
    other != tag && !other.starts_with("sha256-")
}

/// Digits compare as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let key = |text: &str| {
        let mut out: Vec<(u64, String)> = vec![(0, String::new())];
        let mut in_number = false;
        for c in text.chars() {
            match c.to_digit(10) {
                Some(digit) => {
                    if !in_number {
                        out.push((0, String::new()));
                    }
                    if let Some((number, _)) = out.last_mut() {
                        *number = number.saturating_mul(10).saturating_add(digit.into());
                    }
                    in_number = true;
                }
                None => {
                    if let Some((_, words)) = out.last_mut() {
                        words.push(c);
                    }
                    in_number = false;
                }
            }
        }
        out
    };
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// The artifacts with chunks of an image, as many as are worth a look.
pub fn artifacts(client: &Client, image: &Digest) -> Result<Vec<Artifact>> {
    let referrers = client.referrers(image)?;
    let ours = referrers.iter().filter(|r| r.artifact_type == ARTIFACT);
    let read = |r: &cairn_registry::Referrer| Ok(client.artifact(&r.digest)?);
    ours.take(ARTIFACTS_MAX).map(read).collect()
}

/// Where the tables of an artifact are among its blobs, by diff id.
pub fn tables(artifact: &Artifact) -> HashMap<Digest, usize> {
    let layers = artifact.layers.iter().enumerate();
    let tables = layers.filter(|(_, layer)| layer.blob.media_type == TABLE);
    tables
        .filter_map(|(at, layer)| Some((layer.annotations.get(DIFF_ID)?.parse().ok()?, at)))
        .collect()
}

/// A table of an artifact, which has to name the packs of the table as well.
pub fn read_table(
    client: &Client,
    artifact: &Artifact,
    at: usize,
    limits: &Limits,
) -> Result<Table> {
    let blob = &artifact.layers[at].blob;
    let wrong = |why: &str| Error::Invalid(format!("table {}: {why}", blob.digest));
    if blob.bytes > TABLE_BYTES_MAX || blob.bytes == 0 {
        return Err(wrong("it is longer than a table may be, or empty"));
    }
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < blob.bytes {
        let from = bytes.len() as u64;
        let part = client.span(blob, from, PART_BYTES.min(blob.bytes - from))?;
        bytes.extend_from_slice(&part);
    }
    if cairn_image::sha256(&bytes) != blob.digest {
        return Err(wrong("what the registry sends has another digest"));
    }
    let table = table::decode(&bytes, limits).map_err(wrong)?;
    let named = |pack: &Pack| {
        let mut layers = artifact.layers.iter();
        layers.any(|layer| layer.blob.digest == pack.digest && layer.blob.bytes == pack.bytes)
    };
    match table.packs.iter().all(named) {
        true => Ok(table),
        false => Err(wrong("the artifact does not name its packs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_before_is_looked_at_first() {
        let tags = ["1.9", "1.10", "1.8", "sha256-ab", "2.0", "1.10-rc"].map(str::to_owned);
        assert_eq!(
            nearest("1.10", &tags),
            ["1.10", "1.9", "1.8", "1.10-rc", "2.0"]
        );
        assert_eq!(nearest("3", &tags)[..3], ["3", "2.0", "1.10-rc"]);
        assert_eq!(nearest("x", &[]), ["x"]);
        assert_eq!(natural("v2", "v10"), Ordering::Less);
    }
}
