//! Mark and sweep over packs, beside running imports and readers.
//!
//! 1. The caller marks every blob that a row reaches, without a lock ([`Marks`]).
//! 2. [`Packs::plan`] decides per pack: keep, drop, or rewrite what is live into a new pack.
//! 3. [`apply`] copies (no lock); then, in one short transaction, lets the caller mark what became
//!    reachable meanwhile, spares packs that hold such blobs, puts the new packs and an index without
//!    the old ones in the index, and retires the old ones.
//! 4. [`reap`] unlinks retired packs once no lease is older than their retirement. An import that
//!    relied on a retired pack restores it when it publishes.
//!
//! A crash anywhere leaves a repository that opens; the next collection goes on from there. A blob that
//! is reachable and missing stops the sweep.

mod forecast;
mod marks;
mod outcome;
mod plan;
mod policy;
mod round;
mod sweep;

pub use forecast::{Outlook, forecast};
pub use marks::{Live, LiveRecords, Marks};
pub use outcome::Outcome;
pub use plan::{Action, PackPlan, Packs, Plan, dead_bytes};
pub use policy::Policy;
pub(crate) use round::{free_space, live_slots};
pub(crate) use sweep::{Fresh, replace};
pub use sweep::{adopt_orphans, apply, reap};

pub use crate::rows::pack_rows;
