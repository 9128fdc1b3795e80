//! What the bytes of a repository are: views by image, layer, path, kind of file, package and day, and all that
//! the page of `cairn stats --html` shows.
//!
//! **Invariant:** the rows of a view sum to its total, and totals are the lines of [`Stats`](crate::Stats): each
//! byte that is stored counts for the row that had it first.

mod ask;
mod breakdown;
mod browse;
mod claims;
mod classes;
mod details;
mod files;
mod groups;
mod histogram;
mod order;
mod paths;
mod sets;
mod tree;
mod views;
mod walk;
mod waste;

pub use ask::{Ask, By};
pub use breakdown::{Breakdown, Row};
pub use browse::{BrowsedImage, FilesOf, Overview};
pub use claims::Figures;
pub use details::{Details, HeadSize, ImageDetail, LayerDetail};
pub use groups::Pair;
pub use histogram::Bar;
pub use sets::KeptBy;
pub use tree::FileTree;
pub use waste::{Waste, WastedPath};
