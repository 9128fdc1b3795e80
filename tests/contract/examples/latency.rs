//! How long prepare and remove take, by several clients at once:
//!
//! `latency SOCKET SNAPSHOTTER CLIENTS ROUNDS [PARENT]` prints the median and the 99th percentile of each, in
//! milliseconds. The socket is that of a server, or of containerd, which passes the calls on to its snapshotter.

use std::path::Path;
use std::time::Instant;

use cairn_serve::proto::snapshots::snapshots_client::SnapshotsClient;
use cairn_serve::proto::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest};
use tonic::Request;
use tonic::transport::Channel;

const NAMESPACE: &str = "latency";

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
        panic!("SOCKET SNAPSHOTTER CLIENTS ROUNDS [PARENT]");
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let (clients, rounds) = (number(clients), number(rounds));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let mut one = Client {
                channel: cairn_contract::client(&runtime, Path::new(socket)),
                snapshotter: snapshotter.clone(),
                parent: parent.first().cloned().unwrap_or_default(),
            };
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
