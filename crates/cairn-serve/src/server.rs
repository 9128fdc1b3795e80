//! The server as a whole: what it is given, how it starts, and when it ends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cairn_repo::Repo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::calls::{Activity, Calls};
use crate::content::ContentStore;
use crate::diff::DiffService;
use crate::error::{At, Error, Result};
use crate::health::HealthService;
use crate::janitor::Janitor;
use crate::kept::Kept;
use crate::listen::Socket;
use crate::metrics::Metrics;
use crate::notify::notify;
use crate::proto::diff::diff_server::DiffServer;
use crate::proto::health::health_server::HealthServer;
use crate::proto::saved::saved_server::SavedServer;
use crate::proto::snapshots::snapshots_server::SnapshotsServer;
use crate::saved::SavedService;
use crate::snapshots::SnapshotService;

/// Where a server listens by default.
pub const ADDRESS: &str = "/run/cairn/serve.sock";
/// Where views stay mounted by default.
pub const STATE: &str = "/run/cairn/views";
/// Where containerd answers by default.
pub const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// Connections that wait to be served.
const BACKLOG: usize = 16;
/// Calls of one connection at once; more wait at the client.
const STREAMS_MAX: u32 = 256;
/// How often figures are written.
const METRICS_EVERY: Duration = Duration::from_secs(15);
/// How long calls that are under way may take when the server is asked to end.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long the last answers have to reach their clients. Connections without a call are not waited for: clients keep
/// them open for as long as they live.
const FLUSH: Duration = Duration::from_millis(100);

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The socket, where systemd hands none over.
    pub address: PathBuf,
    /// Directory in which views stay mounted; it must not outlive a boot.
    pub state: PathBuf,
    /// End when no call came for this long.
    pub idle_exit: Option<Duration>,
    /// The socket of containerd, from whose content store layers are applied.
    pub containerd: PathBuf,
    /// File for figures.
    pub metrics: Option<PathBuf>,
    /// Name or number of the group whose members may connect, beside root.
    pub group: Option<String>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            address: ADDRESS.into(),
            state: STATE.into(),
            containerd: CONTAINERD.into(),
            idle_exit: None,
            metrics: None,
            group: None,
        }
    }
}

/// Serves a repository until a signal ends it (SIGTERM or SIGINT), or nobody asks for anything any more.
pub fn serve(repo: Repo, options: ServeOptions) -> Result<()> {
    let group = Socket::group(options.group.as_deref())?;
    let kept = Arc::new(Kept::open(&options.state, repo.root())?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(Calls::threads() + 2)
        .build()
        .at("start", Path::new("the server"))?;
    // Before anybody can know that it is there.
    let signals = Signals::new(&runtime)?;
    let socket = Socket::open(&options.address, group)?;
    let repo = Arc::new(repo);
    let janitor = Janitor::start(Arc::clone(&repo), Arc::clone(&kept))
        .at("start a thread for", Path::new("removals"))?;
    // What an earlier server did not come to.
    janitor.tidy();
    let metrics = Arc::new(Metrics::default());
    let running = Running {
        calls: Calls::new(repo, Arc::clone(&metrics)),
        kept,
        janitor,
        metrics,
        options,
    };
    let done = runtime.block_on(running.run(socket, group, signals));
    runtime.shutdown_timeout(FAREWELL);
    running.write_metrics();
    done
}

struct Running {
    calls: Calls,
    kept: Arc<Kept>,
    janitor: Janitor,
    metrics: Arc<Metrics>,
    options: ServeOptions,
}

impl Running {
    async fn run(&self, socket: Socket, group: Option<u32>, signals: Signals) -> Result<()> {
        let (sender, streams) = tokio::sync::mpsc::channel(BACKLOG);
        let accepting = tokio::spawn(socket.accept(group, sender));
        notify("READY=1");
        let serving = self.serve(streams, signals);
        let served = tokio::select! {
            done = serving => done,
            () = self.keep_writing() => Ok(()),
        };
        notify("STOPPING=1");
        // It ends when its receiver is gone, and takes the socket's file away.
        match accepting.await {
            Ok(accepted) => served.and(accepted),
            Err(_) => served,
        }
    }

    async fn serve(
        &self,
        streams: tokio::sync::mpsc::Receiver<io::Result<UnixStream>>,
        signals: Signals,
    ) -> Result<()> {
        let service = SnapshotService {
            calls: self.calls.clone(),
            kept: Arc::clone(&self.kept),
            janitor: self.janitor.clone(),
        };
        let health = HealthService {
            root: self.calls.root().to_owned(),
        };
        let diff = DiffService {
            calls: self.calls.clone(),
            content: ContentStore(self.options.containerd.clone()),
            kept: Arc::clone(&self.kept),
        };
        let (ending, mut ended) = tokio::sync::watch::channel(false);
        let end = async {
            self.end(signals).await;
            ending.send_replace(true);
        };
        let serving = Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .add_service(SnapshotsServer::new(service.clone()))
            .add_service(SavedServer::new(SavedService(service)))
            .add_service(DiffServer::new(diff))
            .add_service(HealthServer::new(health))
            .serve_with_incoming_shutdown(ReceiverStream::new(streams), end);
        let patience = async {
            // Where it is dropped the server has ended.
            let _ = ended.wait_for(|ending| *ending).await;
            let answered = async {
                self.calls.activity().at_rest().await;
                tokio::time::sleep(FLUSH).await;
            };
            // Work that goes on for longer is ended with its call.
            let _ = tokio::time::timeout(FAREWELL, answered).await;
        };
        tokio::select! {
            done = serving => done.map_err(|e| Error::Server(cairn_model::one_line(&e))),
            () = patience => Ok(()),
        }
    }

    /// Returns when the server is to end.
    async fn end(&self, mut signals: Signals) {
        tokio::select! {
            _ = signals.terminate.recv() => {}
            _ = signals.interrupt.recv() => {}
            () = self.idle() => tracing::info!("nobody asks for anything; the server ends"),
        }
    }

    async fn idle(&self) {
        let Some(time) = self.options.idle_exit else {
            return std::future::pending().await;
        };
        let activity: &Activity = self.calls.activity();
        loop {
            activity.idle_for(time).await;
            if self.janitor.is_idle() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn keep_writing(&self) {
        loop {
            self.write_metrics();
            tokio::time::sleep(METRICS_EVERY).await;
        }
    }

    fn write_metrics(&self) {
        let Some(path) = &self.options.metrics else {
            return;
        };
        if let Err(e) = self.metrics.write(path) {
            tracing::warn!(error = cairn_model::one_line(&e), "figures are not written");
        }
    }
}

/// Signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new(runtime: &Runtime) -> Result<Self> {
        let _context = runtime.enter();
        let listen = |kind| signal(kind).at("listen to", Path::new("signals"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }
}
