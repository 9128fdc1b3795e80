//! What containerd 2.4 sends where the plugin has the capability "rebase": all layers of an image are prepared at once,
//! each without its parent, which comes with the commit. A client of the tests stands in for it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cairn_serve::proto::types::Mount;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};
use tonic::{Code, Status};

use crate::common::{is_root, sha256};
use crate::containerd::{Containerd, IMAGE, archive, can_run};
use crate::diff::{apply, layers, upper, written};
use crate::server::Server;

const REF: &str = "containerd.io/snapshot.ref";
const DIFF_ID: &str = "containerd.io/snapshot/diff-id";
const BELOW: &str = "containerd.io/snapshot/parent-chain-id";

/// A layer by the ids that its image has for it.
struct Link {
    diff_id: String,
    chain: String,
    below: Option<String>,
}

fn links(diff_ids: impl IntoIterator<Item = String>) -> Vec<Link> {
    let mut out: Vec<Link> = Vec::new();
    for diff_id in diff_ids {
        let below = out.last().map(|link| link.chain.clone());
        let chain = match &below {
            None => diff_id.clone(),
            Some(below) => sha256(format!("{below} {diff_id}").as_bytes()),
        };
        out.push(Link {
            diff_id,
            chain,
            below,
        });
    }
    out
}

impl Link {
    fn labels(&self) -> Vec<(&str, &str)> {
        let mut labels = vec![(REF, &self.chain[..]), (DIFF_ID, &self.diff_id)];
        labels.extend(self.below.as_deref().map(|below| (BELOW, below)));
        labels
    }

    fn key(&self, namespace: &str) -> String {
        format!("{namespace}/1/extract-1-ab {}", self.chain)
    }

    fn name(&self, namespace: &str) -> String {
        format!("{namespace}/1/{}", self.chain)
    }

    fn prepare(&self, server: &Server, namespace: &str) -> Result<Vec<Mount>, Status> {
        server.prepare_with(&self.key(namespace), "", &self.labels())
    }

    /// The commit that follows, whatever was done between.
    fn commit(&self, server: &Server, namespace: &str) -> Result<(), Status> {
        let parent = self
            .below
            .as_ref()
            .map(|below| format!("{namespace}/1/{below}"));
        let (name, key) = (self.name(namespace), self.key(namespace));
        let parent = parent.unwrap_or_default();
        server.commit_onto(&name, &key, &parent, &self.labels())
    }
}

/// As containerd sees that nothing need be fetched.
fn is_staged(mounts: &[Mount]) -> bool {
    mounts.last().unwrap().options.iter().any(|o| o == "ro")
}

fn shows_the_image(server: &Server, top: &str) {
    let key = format!("{top}-shown");
    server.prepare(&key, top).unwrap();
    server.mounted(&key, |place| {
        let text = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
        assert_eq!(text("etc/config"), "mode=fast\n");
        assert!(text("etc/base").starts_with("from the base"));
        assert!(text("opt/app").starts_with("version 1"));
        assert!(!place.join("opt/old").exists(), "a deletion is one");
    });
    server.remove(&key).unwrap();
}

#[test]
fn layers_are_unpacked_side_by_side_and_once() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let containerd = Containerd::with_blobs();
    let server = &containerd.server;
    let (descriptors, diff_ids): (Vec<_>, Vec<_>) = layers(&containerd).into_iter().unzip();
    let links = links(diff_ids);
    let prepared = links
        .iter()
        .map(|link| link.prepare(server, "one").unwrap());
    let prepared: Vec<Vec<Mount>> = prepared.collect();
    assert!(prepared.iter().all(|mounts| !is_staged(mounts)));
    // Deletions are written as overlays have them in all but the lowest.
    let kinds: Vec<&str> = prepared.iter().map(|m| m[0].r#type.as_str()).collect();
    assert_eq!(kinds, ["bind", "overlay", "overlay"]);
    for i in [2, 0, 1] {
        let applied = apply(&containerd, descriptors[i].clone(), prepared[i].clone()).unwrap();
        assert_eq!(applied.digest, links[i].diff_id);
    }
    for link in &links {
        link.commit(server, "one").unwrap();
    }
    let top = links.last().unwrap();
    shows_the_image(server, &top.name("one"));

    // Another namespace: the lowest layer is there at once, as without the capability, and the others are staged.
    let lowest = links[0].prepare(server, "two").unwrap_err();
    assert_eq!(lowest.code(), Code::AlreadyExists);
    for link in &links[1..] {
        let mounts = link.prepare(server, "two").unwrap();
        assert!(is_staged(&mounts), "{mounts:?}");
        assert_eq!(written(&mounts), 0);
    }
    // Nothing else refers to them any more.
    for link in links.iter().rev() {
        server.remove(&link.name("one")).unwrap();
    }
    server.cairn.ok(&["gc", "--all", "--prune-cache"]);
    for link in &links[1..] {
        link.commit(server, "two").unwrap();
    }
    shows_the_image(server, &top.name("two"));
    assert!(server.cairn.json(&["check"])["sound"].as_bool().unwrap());
}

#[test]
fn a_containerd_that_does_not_know_staged_layers_writes_them_over_themselves() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let containerd = Containerd::start();
    let path = archive(&containerd.server.cairn, IMAGE);
    let server = &containerd.server;
    server.cairn.ok(&["import", path.to_str().unwrap()]);
    containerd.ok(&["image", "import", "--no-unpack", path.to_str().unwrap()]);
    let links = links(layers(&containerd).into_iter().map(|(_, diff_id)| diff_id));
    assert!(links[0].prepare(server, "ns").is_err(), "it is there");
    for link in &links[1..] {
        let mounts = link.prepare(server, "ns").unwrap();
        assert!(is_staged(&mounts));
        // By its own applier, which writes to the upper directory whatever else the options say.
        let upper = upper(&mounts);
        if link.chain == links[1].chain {
            std::fs::create_dir(upper.join("opt")).unwrap();
            std::fs::write(
                upper.join("opt/app"),
                "version 1 of the program\n".repeat(50),
            )
            .unwrap();
            whiteout(&upper.join("opt/old"));
        } else {
            std::fs::create_dir(upper.join("etc")).unwrap();
            std::fs::write(upper.join("etc/config"), "mode=fast\n").unwrap();
        }
    }
    for link in &links[1..] {
        link.commit(server, "ns").unwrap();
    }
    shows_the_image(server, &links[2].name("ns"));
    assert!(server.cairn.json(&["check"])["sound"].as_bool().unwrap());
}

fn whiteout(path: &Path) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

/// Labels of a layer that is not here, over one that is not either.
fn unknown() -> Link {
    let mut all = links(["a", "b"].map(|text| sha256(text.as_bytes())));
    all.swap_remove(1)
}

#[test]
fn a_layer_that_is_put_onto_others_takes_from_them_what_it_should() {
    if !is_root() {
        skip!("needs root");
    }
    let server = Server::start(&[]);
    server.prepare("base-active", "").unwrap();
    server.mounted("base-active", |place| {
        std::fs::create_dir_all(place.join("d/sub")).unwrap();
        for name in ["gone", "stays", "d/hidden", "d/sub/hidden"] {
            std::fs::write(place.join(name), name).unwrap();
        }
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o711)).unwrap();
    });
    server.commit("base", "base-active").unwrap();

    let link = unknown();
    let mounts = link.prepare(&server, "ns").unwrap();
    assert!(!is_staged(&mounts));
    let directory = upper(&mounts);
    whiteout(&directory.join("gone"));
    std::fs::create_dir(directory.join("d")).unwrap();
    setxattr(
        directory.join("d"),
        "trusted.overlay.opaque",
        b"y",
        XattrFlags::empty(),
    )
    .unwrap();
    std::fs::write(directory.join("d/new"), "new").unwrap();
    let labels = link.labels();
    let onto = |parent: &str| server.commit_onto("top", &link.key("ns"), parent, &labels);
    assert_eq!(onto("missing").unwrap_err().code(), Code::NotFound);
    server.prepare("ns/2/web", "base").unwrap();
    assert_eq!(
        onto("ns/2/web").unwrap_err().code(),
        Code::FailedPrecondition
    );
    onto("base").unwrap();
    server.prepare("ns/3/web", "top").unwrap();
    server.mounted("ns/3/web", |place| {
        assert!(!place.join("gone").exists());
        assert_eq!(
            std::fs::read_to_string(place.join("stays")).unwrap(),
            "stays"
        );
        let names = std::fs::read_dir(place.join("d")).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["new"]);
        let mode = place.metadata().unwrap().permissions().mode();
        assert_eq!(
            mode & 0o7777,
            0o711,
            "the root directory is that of the base"
        );
    });
    // What has a parent stays there.
    let moved = server.commit_onto("x", "ns/2/web", "top", &[]);
    assert_eq!(moved.unwrap_err().code(), Code::InvalidArgument);
    server.commit_onto("x", "ns/2/web", "base", &[]).unwrap();
    assert!(server.cairn.json(&["check"])["sound"].as_bool().unwrap());
}

#[test]
fn a_driver_that_cannot_unpack_side_by_side_says_so() {
    if !is_root() {
        skip!("needs root");
    }
    let server = Server::start(&["--driver", "copy"]);
    let refused = unknown().prepare(&server, "ns").unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("rebase"), "{refused:?}");
    assert!(server.names().is_empty());
}
