//! The service of a differ, asked by a client of the tests: containerd's plugin for it is newer than Debian's.

use std::path::PathBuf;

use cairn_serve::proto::diff::diff_client::DiffClient;
use cairn_serve::proto::diff::{ApplyRequest, DiffRequest};
use cairn_serve::proto::types::{Descriptor, Mount};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::containerd::{Containerd, IMAGE, archive, can_run};

pub fn client(containerd: &Containerd) -> DiffClient<Channel> {
    let address = format!("unix://{}", containerd.server.socket().display());
    let endpoint = Endpoint::try_from(address).unwrap();
    DiffClient::new(
        containerd
            .server
            .runtime
            .block_on(endpoint.connect())
            .unwrap(),
    )
}

pub fn apply(
    containerd: &Containerd,
    diff: Descriptor,
    mounts: Vec<Mount>,
) -> Result<Descriptor, Status> {
    let mut request = Request::new(ApplyRequest {
        diff: Some(diff),
        mounts,
    });
    let namespace = containerd.namespace().parse().unwrap();
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace);
    let answer = containerd
        .server
        .runtime
        .block_on(client(containerd).apply(request))?;
    Ok(answer.into_inner().applied.unwrap())
}

/// A document of the content store.
fn document(containerd: &Containerd, digest: &str) -> Value {
    serde_json::from_str(&containerd.ok(&["content", "get", digest])).unwrap()
}

/// The layers of the image, and their diff ids.
pub fn layers(containerd: &Containerd) -> Vec<(Descriptor, String)> {
    layers_of(containerd, IMAGE)
}

pub fn layers_of(containerd: &Containerd, image: &str) -> Vec<(Descriptor, String)> {
    let listed = containerd.ok(&["image", "ls", &format!("name=={image}")]);
    let start = listed.find("sha256:").unwrap();
    let manifest = document(containerd, &listed[start..start + 71]);
    let config = document(containerd, manifest["config"]["digest"].as_str().unwrap());
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap().iter();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers
        .zip(diff_ids)
        .map(|(layer, diff_id)| {
            let text = |field: &str| layer[field].as_str().unwrap().to_owned();
            let descriptor = Descriptor {
                media_type: text("mediaType"),
                digest: text("digest"),
                size: layer["size"].as_i64().unwrap(),
                annotations: Default::default(),
            };
            (descriptor, diff_id.as_str().unwrap().to_owned())
        })
        .collect()
}

/// Where writes go.
pub fn upper(mounts: &[Mount]) -> PathBuf {
    let options = mounts[0].options.iter();
    let upper = options.clone().find_map(|o| o.strip_prefix("upperdir="));
    PathBuf::from(upper.unwrap_or(&mounts[0].source))
}

/// How much is there.
pub fn written(mounts: &[Mount]) -> usize {
    std::fs::read_dir(upper(mounts)).unwrap().count()
}

#[test]
fn layers_go_from_the_content_store_into_packs_and_no_file_is_written() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let containerd = Containerd::start();
    let path = archive(&containerd.server.cairn, IMAGE);
    containerd.ok(&["image", "import", "--no-unpack", path.to_str().unwrap()]);
    let server = &containerd.server;
    let mut parent = String::new();
    for (i, (layer, diff_id)) in layers(&containerd).into_iter().enumerate() {
        let key = format!("ns/{i}/extract-{i} sha256:a");
        let mounts = server.prepare(&key, &parent).unwrap();
        let applied = apply(&containerd, layer, mounts.clone()).unwrap();
        assert_eq!(applied.digest, diff_id);
        assert_eq!(written(&mounts), 0);
        if i == 0 {
            // Whoever mounts it now sees what was applied.
            server.mounted(&key, |place| assert!(place.join("etc/base").exists()));
        }
        let name = format!("ns/{i}/layer");
        server.commit(&name, &key).unwrap();
        parent = name;
    }
    server.prepare("ns/9/web", &parent).unwrap();
    server.mounted("ns/9/web", |place| {
        let text = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
        assert_eq!(text("etc/config"), "mode=fast\n");
        assert!(text("opt/app").starts_with("version 1"));
        assert!(!place.join("opt/old").exists(), "a deletion is one");
    });
    assert!(server.cairn.json(&["check"])["sound"].as_bool().unwrap());
    // It is the layer that an import would make, and is found by the same name.
    let before = server.cairn.json(&["stats"])["layers"]
        .as_array()
        .unwrap()
        .len();
    server.cairn.ok(&["import", path.to_str().unwrap()]);
    let after = server.cairn.json(&["stats"])["layers"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(before, after);
}

#[test]
fn what_is_written_over_an_applied_layer_is_committed_with_it() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let containerd = Containerd::with_blobs();
    let server = &containerd.server;
    let (layer, _) = layers(&containerd).swap_remove(0);
    let mounts = server.prepare("ns/1/extract-1 a", "").unwrap();
    apply(&containerd, layer.clone(), mounts.clone()).unwrap();
    server.mounted("ns/1/extract-1 a", |place| {
        std::fs::write(place.join("etc/base"), "changed").unwrap();
        std::fs::remove_file(place.join("opt/old")).unwrap();
    });
    // A second layer is a matter of containerd's own applier, as is what is not ours.
    let again = apply(&containerd, layer.clone(), mounts).unwrap_err();
    assert_eq!(again.code(), Code::Unimplemented);
    let foreign = Mount {
        r#type: "bind".into(),
        source: "/nowhere".into(),
        target: String::new(),
        options: vec!["rw".into()],
    };
    let foreign = apply(&containerd, layer, vec![foreign]).unwrap_err();
    assert_eq!(foreign.code(), Code::Unimplemented);
    let diff = client(&containerd);
    let mut diff = diff.clone();
    let differ = server.runtime.block_on(diff.diff(DiffRequest::default()));
    assert_eq!(differ.unwrap_err().code(), Code::Unimplemented);
    server.commit("ns/2/both", "ns/1/extract-1 a").unwrap();
    server.prepare("ns/3/web", "ns/2/both").unwrap();
    server.mounted("ns/3/web", |place| {
        assert_eq!(
            std::fs::read_to_string(place.join("etc/base")).unwrap(),
            "changed"
        );
        assert!(!place.join("opt/old").exists());
        assert!(place.join("bin").exists());
    });
    assert!(server.cairn.json(&["check"])["sound"].as_bool().unwrap());
}

#[test]
fn a_blob_that_is_not_what_its_digest_says_changes_nothing() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let containerd = Containerd::start();
    let server = &containerd.server;
    let mounts = server.prepare("ns/1/extract-1 a", "").unwrap();
    let missing = Descriptor {
        media_type: "application/vnd.oci.image.layer.v1.tar".into(),
        digest: format!("sha256:{}", "0".repeat(64)),
        size: 1,
        annotations: Default::default(),
    };
    let refused = apply(&containerd, missing, mounts.clone()).unwrap_err();
    assert_ne!(refused.code(), Code::Unimplemented, "{refused:?}");
    assert_eq!(written(&mounts), 0);
    server.commit("ns/2/empty", "ns/1/extract-1 a").unwrap();
    assert!(server.cairn.json(&["check"])["sound"].as_bool().unwrap());
}
