//! Unpacks an image as a containerd does that knows differs (1.7.4 and later; Debian's is older):
//!
//! `unpack SOCKET NAMESPACE < LAYERS` prepares a snapshot, applies a layer and commits it, for each line of LAYERS, lowest
//! first: the layer's media type, digest and size, as the content store has it, and the chain id up to it. Prints the
//! seconds that it took. A layer whose chain id is there already is passed over.

use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use cairn_serve::proto::diff::ApplyRequest;
use cairn_serve::proto::diff::diff_client::DiffClient;
use cairn_serve::proto::snapshots::{CommitSnapshotRequest, PrepareSnapshotRequest};
use cairn_serve::proto::types::Descriptor;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

fn in_namespace<T>(namespace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = namespace.parse().expect("a word");
    request.metadata_mut().insert("containerd-namespace", value);
    request
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, namespace] = &args[..] else {
        panic!("SOCKET NAMESPACE");
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    let mut snapshots = cairn_contract::client(&runtime, Path::new(socket));
    let endpoint = Endpoint::try_from(format!("unix://{socket}")).expect("an address");
    let channel = runtime.block_on(endpoint.connect()).expect("a server");
    let mut differ = DiffClient::new(channel);
    let start = Instant::now();
    let (mut parent, mut passed) = (String::new(), 0);
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.expect("a line");
        let [media_type, digest, size, chain] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("MEDIA-TYPE DIGEST SIZE CHAIN-ID");
        };
        // Keys and names as containerd's store of metadata passes them on.
        let name = format!("{namespace}/{number}/{chain}");
        let key = format!("{namespace}/{number}/extract-{number} {chain}");
        let prepare = PrepareSnapshotRequest {
            snapshotter: "cairn".into(),
            key: key.clone(),
            parent: parent.clone(),
            labels: [("containerd.io/snapshot.ref".to_owned(), chain.to_owned())].into(),
        };
        let prepared = runtime.block_on(snapshots.prepare(in_namespace(namespace, prepare)));
        let mounts = match prepared {
            Err(e) if e.code() == Code::AlreadyExists => {
                passed += 1;
                parent = name;
                continue;
            }
            done => done.expect("prepare").into_inner().mounts,
        };
        let apply = ApplyRequest {
            diff: Some(Descriptor {
                media_type: media_type.to_owned(),
                digest: digest.to_owned(),
                size: size.parse().expect("a number"),
                annotations: Default::default(),
            }),
            mounts,
        };
        runtime
            .block_on(differ.apply(in_namespace(namespace, apply)))
            .expect("apply");
        let commit = CommitSnapshotRequest {
            name: name.clone(),
            key,
            labels: [("containerd.io/snapshot.ref".to_owned(), chain.to_owned())].into(),
            ..Default::default()
        };
        runtime
            .block_on(snapshots.commit(in_namespace(namespace, commit)))
            .expect("commit");
        parent = name;
    }
    println!("{:.3} {passed}", start.elapsed().as_secs_f64());
}
