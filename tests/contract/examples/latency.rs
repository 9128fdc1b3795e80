//! How long prepare and remove take, by several clients at once:
//!
//! `latency SOCKET SNAPSHOTTER CLIENTS ROUNDS [PARENT [OTHERS]]` prints the median and the 99th percentile of each, in
//! milliseconds, with so many other snapshots there, which stay. The socket is that of a server, or of containerd, which
//! passes the calls on to its snapshotter.

use std::path::Path;
use std::time::Instant;

use cairn_serve::proto::snapshots::snapshots_client::SnapshotsClient;
use cairn_serve::proto::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest};
use tonic::Request;
use tonic::transport::Channel;

const NAMESPACE: &str = "latency";
/// Clients that make the others.
const CROWD: usize = 8;

fn with_namespace<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = NAMESPACE.parse().expect("a word");
    request.metadata_mut().insert("containerd-namespace", value);
    request
}

struct Client {
    channel: SnapshotsClient<Channel>,
    snapshotter: String,
    parent: String,
}

impl Client {
    /// A snapshot that stays; one that is there already is as good.
    async fn keep(&mut self, key: String) {
        let prepare = PrepareSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key,
            parent: self.parent.clone(),
            labels: [("containerd.io/gc.root".to_owned(), "now".to_owned())].into(),
        };
        match self.channel.prepare(with_namespace(prepare)).await {
            Err(e) if e.code() != tonic::Code::AlreadyExists => panic!("prepare: {e:?}"),
            _ => {}
        }
    }

    async fn round(&mut self, key: String) -> (f64, f64) {
        let (snapshotter, parent) = (self.snapshotter.clone(), self.parent.clone());
        let prepare = PrepareSnapshotRequest {
            snapshotter: snapshotter.clone(),
            key: key.clone(),
            parent,
            labels: [("containerd.io/gc.root".to_owned(), "now".to_owned())].into(),
        };
        let start = Instant::now();
        let done = self.channel.prepare(with_namespace(prepare)).await;
        let prepared = start.elapsed().as_secs_f64() * 1e3;
        done.expect("prepare");
        let remove = RemoveSnapshotRequest { snapshotter, key };
        let start = Instant::now();
        let done = self.channel.remove(with_namespace(remove)).await;
        let removed = start.elapsed().as_secs_f64() * 1e3;
        done.expect("remove");
        (prepared, removed)
    }
}

fn told(what: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!("{what} {:.2} {:.2}", at(0.5), at(0.99));
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, snapshotter, clients, rounds, parent @ ..] = &args[..] else {
        panic!("SOCKET SNAPSHOTTER CLIENTS ROUNDS [PARENT [OTHERS]]");
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let others = parent.get(1).map_or(0, number);
    let (clients, rounds) = (number(clients), number(rounds));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    let connect = || Client {
        channel: cairn_contract::client(&runtime, Path::new(socket)),
        snapshotter: snapshotter.clone(),
        parent: parent.first().cloned().unwrap_or_default(),
    };
    let keeping = (0..CROWD.min(others)).map(|part| {
        let mut one = connect();
        runtime.spawn(async move {
            for i in (part..others).step_by(CROWD) {
                one.keep(format!("other-{i}")).await;
            }
        })
    });
    for task in keeping.collect::<Vec<_>>() {
        runtime.block_on(task).expect("a client");
    }
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let mut one = connect();
            runtime.spawn(async move {
                let mut out = Vec::new();
                for round in 0..rounds {
                    out.push(one.round(format!("latency-{client}-{round}")).await);
                }
                out
            })
        })
        .collect();
    let (mut prepared, mut removed) = (Vec::new(), Vec::new());
    for task in tasks {
        let times = runtime.block_on(task).expect("a client");
        prepared.extend(times.iter().map(|(prepare, _)| *prepare));
        removed.extend(times.iter().map(|(_, remove)| *remove));
    }
    told("prepare", prepared);
    told("remove", removed);
}
