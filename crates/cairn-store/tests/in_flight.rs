//! Schedules of the threads of one ingest: whatever the order, each blob is stored exactly once.

#[allow(dead_code, reason = "the module is tested as it stands in the library")]
#[path = "../src/ingest/in_flight.rs"]
mod in_flight;

/// Locks whose every step the scheduler decides; the library has std's under this name.
mod sync {
    pub use std::sync::PoisonError;

    pub use shuttle::sync::{Mutex, RwLock};
}

use std::collections::HashSet;

use in_flight::InFlight;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

type Segment = HashSet<u8>;

/// Two workers claim the ids `0..IDS`, store what is theirs in a shared pack, and stage each pack that
/// has two.
fn ingest() {
    const IDS: u8 = 3;
    let in_flight: Arc<InFlight<u8, Segment>> = Arc::new(InFlight::new());
    let pack: Arc<Mutex<Vec<u8>>> = Arc::default();
    let stored: Arc<Mutex<Vec<u8>>> = Arc::default();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (in_flight, pack, stored) = (in_flight.clone(), pack.clone(), stored.clone());
            thread::spawn(move || {
                for id in 0..IDS {
                    let holds = |segment: &Segment| Ok::<_, ()>(segment.contains(&id));
                    if !in_flight.claim(&id, holds).unwrap() {
                        continue;
                    }
                    stored.lock().unwrap().push(id);
                    let mut open = pack.lock().unwrap();
                    open.push(id);
                    if open.len() < 2 {
                        continue;
                    }
                    let full = std::mem::take(&mut *open);
                    drop(open);
                    let segment: Segment = full.iter().copied().collect();
                    let add = |staged: &mut Vec<Segment>| {
                        staged.push(segment);
                        Ok::<_, ()>(())
                    };
                    in_flight.stage(&full, add).unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let mut stored = stored.lock().unwrap().clone();
    stored.sort_unstable();
    assert_eq!(stored, (0..IDS).collect::<Vec<_>>());
}

#[test]
fn each_blob_is_stored_once_in_every_schedule() {
    // Schedules with up to three preemptions at the places that matter, and others at random.
    shuttle::check_pct(ingest, 5000, 3);
    shuttle::check_random(ingest, 5000);
}
