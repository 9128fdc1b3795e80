//! Metadata: a repository lock, a journal that is the truth, and a sled database that serves it.
//!
//! **Order.** A transaction is decided in memory, appended to the journal, and synced; that is the
//! moment it exists. Then sled gets the same rows in one batch. sled remembers up to where it applied
//! the journal, so a crash between the two is made good at the next opening, and a database that is
//! lost or damaged is rebuilt from the journal without anybody's help. Nothing therefore depends
//! on how durable sled's own files are. Where sled cannot serve for want of anything else (space,
//! descriptors, memory, a file system that can be written), rows are read from the journal itself.
//!
//! Rows of what does not outlive the machine anyway are in a file of their own (`boot_rows`), without a sync.
//!
//! sled allows one process at a time, so every use takes the repository lock, opens it, works for
//! milliseconds, and closes it. An opening of sled costs more than its use, so rows come from the journal alone where
//! that is short, and a process that uses the database again remembers them (`known`): then a transaction is one
//! record at the journal's end.

mod boot_rows;
mod db;
mod engine;
mod gate;
mod journal;
mod known;
mod lock;
mod mend;
mod mirror;
mod opening;
mod record;
mod rows;
mod salvage;
mod session;
mod table;
mod txn;

pub use db::Db;
pub use journal::{AllRows, is_journal, is_worth_keeping, journal_rows};
pub use lock::{LockWatch, Notice};
pub use mend::DbRepair;
pub use rows::Rows;
pub use table::Table;
pub use txn::Txn;
