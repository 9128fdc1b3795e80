//! Archives of `docker save`, packed or unpacked.

use cairn_model::Digest;

use crate::archive::Archive;
use crate::choose::{Candidate, Finds, Place};
use crate::config::ImageConfig;
use crate::documents::{DockerImage, json};
use crate::error::{Error, Result};
use crate::platform::Platform;
use crate::source::{Found, LayerSource, checked, complete};

/// Bytes of all configurations of one archive together.
const DOCUMENTS_BYTES_MAX: usize = 64 << 20;

/// The images of the archive.
pub fn save(archive: &Archive, platform: &Platform) -> Result<Found> {
    let list: Vec<DockerImage> = json(&archive.document("manifest.json")?, "manifest.json")?;
    let mut finds = Finds::default();
    let mut bytes_read = 0;
    for (number, image) in list.into_iter().enumerate() {
        let mut bytes = archive.document(&image.config)?;
        bytes_read += bytes.len();
        if bytes_read > DOCUMENTS_BYTES_MAX {
            let why = format!("its documents are larger than {DOCUMENTS_BYTES_MAX} bytes in total");
            return Err(Error::invalid(archive.name(), why));
        }
        if let Some(expected) = stated(&image.config) {
            let what = format!("image configuration {}", image.config);
            bytes = checked(bytes, expected, &what)?;
        }
        let config = ImageConfig::parse(bytes)?;
        let mut places: Vec<Place> = image.repo_tags.into_iter().map(Place::Named).collect();
        if places.is_empty() {
            places.push(Place::Index(number));
        }
        finds.candidates.push(Candidate {
            manifest: None,
            rank: platform.rank(&config.platform()),
            config,
            layers: image.layers,
            places,
            must_fit: false,
        });
    }
    finds.choose(&archive.name(), platform, |config, layers| {
        let layers = layers.iter().map(|member| layer(archive, member));
        complete(&archive.name(), config, layers.collect())
    })
}

/// Only a name in `blobs/` is the digest of the file itself; elsewhere it may be anything, and the layer is
/// checked against its diff id.
fn layer(archive: &Archive, member: &str) -> LayerSource {
    let digest = if member.starts_with("blobs/") {
        stated(member)
    } else {
        None
    };
    LayerSource::new(archive, member.to_owned(), digest)
}

/// The digest that a file name of an archive states: `<hex>`, `<hex>.json`, `blobs/sha256/<hex>`.
fn stated(member: &str) -> Option<Digest> {
    let last = member.rsplit('/').next()?;
    let hex = last.split('.').next()?;
    format!("sha256:{hex}").parse().ok()
}
