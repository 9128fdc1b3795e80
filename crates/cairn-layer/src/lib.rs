//! Layers: tar streams and directories become entries, entries become manifests, a chain of manifests
//! becomes a tree, and all of it goes back again.
//!
//! **Invariant:** the tar of an imported layer comes out byte for byte as it came in, and whatever
//! comes in, no entry leaves the root it belongs to.
//!
//! ```
//! assert_eq!(cairn_layer::clean(b"./usr//bin/")?, b"usr/bin");
//! assert!(cairn_layer::clean(b"../../etc/passwd").is_err());
//! # Ok::<_, cairn_layer::Error>(())
//! ```

mod between;
mod content;
mod dir;
mod error;
mod layer;
mod manifest;
mod path;
mod tar;
mod tree;

pub use between::layer_between;
pub use content::{ContentReader, read_content};
pub use dir::{
    CommitReport, Fingerprint, OverlayAttributes, Owners, Scanned, Survey, Upper, checkout,
    checkout_for_overlay, commit_copy, commit_upper, directory_meta, root_of, scan, survey,
    write_pieces,
};
pub use error::{Error, Result};
pub use layer::{Layer, LayerWriter, Limits};
pub use manifest::decode as decode_manifest;
pub use path::{Met, clean, join, resolve, split};
pub use tar::{
    Indexed, IndexedKind, TarImport, TarWriter, export_layer, import_tar, index_tar, is_tar_header,
    read_stream, write_tree,
};
pub use tree::{Change, ChangeKind, Node, NodeId, NodeKind, Tree, diff};
