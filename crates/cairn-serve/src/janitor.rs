//! What is done after the answer: files of removed snapshots, mounts that nobody needs, collections. One thread, a step
//! at a time, whose end nobody waits for; what it leaves a collection finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use cairn_repo::{GcOptions, Released, Repo};
use cairn_snapshot::{Snapshot, Snapshotter};

use crate::error::Result;
use crate::ids::{self, ids_of};
use crate::kept::Kept;
use crate::status::Failure;

/// Orders that wait at most. Of what is left out a collection takes care.
const ORDERS_MAX: usize = 10_000;
/// How long further orders are waited for before mounts are looked at: removals come in crowds.
const QUIET: Duration = Duration::from_millis(500);
/// How long one collection goes on; the next one continues.
const COLLECTION: Duration = Duration::from_secs(30);

enum Order {
    /// Remove the files of a snapshot.
    Free(Released),
    /// Unmount what nobody needs.
    Tidy,
    /// Free what nothing needs.
    Collect,
}

/// Takes orders.
#[derive(Clone)]
pub(crate) struct Janitor {
    orders: SyncSender<Order>,
    waiting: Arc<AtomicUsize>,
}

impl Janitor {
    /// Starts the thread.
    pub fn start(repo: Arc<Repo>, kept: Arc<Kept>) -> std::io::Result<Self> {
        let (orders, received) = sync_channel(ORDERS_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let room = Room {
            repo,
            kept,
            waiting: Arc::clone(&waiting),
        };
        std::thread::Builder::new()
            .name("janitor".into())
            .spawn(move || room.work(&received))?;
        Ok(Self { orders, waiting })
    }

    fn order(&self, order: Order) {
        self.waiting.fetch_add(1, Relaxed);
        if self.orders.try_send(order).is_err() {
            self.waiting.fetch_sub(1, Relaxed);
        }
    }

    /// Removes the files of a snapshot.
    pub fn free(&self, gone: Released) {
        self.order(Order::Free(gone));
    }

    /// Unmounts what nobody needs.
    pub fn tidy(&self) {
        self.order(Order::Tidy);
    }

    /// Frees what nothing needs.
    pub fn collect(&self) {
        self.order(Order::Collect);
    }

    /// True where nothing is left to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.load(Relaxed) == 0
    }
}

struct Room {
    repo: Arc<Repo>,
    kept: Arc<Kept>,
    waiting: Arc<AtomicUsize>,
}

/// What the orders of a while come to.
#[derive(Default)]
struct Todo {
    orders: usize,
    collect: bool,
}

impl Room {
    fn work(&self, orders: &Receiver<Order>) {
        while let Ok(first) = orders.recv() {
            let mut todo = Todo::default();
            self.take(first, &mut todo);
            loop {
                match orders.recv_timeout(QUIET) {
                    Ok(order) => self.take(order, &mut todo),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            told("unmount views that nobody needs", self.tidy());
            if todo.collect {
                told("collect", self.collect());
            }
            self.waiting.fetch_sub(todo.orders, Relaxed);
        }
    }

    fn take(&self, order: Order, todo: &mut Todo) {
        todo.orders += 1;
        match order {
            Order::Free(gone) => told(
                "remove the files of a snapshot",
                gone.free().map_err(Into::into),
            ),
            Order::Tidy => {}
            Order::Collect => todo.collect = true,
        }
    }

    fn tidy(&self) -> Result<(), Failure> {
        let ids = |snapshot: &Snapshot| {
            let ids = ids_of(&snapshot.labels).ok().flatten();
            ids.map(|ids| ids::name(&ids))
        };
        let needed = || Ok::<_, Failure>(self.repo.views().needed(ids)?);
        let count = self.kept.drop_unneeded(needed)?;
        tracing::debug!(count, "views unmounted");
        Ok(())
    }

    fn collect(&self) -> Result<(), Failure> {
        self.repo.snapshots().cleanup()?;
        let options = GcOptions {
            until: Some(Instant::now() + COLLECTION),
            ..GcOptions::default()
        };
        let report = self.repo.gc().run(&options)?;
        tracing::info!(freed_bytes = report.freed_bytes, "collected");
        Ok(())
    }
}

fn told(what: &str, done: Result<(), Failure>) {
    if let Err(e) = done {
        tracing::warn!(error = cairn_model::one_line(&e), "cannot {what}");
    }
}
