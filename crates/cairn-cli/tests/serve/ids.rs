//! Containers with user namespaces: their snapshots name the ids by labels, and are mounted over views that show them.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use cairn_serve::proto::types::Mount;
use tonic::Code;

use crate::common::{eventually, is_root};
use crate::containerd::{Containerd, archive, can_run};
use crate::diff::upper;
use crate::server::Server;

const USERS: &str = "containerd.io/snapshot/uidmapping";
const GROUPS: &str = "containerd.io/snapshot/gidmapping";
const MAP: &str = "0:100000:65536";

fn owner(path: &Path) -> (u32, u32) {
    let meta = path.symlink_metadata().unwrap();
    (meta.uid(), meta.gid())
}

/// A committed snapshot with a file of root and one of the user 33.
fn base(server: &Server) {
    server.prepare("base-active", "").unwrap();
    server.mounted("base-active", |place| {
        std::fs::create_dir(place.join("d")).unwrap();
        for (name, id) in [("root", 0), ("d/www", 33)] {
            std::fs::write(place.join(name), "x".repeat(5000)).unwrap();
            chown(place.join(name), Some(id), Some(id)).unwrap();
        }
    });
    server.commit("base", "base-active").unwrap();
}

/// Why ids cannot be mapped here, if so.
fn refusal(mounts: Result<Vec<Mount>, tonic::Status>) -> Option<String> {
    let refused = mounts.err()?;
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    Some(refused.message().to_owned())
}

#[test]
fn a_snapshot_shows_the_ids_of_its_container_and_is_committed_without_them() {
    if !is_root() {
        skip!("needs root");
    }
    let server = Server::start(&[]);
    base(&server);
    let plain = server.kept().len();
    let labels = [(USERS, MAP), (GROUPS, "0:200000:65536")];
    if let Some(why) = refusal(server.prepare_with("ns/1/web", "base", &labels)) {
        assert_eq!(server.names(), ["base"], "nothing is left of it");
        skip!("this kernel maps no ids here: {why}");
    }
    server.mounted("ns/1/web", |place| {
        assert_eq!(owner(place), (100_000, 200_000));
        assert_eq!(owner(&place.join("root")), (100_000, 200_000));
        assert_eq!(owner(&place.join("d/www")), (100_033, 200_033));
        // Copied up, and new: as a process of the container makes them.
        std::fs::write(place.join("d/www"), "changed").unwrap();
        std::fs::write(place.join("new"), "new").unwrap();
        chown(place.join("new"), Some(100_007), Some(200_008)).unwrap();
    });
    // The server remembers nothing of it: mounted again it is the same.
    server.mounted("ns/1/web", |place| {
        assert_eq!(owner(place), (100_000, 200_000));
        assert_eq!(owner(&place.join("d/www")), (100_033, 200_033));
    });
    server.prepare("ns/2/other", "base").unwrap();
    server.mounted("ns/2/other", |place| {
        assert_eq!(owner(&place.join("d/www")), (33, 33), "others see no map");
    });
    server.commit("next", "ns/1/web").unwrap();
    server.prepare("ns/3/web", "next").unwrap();
    server.mounted("ns/3/web", |place| {
        assert_eq!(owner(place), (0, 0));
        assert_eq!(owner(&place.join("d/www")), (33, 33));
        assert_eq!(owner(&place.join("new")), (7, 8));
        assert_eq!(
            std::fs::read_to_string(place.join("d/www")).unwrap(),
            "changed"
        );
    });
    for key in ["ns/2/other", "ns/3/web"] {
        server.remove(key).unwrap();
    }
    eventually("mapped views are unmounted", || {
        server.kept().len() <= plain
    });
    assert!(server.cairn.json(&["check"])["sound"].as_bool().unwrap());
}

#[test]
fn files_that_were_given_to_the_container_already_are_not_mapped_twice() {
    if !is_root() {
        skip!("needs root");
    }
    let server = Server::start(&[]);
    base(&server);
    // As a client does it that does not know the capability "remap-ids" of the plugin.
    server.prepare("ns/1/remap", "base").unwrap();
    server.mounted("ns/1/remap", |place| {
        for (name, id) in [("", 0), ("root", 0), ("d", 0), ("d/www", 33)] {
            let id = Some(100_000 + id);
            chown(place.join(name), id, id).unwrap();
        }
    });
    server.commit("remapped", "ns/1/remap").unwrap();
    let labels = [(USERS, MAP), (GROUPS, MAP)];
    server
        .prepare_with("ns/2/web", "remapped", &labels)
        .unwrap();
    server.mounted("ns/2/web", |place| {
        assert_eq!(owner(place), (100_000, 100_000));
        assert_eq!(owner(&place.join("d/www")), (100_033, 100_033));
    });
}

#[test]
fn labels_that_make_no_sense_or_cannot_be_followed_are_refused() {
    if !is_root() {
        skip!("needs root");
    }
    let server = Server::start(&["--driver", "copy"]);
    server.layer("base", "", "file", b"content");
    let code = |labels: &[(&str, &str)]| {
        let refused = server.prepare_with("ns/1/web", "base", labels);
        refused.expect_err("it should be refused").code()
    };
    assert_eq!(code(&[(USERS, MAP)]), Code::InvalidArgument);
    assert_eq!(
        code(&[(USERS, MAP), (GROUPS, "0:x:1")]),
        Code::InvalidArgument
    );
    assert_eq!(
        code(&[(USERS, MAP), (GROUPS, MAP)]),
        Code::FailedPrecondition
    );
    let limit = "containerd.io/snapshot/max-size";
    assert_eq!(code(&[(limit, "1000000")]), Code::FailedPrecondition);
    assert_eq!(code(&[(limit, "much")]), Code::InvalidArgument);
    assert_eq!(server.names(), ["base"]);
    server.prepare("ns/1/web", "base").unwrap();
}

#[test]
fn containerd_runs_containers_with_user_namespaces() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let containerd = Containerd::start();
    let path = archive(&containerd.server.cairn, "example.com/app:1");
    containerd.ok(&["image", "import", path.to_str().unwrap()]);
    let labels = [(USERS, MAP), (GROUPS, MAP)];
    if let Some(why) = refusal(containerd.server.prepare_with("ns/1/trial", "", &labels)) {
        skip!("this kernel maps no ids here: {why}");
    }
    containerd.server.remove("ns/1/trial").unwrap();
    let script =
        "id -u; stat -c %u /opt/app; echo new > /opt/new; chown 33 /opt/new; stat -c %u /opt/new";
    let output = containerd.ctr(&[
        "run",
        "--uidmap",
        MAP,
        "--gidmap",
        MAP,
        "--remap-labels",
        "example.com/app:1",
        "web",
        "sh",
        "-c",
        script,
    ]);
    let said = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "0\n0\n33\n", "{err}");
    let key = containerd
        .server
        .names()
        .into_iter()
        .find(|name| name.ends_with("/web"))
        .unwrap();
    let mounts = containerd.server.mounts(&key).unwrap();
    assert_eq!(owner(&upper(&mounts).join("opt/new")).0, 100_033);
    containerd.ok(&["container", "rm", "web"]);
}
