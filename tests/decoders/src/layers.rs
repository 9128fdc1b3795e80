//! What comes from outside: layer tars and image documents; and what is made of them.

use std::sync::PoisonError;

use cairn_image::ImageConfig;
use cairn_layer::{Limits, Tree, decode_manifest, import_tar};
use cairn_model::{Kind, LayerName, Piece};

use crate::store::place;

/// A layer tar: refused, or entries that stay inside the root and can be merged or are refused then.
pub fn tar(bytes: &[u8]) {
    let place = place().lock().unwrap_or_else(PoisonError::into_inner);
    let ingest = place.store.ingest().expect("a lease");
    let limits = Limits {
        entries_max: 1000,
        bytes_max: 1 << 22,
        header_bytes_max: 1 << 16,
    };
    let Ok(tar) = import_tar(&mut &bytes[..], ingest.feeder(), limits) else {
        return;
    };
    assert!(tar.entries.len() <= 1000);
    for entry in &tar.entries {
        let mut parts = entry.path.split(|byte| *byte == b'/');
        assert!(
            entry.path.is_empty() || parts.all(|part| !part.is_empty() && part != b".."),
            "{entry:?} leaves the root"
        );
        if let Kind::File(content) = &entry.kind {
            let length = |piece: &Piece| match piece {
                Piece::Data { len, .. } => u64::from(*len),
                Piece::Hole { len } => *len,
            };
            let pieces: u64 = content.pieces.iter().map(length).sum();
            assert_eq!(pieces, content.size, "{entry:?}");
        }
    }
    let _ = Tree::new().apply(&tar.entries);
}

/// A manifest: where it decodes, its entries can be merged or are refused.
pub fn manifest(bytes: &[u8]) {
    if let Some(entries) = decode_manifest(bytes) {
        let _ = Tree::new().apply(&entries);
    }
}

/// An image document: where it is taken, it comes out as it came in, and every question to it has an
/// answer.
pub fn image_document(bytes: &[u8]) {
    let Ok(config) = ImageConfig::stored(bytes.to_vec()) else {
        assert!(ImageConfig::parse(bytes.to_vec()).is_err());
        return;
    };
    assert_eq!(config.bytes(), bytes);
    assert_eq!(config.chain_ids().len(), config.layers().len());
    let is_foreign = !config.layers().iter().any(LayerName::is_own);
    assert_eq!(ImageConfig::parse(bytes.to_vec()).is_ok(), is_foreign);
    let _ = (
        config.platform(),
        config.created(),
        config.container(),
        config.history(),
    );
}
