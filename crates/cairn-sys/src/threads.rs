//! Work shared out to threads, on as many as the system gives.

use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, ScopedJoinHandle, available_parallelism, scope};

/// Threads that can run at once here.
pub fn cores() -> usize {
    available_parallelism().map_or(2, usize::from)
}

/// Threads for so many items: finding out how many can run at once costs more than one item may.
pub fn for_items(count: usize) -> usize {
    match count {
        0 | 1 => 1,
        _ => cores(),
    }
}

/// Runs `work` on up to `count` threads until all have come to their end. `work` takes its portions from a
/// place they share, so that it makes no difference how many the system gives: with none, the caller does it.
pub fn on_threads(count: usize, work: &(dyn Fn() + Sync)) {
    scope(|scope| {
        let mut started = 0;
        // A single thread would only leave the caller waiting.
        while count > 1 && started < count && Builder::new().spawn_scoped(scope, work).is_ok() {
            started += 1;
        }
        if started == 0 {
            work();
        }
    });
}

/// Does `work` for every item, with its position, on up to `count` threads. After the first error no further
/// item is begun, and that error is returned.
pub fn for_each<T: Sync, E: Send>(
    count: usize,
    items: &[T],
    work: impl Fn(usize, &T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<E>> = Mutex::new(None);
    on_threads(count.min(items.len()), &|| {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            if let Err(e) = work(at, item) {
                next.store(items.len(), Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(e);
            }
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

/// Like [`for_each`], with an answer for every item, in their order.
pub fn map<T: Sync, R: Send, E: Send>(
    count: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let answers: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    for_each(count, items, |at, item| {
        let answer = work(item)?;
        *answers[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        Ok(())
    })?;
    let taken = answers.into_iter();
    Ok(taken
        .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect())
}

/// Does two things at once, or, where the system gives no thread, one after the other.
pub fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    // Whoever takes it does it.
    let todo = Mutex::new(Some(first));
    let run = || {
        let first = todo.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.map(|first| first())
    };
    scope(|scope| {
        let started = Builder::new().spawn_scoped(scope, run);
        let second = second();
        let answer = match started.map(ScopedJoinHandle::join) {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => run(),
        };
        match answer {
            Some(first) => (first, second),
            None => unreachable!("it is done once"),
        }
    })
}

/// Starts a thread; the system may refuse.
pub fn start<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().spawn(work)
}

/// Tells whether the system would give `count` threads now, by starting and ending them: for libraries that
/// take it for granted.
pub fn can_start(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    let closed = gate.lock();
    scope(|scope| {
        let wait = || drop(gate.lock());
        let all = (0..count).try_for_each(|_| Builder::new().spawn_scoped(scope, wait).map(drop));
        drop(closed);
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_and_answers_keep_their_order() {
        let items: Vec<u64> = (0..1000).collect();
        for count in [0, 1, 2, 7] {
            let doubled = map(count, &items, |item| Ok::<_, ()>(item * 2)).unwrap();
            assert_eq!(doubled, (0..1000).map(|i| i * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_ends_it() {
        let items: Vec<usize> = (0..1000).collect();
        let done = AtomicUsize::new(0);
        let answer = for_each(1, &items, |at, _| {
            done.fetch_add(1, Ordering::Relaxed);
            if at == 10 { Err(at) } else { Ok(()) }
        });
        assert_eq!(answer, Err(10));
        assert_eq!(done.into_inner(), 11);
    }
}
