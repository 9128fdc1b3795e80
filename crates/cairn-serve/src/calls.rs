//! How a call is carried out: by a thread of a bounded pool, within a bound of time, and only as long as somebody
//! waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cairn_model::Watch;
use cairn_repo::Repo;
use tokio::sync::{Semaphore, watch};
use tonic::{Code, Status};
use tracing::Instrument;

use crate::metrics::Metrics;
use crate::status::Failure;

/// Calls of a kind that are carried out at once; others wait.
const AT_ONCE: usize = 8;

/// A kind of call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// Looks at records, or changes some.
    Short,
    /// Reads or writes files: makes a view, reads a head.
    Long,
}

impl Length {
    /// How long a call may take, until it is answered that it took too long.
    fn bound(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(20),
            Self::Long => Duration::from_secs(600),
        }
    }
}

/// What a call is about, for logs and figures.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub method: &'static str,
    pub key: String,
    pub length: Length,
}

/// Carries out calls.
#[derive(Clone)]
pub(crate) struct Calls {
    repo: Arc<Repo>,
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
    pub metrics: Arc<Metrics>,
    activity: Arc<Activity>,
}

/// Whether anybody asks for anything.
pub(crate) struct Activity {
    running: AtomicUsize,
    changed: watch::Sender<Instant>,
}

impl Activity {
    fn new() -> Self {
        Self {
            running: AtomicUsize::new(0),
            changed: watch::Sender::new(Instant::now()),
        }
    }

    /// Returns once no call is under way.
    pub async fn at_rest(&self) {
        let mut changed = self.changed.subscribe();
        // Whoever counts down says so afterwards, which the wait below then sees.
        while self.running.load(Relaxed) > 0 && changed.changed().await.is_ok() {}
    }

    /// Returns once no call was there for this long.
    pub async fn idle_for(&self, time: Duration) {
        loop {
            let last = *self.changed.borrow();
            let rest = time.saturating_sub(last.elapsed());
            if rest.is_zero() && self.running.load(Relaxed) == 0 {
                return;
            }
            tokio::time::sleep(rest.max(Duration::from_millis(20))).await;
        }
    }
}

/// One call; when it is dropped nobody waits for it any more.
struct Call {
    activity: Arc<Activity>,
    watch: Watch,
}

impl Call {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.running.fetch_add(1, Relaxed);
        Self {
            activity: Arc::clone(activity),
            watch: Watch::default(),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.watch.cancel();
        self.activity.running.fetch_sub(1, Relaxed);
        self.activity.changed.send_replace(Instant::now());
    }
}

impl Calls {
    pub fn new(repo: Arc<Repo>, metrics: Arc<Metrics>) -> Self {
        Self {
            repo,
            short: Arc::new(Semaphore::new(AT_ONCE)),
            long: Arc::new(Semaphore::new(AT_ONCE)),
            metrics,
            activity: Arc::new(Activity::new()),
        }
    }

    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// The repository's directory.
    pub fn root(&self) -> &std::path::Path {
        self.repo.root()
    }

    /// Threads that calls may take at once.
    pub fn threads() -> usize {
        2 * AT_ONCE
    }

    /// Does `work` for a call. Where nobody waits for the answer any more the work is ended: it sees so by the watch of
    /// the repository that it is given.
    pub async fn run<T: Send + 'static>(
        &self,
        about: About,
        work: impl FnOnce(&Repo) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Status> {
        let started = Instant::now();
        let call = Call::begin(&self.activity);
        let span = tracing::info_span!("call", method = about.method, key = %about.key);
        let done = self.within(&about, &call, work).instrument(span.clone());
        let out = done.await;
        let code = out.as_ref().err().map_or(Code::Ok, Status::code);
        self.metrics.count(about.method, code, started.elapsed());
        span.in_scope(|| match &out {
            Ok(_) => tracing::debug!(took = ?started.elapsed(), "answered"),
            Err(e) => {
                tracing::info!(took = ?started.elapsed(), code = ?code, error = e.message(), "refused")
            }
        });
        out
    }

    async fn within<T: Send + 'static>(
        &self,
        about: &About,
        call: &Call,
        work: impl FnOnce(&Repo) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Status> {
        let bound = about.length.bound();
        let working = self.on_thread(about.length, call.watch.clone(), work);
        let too_long = |_| {
            let words = format!("not done within {} s; try again", bound.as_secs());
            Status::deadline_exceeded(words)
        };
        tokio::time::timeout(bound, working)
            .await
            .map_err(too_long)?
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        length: Length,
        watch: Watch,
        work: impl FnOnce(&Repo) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Status> {
        let room = match length {
            Length::Short => &self.short,
            Length::Long => &self.long,
        };
        let ended = |_| Status::unavailable("the server is ending; try again");
        let permit = Arc::clone(room).acquire_owned().await.map_err(ended)?;
        let repo = self.repo.watched(watch);
        let span = tracing::Span::current();
        let thread = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by who waits for it: there are never more threads than permits.
            let _permit = permit;
            let _span = span.entered();
            work(&repo)
        });
        match thread.await {
            Ok(done) => done.map_err(|failure| failure.status()),
            Err(_) => Err(Status::internal("the call failed in an unforeseen way")),
        }
    }
}
