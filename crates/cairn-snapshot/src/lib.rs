//! The snapshot graph: parent-chained records with a writable head, and the rules they follow.
//!
//! **Invariant:** a parent is committed and exists, nobody's parent is removed, and a key names one
//! snapshot. The semantics are those that containerd's test suite asks of any snapshotter.
//!
//! [`Snapshotter`] is the contract; [`graph`] are the rules over rows, for whoever implements it.
//!
//! ```
//! use cairn_snapshot::Filter;
//!
//! // As containerd's clients write them.
//! let filter: Filter = "kind==active,parent==base".parse()?;
//! # drop(filter);
//! assert!("kind=".parse::<Filter>().is_err());
//! # Ok::<_, cairn_snapshot::Error>(())
//! ```

mod error;
mod filter;
pub mod graph;
mod snapshot;

pub use cairn_model::Class;
pub use error::{Error, Result};
pub use filter::Filter;
pub use snapshot::{FieldPath, Kind, Labels, Snapshot, Usage};

use cairn_model::{MountPlan, SnapshotKey};

/// What any snapshotter does.
pub trait Snapshotter {
    /// Error of the implementation.
    type Error;

    /// Makes a writable snapshot over `parent` (over nothing if none) and says how to mount it.
    fn prepare(
        &self,
        key: &SnapshotKey,
        parent: Option<&SnapshotKey>,
        labels: Labels,
    ) -> Result<MountPlan, Self::Error>;
    /// Makes a read-only snapshot of `parent` and says how to mount it.
    fn view(
        &self,
        key: &SnapshotKey,
        parent: Option<&SnapshotKey>,
        labels: Labels,
    ) -> Result<MountPlan, Self::Error>;
    /// How to mount an active snapshot or view.
    fn mounts(&self, key: &SnapshotKey) -> Result<MountPlan, Self::Error>;
    /// Turns what the active snapshot `key` changed into the committed snapshot `name`; `key` is gone.
    fn commit(
        &self,
        name: &SnapshotKey,
        key: &SnapshotKey,
        labels: Labels,
    ) -> Result<(), Self::Error>;
    /// Makes the committed snapshot `name` of what the active snapshot `key` shows now. `key` stays as it is; whoever
    /// writes to it has to be paused, or `name` has some of what is being written.
    fn save(
        &self,
        name: &SnapshotKey,
        key: &SnapshotKey,
        labels: Labels,
    ) -> Result<(), Self::Error>;
    /// Makes the active snapshot `key`, which shows what the committed snapshot `saved` shows, and says how to mount
    /// it.
    fn restore(
        &self,
        key: &SnapshotKey,
        saved: &SnapshotKey,
        labels: Labels,
    ) -> Result<MountPlan, Self::Error> {
        self.prepare(key, Some(saved), labels)
    }
    /// Removes a snapshot that nothing depends on. Space may be freed later, by a collection.
    fn remove(&self, key: &SnapshotKey) -> Result<(), Self::Error>;
    /// The record of one snapshot.
    fn stat(&self, key: &SnapshotKey) -> Result<Snapshot, Self::Error>;
    /// Changes labels: all of them without `fields`, else those that are named.
    fn update(
        &self,
        key: &SnapshotKey,
        labels: Labels,
        fields: &[FieldPath],
    ) -> Result<Snapshot, Self::Error>;
    /// All records that any of the filters accepts; without filters, all.
    fn walk(&self, filters: &[Filter]) -> Result<Vec<Snapshot>, Self::Error>;
    /// What the snapshot itself takes, without its parents.
    fn usage(&self, key: &SnapshotKey) -> Result<Usage, Self::Error>;
    /// Frees what removed snapshots left.
    fn cleanup(&self) -> Result<(), Self::Error>;
}
