//! Metadata: a repository lock, a journal that is the truth, and a sled database that serves it.
//!
//! **Order.** A transaction is decided in memory, appended to the journal, and synced; that is the
//! moment it exists. Then sled gets the same rows in one batch. sled remembers up to where it applied
//! the journal, so a crash between the two is made good at the next opening, and a database that is
//! lost or does not open is rebuilt from the journal without anybody's help. Nothing therefore depends
//! on how durable sled's own files are.
//!
//! sled allows one process at a time, so every use takes the repository lock, opens it, works for
//! milliseconds, and closes it.

mod db;
mod journal;
mod lock;
mod table;

pub use db::{Db, Rows, Txn};
pub use journal::journal_rows;
pub use lock::{LockWatch, Notice, command};
pub use table::Table;
