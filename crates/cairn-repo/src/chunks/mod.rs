//! Blobs beside the layers of an image in a registry: another repository fetches just those that it lacks.
//!
//! An artifact that refers to the image has a table for each layer and packs of blobs (`docs/format.md`, "Chunks in a
//! registry"). A table says how the layer's tar is made of blobs, and where in which pack each of them is. Whoever
//! pushes leaves out what packs of earlier images of the repository have.
//!
//! **Invariant:** an artifact is believed nothing. Each blob is checked against its id; with the blobs the layer's tar
//! is written, and read again as any other layer, with the same limits, to the diff id that the image states. Where
//! that fails the whole layer is fetched. So the worst that a wrong artifact can do is to waste time.

mod attach;
mod fetch;
mod known;
mod needs;
mod packs;
mod plan;
mod rebuild;
mod recipe;
mod table;

pub(crate) use attach::Attachment;
pub use attach::ChunksPushed;
pub use fetch::ChunksFetched;
pub(crate) use fetch::{Fetched, fetch};
pub(crate) use needs::blobs_of;
pub(crate) use packs::put;
pub(crate) use rebuild::rebuilt;
pub(crate) use recipe::{RecipeV1, Recipes};

/// What the artifact and its blobs are called.
pub(crate) const ARTIFACT: &str = "application/vnd.cairn.chunks.v1";
const TABLE: &str = "application/vnd.cairn.chunks.table.v1";
const PACK: &str = "application/vnd.cairn.chunks.pack.v1";
/// Annotation of a table: the diff id of its layer.
const DIFF_ID: &str = "vnd.cairn.diff-id";
