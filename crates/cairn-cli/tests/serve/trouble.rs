//! What a node does to a server: kills, crowds, clients that go away, full disks, damage.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use cairn_serve::proto::saved::{RestoreRequest, SnapshotRequest, saved_client};
use cairn_serve::proto::snapshots as wire;
use tonic::Code;

use crate::common::{Cairn, eventually, has, is_root, sha256};
use crate::server::{Server, runtime};

macro_rules! root {
    () => {
        if !is_root() {
            skip!("needs root");
        }
    };
}

fn code<T: std::fmt::Debug>(done: Result<T, tonic::Status>) -> Code {
    done.expect_err("it should be refused").code()
}

/// A committed snapshot with so many files that a view of it takes a while.
fn large(server: &Server, name: &str, files: usize) {
    server.prepare("large", "").unwrap();
    server.mounted("large", |place| {
        for i in 0..files {
            let content = format!("{i} {}", "x".repeat(100 + i % 50));
            std::fs::write(place.join(format!("f{i}")), content).unwrap();
        }
    });
    server.commit(name, "large").unwrap();
}

fn is_sound(cairn: &Cairn) -> bool {
    cairn.json(&["check"])["sound"].as_bool().unwrap()
}

#[test]
fn a_server_killed_in_any_call_comes_back_and_the_next_call_works() {
    root!();
    let mut server = Server::start(&[]);
    server.layer(
        "base",
        "",
        "file",
        b"content of the base, long enough to be an object of the cache, not inline",
    );
    for round in 0..24_u64 {
        let key = format!("ns/{round}/key");
        let name = format!("name{round}");
        let mut client = server.client();
        let calls = async {
            let prepare = wire::PrepareSnapshotRequest {
                key: key.clone(),
                parent: "base".into(),
                ..Default::default()
            };
            client.prepare(prepare).await?;
            let view = wire::ViewSnapshotRequest {
                key: format!("{key}-view"),
                parent: "base".into(),
                ..Default::default()
            };
            client.view(view).await?;
            let commit = wire::CommitSnapshotRequest {
                name: name.clone(),
                key: key.clone(),
                ..Default::default()
            };
            client.commit(commit).await?;
            client.cleanup(wire::CleanupRequest::default()).await?;
            for key in [format!("{key}-view"), name.clone()] {
                let remove = wire::RemoveSnapshotRequest {
                    key,
                    ..Default::default()
                };
                client.remove(remove).await?;
            }
            Ok::<_, tonic::Status>(())
        };
        let patience = Duration::from_millis(round * round / 4);
        // Whether or not it was through by then.
        let _ = server
            .runtime
            .block_on(async { tokio::time::timeout(patience, calls).await });
        server.kill();
        server.start_again();
        for left in server.names().iter().filter(|n| *n != "base") {
            server.remove(left).unwrap();
        }
        assert_eq!(server.names(), ["base"]);
    }
    assert!(is_sound(&server.cairn));
    server.prepare("after", "base").unwrap();
    server.mounted("after", |place| assert!(place.join("file").exists()));
}

#[test]
fn what_is_mounted_outlives_the_server_and_goes_when_nobody_needs_it() {
    root!();
    let mut server = Server::start(&[]);
    server.layer("base", "", "file", &[b'x'; 1000]);
    server.prepare("ns/1/web", "base").unwrap();
    let place = server.cairn.path("mnt");
    cairn_contract::mount_all(&server.mounts("ns/1/web").unwrap(), &place);
    server.kill();
    // As a container that runs would see it.
    assert_eq!(std::fs::read(place.join("file")).unwrap(), [b'x'; 1000]);
    std::fs::write(place.join("new"), "written without a server").unwrap();
    assert!(!server.kept().is_empty());
    server.start_again();
    server.cairn.ok(&["gc", "--prune-cache"]);
    assert_eq!(std::fs::read(place.join("file")).unwrap(), [b'x'; 1000]);
    rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH).unwrap();
    server.commit("next", "ns/1/web").unwrap();
    server.remove("next").unwrap();
    eventually("the views are unmounted", || server.kept().is_empty());
    assert_eq!(server.names(), ["base"]);
}

#[test]
fn a_second_server_is_refused_and_a_dead_ones_socket_taken_over() {
    root!();
    let mut server = Server::start(&[]);
    let output = server.command().output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("a server answers at"), "{err}");
    server.kill();
    assert!(server.socket().exists());
    server.start_again();
    assert_eq!(server.stop(), Some(0));
    assert!(!server.socket().exists(), "it takes its socket away");
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    root!();
    let server = Server::start(&[]);
    large(&server, "large-base", 12_000);
    server.cairn.ok(&["gc", "--prune-cache"]);
    let request = wire::PrepareSnapshotRequest {
        key: "ns/1/gone".into(),
        parent: "large-base".into(),
        ..Default::default()
    };
    let runtime = runtime();
    let mut client = cairn_contract::client(&runtime, &server.socket());
    let waited = runtime.block_on(async {
        tokio::time::timeout(Duration::from_millis(10), client.prepare(request)).await
    });
    assert!(waited.is_err(), "the view takes longer than that");
    // With it goes the task that holds the connection, which so is closed now.
    drop(runtime);
    eventually("the call is ended and undone", || {
        server.names() == ["large-base"]
    });
    server.prepare("ns/2/here", "large-base").unwrap();
}

#[test]
fn calls_under_way_are_answered_when_the_server_is_asked_to_end() {
    root!();
    let mut server = Server::start(&[]);
    large(&server, "large-base", 1500);
    server.cairn.ok(&["gc", "--prune-cache"]);
    let request = wire::PrepareSnapshotRequest {
        key: "ns/1/web".into(),
        parent: "large-base".into(),
        ..Default::default()
    };
    // One with a call, and one that is only there.
    let idle = server.client();
    let mut client = server.client();
    let pid = rustix::process::Pid::from_child(server.child.as_ref().unwrap());
    let answer = server.runtime.block_on(async {
        let call = tokio::spawn(async move { client.prepare(request).await });
        tokio::time::sleep(Duration::from_millis(10)).await;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        call.await.unwrap()
    });
    assert_eq!(answer.unwrap().into_inner().mounts.len(), 1);
    assert_eq!(server.stop(), Some(0));
    drop(idle);
    assert_eq!(server.names(), ["large-base", "ns/1/web"]);
}

#[test]
fn five_hundred_clients_at_once_are_served() {
    root!();
    let server = Server::start(&[]);
    server.layer("base", "", "file", &[b'x'; 100]);
    let client = server.client();
    server.runtime.block_on(async {
        let one = |i: usize| {
            let mut client = client.clone();
            async move {
                let key = format!("ns/{i}/key");
                let prepare = wire::PrepareSnapshotRequest {
                    key: key.clone(),
                    parent: "base".into(),
                    ..Default::default()
                };
                client.prepare(prepare).await?;
                let remove = wire::RemoveSnapshotRequest {
                    key,
                    ..Default::default()
                };
                client.remove(remove).await
            }
        };
        let tasks: Vec<_> = (0..500).map(|i| tokio::spawn(one(i))).collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    assert_eq!(server.names(), ["base"]);
    eventually("the heads are gone", || {
        let heads = std::fs::read_dir(server.cairn.root().join("heads")).unwrap();
        heads.count() == 0
    });
}

#[test]
fn the_largest_labels_are_kept_and_larger_ones_refused() {
    root!();
    let server = Server::start(&[]);
    let value = "v".repeat(4096 - 4);
    server
        .prepare_with("ns/1/a", "", &[("name", &value)])
        .unwrap();
    let found = server.cairn.json(&["snapshot", "stat", "ns/1/a"]);
    assert_eq!(found["labels"]["name"].as_str().unwrap(), value);
    let refused = server.prepare_with("ns/1/b", "", &[("name+", &value)]);
    assert_eq!(code(refused), Code::InvalidArgument);
    assert_eq!(code(server.prepare("tab\there", "")), Code::InvalidArgument);
    assert_eq!(server.names(), ["ns/1/a"]);
}

#[test]
fn a_full_disk_refuses_what_needs_room_and_removals_work() {
    root!();
    let mut server = Server::start(&[]);
    server.stop();
    let root = server.cairn.path("small");
    std::fs::create_dir(&root).unwrap();
    let data = c"size=12m";
    rustix::mount::mount(
        "small",
        &root,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        data,
    )
    .unwrap();
    let at = root.join("repository");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.arg("--root").arg(&at).args(["serve", "--address"]);
    command
        .arg(server.socket())
        .arg("--state")
        .arg(server.cairn.path("state"));
    server.child = Some(command.stdin(Stdio::null()).spawn().unwrap());
    server.prepare("ns/1/kept", "").unwrap();
    server.prepare("ns/1/gone", "").unwrap();
    let filler = root.join("filler");
    let mut zeros = std::io::repeat(0).take(12 << 20);
    let full = std::io::copy(&mut zeros, &mut std::fs::File::create(&filler).unwrap());
    assert!(full.is_err(), "the disk is full");
    assert_eq!(code(server.prepare("ns/1/new", "")), Code::Unavailable);
    server.remove("ns/1/gone").unwrap();
    std::fs::remove_file(&filler).unwrap();
    server.prepare("ns/1/new", "").unwrap();
    server.commit("done", "ns/1/new").unwrap();
    server.stop();
    cairn_contract::unmount_kept(&server.cairn.path("state"));
    rustix::mount::unmount(&root, rustix::mount::UnmountFlags::DETACH).unwrap();
}

#[test]
fn damage_is_told_and_the_server_goes_on() {
    root!();
    let mut server = Server::start(&[]);
    server.layer("base", "", "file", &[b'x'; 100_000]);
    server.layer("sound", "", "other", &[b'y'; 100_000]);
    server.prepare("ns/1/runs", "base").unwrap();
    let place = server.cairn.path("mnt");
    cairn_contract::mount_all(&server.mounts("ns/1/runs").unwrap(), &place);
    let packs = std::fs::read_dir(server.cairn.root().join("packs")).unwrap();
    for pack in packs.flatten() {
        std::fs::remove_file(pack.path()).unwrap();
    }
    // The container reads on, from the cache.
    assert_eq!(std::fs::read(place.join("file")).unwrap(), [b'x'; 100_000]);
    rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH).unwrap();
    // A new one has no pack open.
    server.kill();
    server.start_again();
    assert_eq!(code(server.commit("child", "ns/1/runs")), Code::DataLoss);
    server.remove("ns/1/runs").unwrap();
    server.prepare("ns/1/fresh", "").unwrap();
}

#[test]
fn snapshots_of_containerd_are_seen_and_not_taken_by_commands() {
    root!();
    let server = Server::start(&[]);
    server.layer("ns/1/base", "", "file", &[b'x'; 1000]);
    server.prepare("ns/2/web", "ns/1/base").unwrap();
    let cairn = &server.cairn;
    let found = cairn.json(&["snapshot", "stat", "ns/2/web"]);
    assert_eq!(found["labels"]["containerd.io/namespace"], "ns");
    cairn.fails(
        &["snapshot", "rm", "ns/2/web"],
        1,
        "containerd's namespace ns",
    );
    assert!(cairn.json(&["orphans"]).as_array().unwrap().is_empty());
    let why = cairn.ok(&["why", "ns/1/base"]);
    assert!(why.contains("containerd ns"), "{why}");
    // It counts as what it is: containerd has the images.
    assert!(cairn.json(&["images"]).as_array().unwrap().is_empty());
    let stats = cairn.json(&["stats"]);
    assert_eq!(stats["snapshots"][0]["name"], "ns/1/base");
    assert!(
        stats["snapshots"][0]["freed_if_removed_bytes"]
            .as_u64()
            .unwrap()
            > 0
    );
    cairn.ok(&["gc", "--prune-cache", "--all"]);
    assert!(is_sound(cairn));
    assert_eq!(server.names(), ["ns/1/base", "ns/2/web"]);
    server.mounted("ns/2/web", |place| {
        assert_eq!(std::fs::read(place.join("file")).unwrap().len(), 1000);
    });
    cairn.ok(&["snapshot", "rm", "--force", "ns/2/web"]);
    server.remove("ns/1/base").unwrap();
}

fn chain(below: &str, diff_id: &str) -> String {
    sha256(format!("{below} {diff_id}").as_bytes())
}

#[test]
fn a_layer_that_is_here_already_is_not_unpacked_again() {
    root!();
    let server = Server::start(&[]);
    let cairn = &server.cairn;
    let (one, two) = (cairn.path("one"), cairn.path("two"));
    for (dir, file) in [(&one, "first"), (&two, "second")] {
        std::fs::create_dir(dir).unwrap();
        std::fs::write(dir.join(file), file.repeat(100)).unwrap();
    }
    cairn.import_dir(&one, "one:1");
    cairn.import_dir(&two, "two:1");
    // Of what was made here the diff ids are known once somebody asked for them.
    let out = cairn.path("out.tar");
    cairn.ok(&["export", "one:1", "two:1", "-o", out.to_str().unwrap()]);
    let diff_id = |image: &str| {
        let found = cairn.json(&["inspect", image]);
        found["config"]["rootfs"]["diff_ids"][0]
            .as_str()
            .or_else(|| found["rootfs"]["diff_ids"][0].as_str())
            .unwrap_or_else(|| panic!("{found}"))
            .to_owned()
    };
    let (first, second) = (diff_id("one:1"), diff_id("two:1"));
    let label = "containerd.io/snapshot.ref";
    let known = server.prepare_with("ns/1/extract-1 a", "", &[(label, &first)]);
    assert_eq!(code(known), Code::AlreadyExists);
    let found = cairn.json(&["snapshot", "ls", &format!("labels.\"{label}\"=={first}")]);
    let base = found[0]["name"].as_str().unwrap().to_owned();
    assert_eq!(base, format!("ns/1/{first}"));
    // No image has these two over each other: what counts is the layer.
    let both = chain(&first, &second);
    let known = server.prepare_with("ns/2/extract-2 b", &base, &[(label, &both)]);
    assert_eq!(code(known), Code::AlreadyExists);
    let top = format!("ns/2/{both}");
    server.prepare("ns/3/web", &top).unwrap();
    server.mounted("ns/3/web", |place| {
        assert_eq!(
            std::fs::read_to_string(place.join("first")).unwrap(),
            "first".repeat(100)
        );
        assert_eq!(
            std::fs::read_to_string(place.join("second")).unwrap(),
            "second".repeat(100)
        );
    });
    // One that is not here, and one that nobody asks for by label, are unpacked.
    let unknown = chain(&first, &first.replace('a', "b"));
    server
        .prepare_with("ns/4/extract-3 c", &base, &[(label, &unknown)])
        .unwrap();
    server.prepare("ns/5/extract-4 d", "").unwrap();
    // The images it came with may go: containerd's snapshots keep it.
    cairn.ok(&["rmi", "one:1", "two:1"]);
    cairn.ok(&["gc", "--all", "--prune-cache"]);
    server.prepare("ns/6/web", &top).unwrap();
    server.mounted("ns/6/web", |place| {
        let second = std::fs::read_to_string(place.join("second")).unwrap();
        assert_eq!(second, "second".repeat(100));
    });
    assert!(is_sound(cairn));
}

#[test]
fn files_of_an_unpacked_layer_are_not_written_twice() {
    root!();
    let server = Server::start(&[]);
    server.prepare("ns/1/extract-1 sha256:a", "").unwrap();
    let content = vec![b'z'; 200_000];
    server.mounted("ns/1/extract-1 sha256:a", |place| {
        std::fs::create_dir(place.join("d")).unwrap();
        std::fs::write(place.join("d/file"), &content).unwrap();
        std::fs::hard_link(place.join("d/file"), place.join("link")).unwrap();
        std::os::unix::fs::symlink("d", place.join("s")).unwrap();
    });
    server
        .commit("ns/2/layer", "ns/1/extract-1 sha256:a")
        .unwrap();
    let mut objects = Vec::new();
    for directory in std::fs::read_dir(server.cairn.root().join("cache/objects"))
        .unwrap()
        .flatten()
    {
        objects.extend(
            std::fs::read_dir(directory.path())
                .into_iter()
                .flatten()
                .flatten(),
        );
    }
    assert_eq!(objects.len(), 1, "there before any view is made");
    let inode = std::os::unix::fs::MetadataExt::ino(&objects[0].metadata().unwrap());
    server.prepare("ns/3/web", "ns/2/layer").unwrap();
    server.mounted("ns/3/web", |place| {
        assert_eq!(std::fs::read(place.join("s/file")).unwrap(), content);
        assert_eq!(std::fs::read(place.join("link")).unwrap(), content);
    });
    let now = std::os::unix::fs::MetadataExt::ino(&objects[0].metadata().unwrap());
    assert_eq!(inode, now, "the view took it as it was");
    assert!(is_sound(&server.cairn));
}

#[test]
fn a_server_that_nobody_asks_ends_and_says_what_it_did() {
    root!();
    let dir = tempfile::tempdir().unwrap();
    let metrics = dir.path().join("cairn.prom");
    let mut server = Server::start(&["--idle-exit", "1s", "--metrics", metrics.to_str().unwrap()]);
    server.prepare("ns/1/a", "").unwrap();
    assert_eq!(code(server.prepare("ns/1/a", "")), Code::AlreadyExists);
    eventually("it ends", || {
        let child = server.child.as_mut().unwrap();
        child
            .try_wait()
            .unwrap()
            .is_some_and(|status| status.success())
    });
    assert!(!server.socket().exists());
    let text = std::fs::read_to_string(&metrics).unwrap();
    let line = "cairn_serve_calls_total{method=\"Prepare\",code=\"AlreadyExists\"} 1";
    assert!(text.contains(line), "{text}");
}

/// Listens at a socket that anybody may open, hands it over as systemd does, and becomes the server.
const ACTIVATE: &str = "
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o666); s.listen(5)
if s.fileno() != 3: os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
";

/// True where the server lets somebody of another user speak.
const SPEAK: &str = "
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1]); s.settimeout(20)
try:
    s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0')
    sys.exit(0 if s.recv(1) else 3)
except (ConnectionResetError, BrokenPipeError):
    sys.exit(3)
";

#[test]
fn systemd_hands_the_socket_over_and_strangers_are_turned_away() {
    root!();
    if !has("python3") {
        skip!("needs python3");
    }
    let mut server = Server::start(&["--idle-exit", "2s"]);
    server.stop();
    let serve = server.command();
    let mut command = Command::new("python3");
    command.args(["-c", ACTIVATE]).arg(server.socket());
    command.arg(serve.get_program()).args(serve.get_args());
    server.child = Some(command.stdin(Stdio::null()).spawn().unwrap());
    server.prepare("ns/1/a", "").unwrap();
    std::fs::set_permissions(
        server.cairn.dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let mut stranger = Command::new("python3");
    let status = stranger.args(["-c", SPEAK]).arg(server.socket()).status();
    assert_eq!(status.unwrap().code(), Some(3));
    eventually("it ends when nobody asks", || {
        server.child.as_mut().unwrap().try_wait().unwrap().is_some()
    });
    assert!(server.socket().exists(), "the socket is systemd's");
}

#[test]
fn an_active_snapshot_is_saved_and_restored_while_it_stays() {
    root!();
    let server = Server::start(&[]);
    server.layer("base", "", "file", &[b'x'; 1000]);
    server.prepare("ns/1/work", "base").unwrap();
    server.mounted("ns/1/work", |place| {
        std::fs::write(place.join("new"), "first").unwrap();
        std::fs::remove_file(place.join("file")).unwrap();
    });
    let endpoint = format!("unix://{}", server.socket().display());
    let endpoint = tonic::transport::Endpoint::try_from(endpoint).unwrap();
    let channel = server.runtime.block_on(endpoint.connect()).unwrap();
    let mut client = saved_client::SavedClient::new(channel);
    let save = SnapshotRequest {
        key: "ns/2/saved".into(),
        active_key: "ns/1/work".into(),
        ..Default::default()
    };
    server.runtime.block_on(client.snapshot(save)).unwrap();
    server.mounted("ns/1/work", |place| {
        std::fs::write(place.join("new"), "second").unwrap();
    });
    let restore = RestoreRequest {
        key: "ns/3/again".into(),
        snapshot_key: "ns/2/saved".into(),
        ..Default::default()
    };
    let mounts = server.runtime.block_on(client.restore(restore)).unwrap();
    assert_eq!(
        mounts.into_inner().mounts,
        server.mounts("ns/3/again").unwrap()
    );
    for (key, content) in [("ns/1/work", "second"), ("ns/3/again", "first")] {
        server.mounted(key, |place| {
            assert_eq!(std::fs::read_to_string(place.join("new")).unwrap(), content);
            assert!(!place.join("file").exists());
        });
    }
    // The same by the command.
    let cairn = &server.cairn;
    cairn.ok(&["snapshot", "save", "by-hand", "ns/1/work"]);
    cairn.ok(&["snapshot", "restore", "again", "by-hand"]);
    server.mounted("again", |place| {
        assert_eq!(
            std::fs::read_to_string(place.join("new")).unwrap(),
            "second"
        );
    });
    cairn.fails(
        &["snapshot", "save", "by-hand", "ns/1/work"],
        1,
        "already exists",
    );
    assert!(is_sound(cairn));
}
