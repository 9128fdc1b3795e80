//! Tells an archive of images from the tar of a root file system, which may hold any file at all.

use cairn_model::Digest;
use serde::Deserialize;

use crate::archive::Archive;

/// A longer document is not the manifest of any image.
const PROBE_BYTES_MAX: u64 = 8 << 20;

/// What makes a `manifest.json` one of `docker save`.
#[derive(Deserialize)]
struct Saved {
    #[serde(rename = "Config")]
    _config: String,
}

/// What makes an `oci-layout` one of an OCI layout.
#[derive(Deserialize)]
struct Layout {
    #[serde(rename = "imageLayoutVersion")]
    _version: String,
}

/// True where the archive holds images. A file called `manifest.json` is not enough, for applications have
/// such files too; a damaged one beside image files is, so that the damage is reported.
pub fn is_image(archive: &Archive) -> bool {
    if let Some(bytes) = read(archive, "oci-layout")
        && serde_json::from_slice::<Layout>(&bytes).is_ok()
    {
        return true;
    }
    if !archive.has("manifest.json") && !archive.has("oci-layout") {
        return false;
    }
    let saved = read(archive, "manifest.json")
        .and_then(|bytes| serde_json::from_slice::<Vec<Saved>>(&bytes).ok());
    saved.is_some_and(|list| !list.is_empty()) || archive.names().any(is_of_an_image)
}

fn read(archive: &Archive, member: &str) -> Option<Vec<u8>> {
    let blob = archive.open(member).ok()?;
    (blob.len() <= PROBE_BYTES_MAX)
        .then(|| archive.document(member).ok())
        .flatten()
}

/// A name as `docker save` and OCI layouts give: `<hex>.json`, `blobs/sha256/<hex>`, `<hex>/layer.tar`.
fn is_of_an_image(name: &str) -> bool {
    let digest = |hex: &str| format!("sha256:{hex}").parse::<Digest>().is_ok();
    match name.split('/').collect::<Vec<_>>()[..] {
        [file] => file
            .strip_suffix(".json")
            .or(file.strip_suffix(".tar"))
            .is_some_and(digest),
        [id, "layer.tar"] => digest(id),
        ["blobs", "sha256", hex] => digest(hex),
        _ => false,
    }
}
