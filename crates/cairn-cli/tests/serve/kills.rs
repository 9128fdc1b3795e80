//! Kills at the worst moment of long work, and what comes in another order than it should.

use std::path::Path;
use std::time::Duration;

use cairn_serve::proto::diff::ApplyRequest;
use cairn_serve::proto::diff::diff_client::DiffClient;
use cairn_serve::proto::snapshots as wire;
use cairn_serve::proto::types::{Descriptor, Mount};
use tonic::{Code, Request};

use crate::common::{Cairn, docker_archive, eventually, is_root, noise, sha256};
use crate::containerd::{Containerd, archive, can_run};
use crate::diff::{apply, layers, written};
use crate::server::{Server, runtime};

fn is_sound(cairn: &Cairn) -> bool {
    cairn.json(&["check"])["sound"].as_bool().unwrap()
}

/// Bytes of the largest file.
const BIG: usize = 2 << 20;

/// Many files, and much content.
fn fill(place: &Path, round: u64) {
    for i in 0..300 {
        let content = noise(round * 1000 + i, 1000);
        std::fs::write(place.join(format!("f{i}")), content).unwrap();
    }
    std::fs::write(place.join("big"), noise(round, BIG)).unwrap();
}

#[test]
fn a_server_killed_while_it_commits_much_has_committed_it_or_can_again() {
    if !is_root() {
        skip!("needs root");
    }
    let mut server = Server::start(&[]);
    for round in 0..3_u64 {
        let (key, name) = (format!("ns/{round}/work"), format!("ns/{round}/done"));
        server.prepare(&key, "").unwrap();
        server.mounted(&key, |place| fill(place, round));
        let commit = wire::CommitSnapshotRequest {
            name: name.clone(),
            key: key.clone(),
            ..Default::default()
        };
        let mut client = server.client();
        let patience = Duration::from_millis(20 + 80 * round);
        let _ = server
            .runtime
            .block_on(async { tokio::time::timeout(patience, client.commit(commit)).await });
        server.kill();
        server.start_again();
        if !server.names().contains(&name) {
            server.commit(&name, &key).unwrap();
        }
        assert!(!server.names().contains(&key), "it is one or the other");
        let shown = format!("ns/{round}/shown");
        server.prepare(&shown, &name).unwrap();
        server.mounted(&shown, |place| {
            assert_eq!(std::fs::read(place.join("big")).unwrap(), noise(round, BIG));
            assert_eq!(std::fs::read_dir(place).unwrap().count(), 301);
        });
    }
    server.cairn.ok(&["gc", "--all"]);
    assert!(is_sound(&server.cairn));
}

#[test]
fn a_server_killed_while_it_collects_loses_nothing_and_collects_later() {
    if !is_root() {
        skip!("needs root");
    }
    let mut server = Server::start(&[]);
    server.layer("kept", "", "file", &noise(7, 100_000));
    for round in 0..3_u64 {
        let (key, name) = (format!("ns/{round}/work"), format!("ns/{round}/done"));
        server.prepare(&key, "").unwrap();
        server.mounted(&key, |place| fill(place, round));
        server.commit(&name, &key).unwrap();
        server.remove(&name).unwrap();
        let mut client = server.client();
        let cleanup = client.cleanup(wire::CleanupRequest::default());
        server.runtime.block_on(cleanup).unwrap();
        // It begins once removals have ceased for half a second.
        std::thread::sleep(Duration::from_millis(480 + 40 * round));
        server.kill();
        server.start_again();
        server.prepare(&format!("ns/{round}/next"), "kept").unwrap();
    }
    assert!(is_sound(&server.cairn));
    server.mounted("ns/2/next", |place| {
        assert_eq!(
            std::fs::read(place.join("file")).unwrap(),
            noise(7, 100_000)
        );
    });
    server.cairn.ok(&["gc", "--all"]);
    let packs = || {
        let packs = std::fs::read_dir(server.cairn.root().join("packs")).unwrap();
        let bytes = packs.map(|pack| pack.unwrap().metadata().unwrap().len());
        bytes.sum::<u64>()
    };
    assert!(packs() < 1 << 20, "what was removed is gone: {}", packs());
    assert!(is_sound(&server.cairn));
}

const IMAGE: &str = "example.com/large:1";

/// An image of one large layer in containerd's content store.
fn large_layer(containerd: &Containerd) -> (Descriptor, String) {
    let tree = tempfile::tempdir().unwrap();
    fill(tree.path(), 9);
    let tar = crate::common::tar_of(tree.path());
    let diff_id = sha256(&tar);
    let path = containerd.server.cairn.path("large.tar");
    std::fs::write(&path, docker_archive(IMAGE, &[tar], |_| ())).unwrap();
    containerd.ok(&["image", "import", "--no-unpack", path.to_str().unwrap()]);
    let (layer, found) = crate::diff::layers_of(containerd, IMAGE).swap_remove(0);
    assert_eq!(found, diff_id);
    (layer, diff_id)
}

/// Begins to apply a layer, and goes away.
fn apply_and_leave(containerd: &Containerd, layer: &Descriptor, mounts: &[Mount], after: Duration) {
    let runtime = runtime();
    let address = format!("unix://{}", containerd.server.socket().display());
    let endpoint = tonic::transport::Endpoint::try_from(address).unwrap();
    let mut request = Request::new(ApplyRequest {
        diff: Some(layer.clone()),
        mounts: mounts.to_vec(),
    });
    let namespace = containerd.namespace().parse().unwrap();
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace);
    let _ = runtime.block_on(async {
        let mut client = DiffClient::new(endpoint.connect().await.unwrap());
        tokio::time::timeout(after, client.apply(request)).await
    });
}

#[test]
fn a_layer_whose_application_was_cut_off_is_applied_again() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let mut containerd = Containerd::start();
    let (layer, diff_id) = large_layer(&containerd);
    for round in 0..3_u64 {
        let key = format!("ns/{round}/extract-{round} a");
        let mounts = containerd.server.prepare(&key, "").unwrap();
        let after = Duration::from_millis(15 + 40 * round);
        apply_and_leave(&containerd, &layer, &mounts, after);
        // Every other time it is the client alone that is gone.
        if round % 2 == 0 {
            containerd.server.kill();
            containerd.server.start_again();
        }
        let mut done = Err(tonic::Status::unknown(""));
        eventually("it is applied, or was", || {
            done = apply(&containerd, layer.clone(), mounts.clone());
            let code = done.as_ref().err().map(tonic::Status::code);
            // A call that was left may go on for a moment.
            code.is_none() || code == Some(Code::Unimplemented)
        });
        if let Ok(applied) = done {
            assert_eq!(applied.digest, diff_id);
        }
        assert_eq!(written(&mounts), 0);
        let server = &containerd.server;
        let name = format!("ns/{round}/layer");
        server.commit(&name, &key).unwrap();
        let shown = format!("ns/{round}/shown");
        server.prepare(&shown, &name).unwrap();
        server.mounted(&shown, |place| {
            assert_eq!(std::fs::read(place.join("big")).unwrap(), noise(9, BIG));
        });
    }
    containerd.server.cairn.ok(&["gc", "--all"]);
    assert!(is_sound(&containerd.server.cairn));
}

#[test]
fn containerd_may_be_started_before_the_server() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let mut containerd = Containerd::before_its_server();
    let path = archive(&containerd.server.cairn, "example.com/app:1");
    let import = ["image", "import", path.to_str().unwrap()];
    assert!(!containerd.ctr(&import).status.success(), "nobody serves");
    containerd.server.start_again();
    eventually("it is found", || containerd.ctr(&import).status.success());
    let output = containerd.run("example.com/app:1", "first", "cat /etc/config");
    assert_eq!(output.stdout, b"mode=fast\n", "{output:?}");
    assert_eq!(layers(&containerd).len(), 3);
}

#[test]
fn two_servers_of_one_repository_do_not_disturb_each_other() {
    if !is_root() {
        skip!("needs root");
    }
    let first = Server::start(&[]);
    let second = first.beside();
    first.layer("base", "", "file", &[b'x'; 1000]);
    for round in 0..3 {
        let (one, two) = (format!("ns/{round}/one"), format!("ns/{round}/two"));
        first.prepare(&one, "base").unwrap();
        second.prepare(&two, "base").unwrap();
        // Each knows what the other made, and mounts it.
        for (server, key) in [(&first, &two), (&second, &one)] {
            server.mounted(key, |place| {
                assert_eq!(std::fs::read(place.join("file")).unwrap(), [b'x'; 1000]);
            });
        }
        assert_eq!(
            second.prepare(&one, "base").unwrap_err().code(),
            Code::AlreadyExists
        );
        first.remove(&two).unwrap();
        second.commit(&format!("done{round}"), &one).unwrap();
    }
    assert_eq!(first.names(), ["base", "done0", "done1", "done2"]);
    assert!(is_sound(&first.cairn));
}

#[test]
fn what_does_not_fit_is_refused_and_fits_once_there_is_room() {
    if !is_root() {
        skip!("needs root");
    }
    let server = Server::on_a_disk_of("40m");
    let disk = server.cairn.path("disk");
    server.prepare("ns/1/work", "").unwrap();
    server.mounted("ns/1/work", |place| {
        std::fs::write(place.join("big"), noise(3, 12 << 20)).unwrap();
    });
    let filler = disk.join("filler");
    let free = rustix::fs::statvfs(&disk).unwrap();
    let free = free.f_bavail * free.f_frsize - (5 << 20);
    std::fs::write(&filler, vec![1; free as usize]).unwrap();
    let refused = server.commit("done", "ns/1/work").unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(server.names(), ["ns/1/work"]);
    std::fs::remove_file(&filler).unwrap();
    server.commit("done", "ns/1/work").unwrap();
    server.prepare("ns/2/web", "done").unwrap();
    server.mounted("ns/2/web", |place| {
        assert_eq!(
            std::fs::read(place.join("big")).unwrap(),
            noise(3, 12 << 20)
        );
    });
}
