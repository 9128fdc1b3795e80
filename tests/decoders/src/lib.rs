//! What must hold for each decoder, whatever bytes it is given: no panic, no memory beyond its limits,
//! and what is accepted makes sense. The fuzz targets call these, and so do the ordinary tests, on the
//! inputs kept in `tests/fuzz/corpus`.

mod layers;
mod store;

pub use layers::{image_document, manifest, tar};
pub use store::{chunker, index, journal, pack};

/// A name, and what must hold for any bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("tar", tar),
    ("manifest", manifest),
    ("pack", pack),
    ("index", index),
    ("journal", journal),
    ("image_document", image_document),
    ("chunker", chunker),
];
