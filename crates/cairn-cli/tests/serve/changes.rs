//! `Diff` of the service of a differ: what a snapshot changed goes into containerd's content store.

use std::io::Read;

use cairn_serve::proto::diff::DiffRequest;
use cairn_serve::proto::types::{Descriptor, Mount};
use tonic::{Code, Request, Status};

use crate::common::sha256;
use crate::containerd::{Containerd, can_run};
use crate::diff::{apply, client, layers};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const UNCOMPRESSED: &str = "containerd.io/uncompressed";

fn ask(containerd: &Containerd, request: DiffRequest) -> Result<Descriptor, Status> {
    let mut request = Request::new(request);
    let namespace = containerd.namespace().parse().unwrap();
    let headers = request.metadata_mut();
    headers.insert("containerd-namespace", namespace);
    let mut client = client(containerd);
    let answer = containerd.server.runtime.block_on(client.diff(request))?;
    Ok(answer.into_inner().diff.unwrap())
}

fn diff(
    containerd: &Containerd,
    left: &[Mount],
    right: &[Mount],
    media_type: &str,
) -> Result<Descriptor, Status> {
    let request = DiffRequest {
        left: left.to_vec(),
        right: right.to_vec(),
        media_type: media_type.to_owned(),
        labels: [("note".to_owned(), "kept".to_owned())].into(),
        ..Default::default()
    };
    ask(containerd, request)
}

/// A blob of the content store.
fn blob(containerd: &Containerd, digest: &str) -> Vec<u8> {
    let output = containerd.ctr(&["content", "get", digest]);
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut tar = tar::Archive::new(tar);
    let entries = tar.entries().unwrap();
    let names = entries.map(|entry| entry.unwrap().path().unwrap().display().to_string());
    names.filter(|name| name != "./").collect()
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut gzip = flate2::read::MultiGzDecoder::new(bytes);
    gzip.read_to_end(&mut out).unwrap();
    out
}

#[test]
fn what_a_snapshot_changed_goes_into_the_content_store() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let containerd = Containerd::start();
    let server = &containerd.server;
    server.layer("ns/1/base", "", "file", &[b'x'; 5000]);
    let right = server.prepare("ns/2/web", "ns/1/base").unwrap();
    server.mounted("ns/2/web", |place| {
        std::fs::remove_file(place.join("file")).unwrap();
        // More than goes into one message.
        std::fs::write(place.join("new"), crate::common::noise(1, 3 << 20)).unwrap();
    });
    let left = server.view("ns/3/below", "ns/1/base").unwrap();

    let layer = diff(&containerd, &left, &right, "").unwrap();
    assert_eq!(layer.media_type, GZIP);
    let bytes = blob(&containerd, &layer.digest);
    assert_eq!(layer.size, i64::try_from(bytes.len()).unwrap());
    let tar = unpacked(&bytes);
    assert_eq!(names(&tar), [".wh.file", "new"]);
    let diff_id = sha256(&tar);
    assert_eq!(layer.annotations[UNCOMPRESSED], diff_id);
    let listed = containerd.ok(&["content", "ls"]);
    let line = listed.lines().find(|l| l.contains(&layer.digest)).unwrap();
    assert!(
        line.contains(&diff_id) && line.contains("note=kept"),
        "{line}"
    );
    // Without a lease of the client's one that ends keeps it.
    assert!(containerd.ok(&["leases", "ls"]).contains("cairn-diff-"));

    // Once more it is the same, and there already; other forms have the same content.
    assert_eq!(diff(&containerd, &left, &right, GZIP).unwrap(), layer);
    let plain = diff(&containerd, &left, &right, PLAIN).unwrap();
    assert_eq!(plain.digest, diff_id);
    assert_eq!(blob(&containerd, &plain.digest), tar);
    let zstd = diff(&containerd, &left, &right, ZSTD).unwrap();
    assert_eq!(zstd.annotations[UNCOMPRESSED], diff_id);

    // It is the layer that a commit makes, as views of the two show.
    server.commit("ns/4/done", "ns/2/web").unwrap();
    let done = server.view("ns/5/above", "ns/4/done").unwrap();
    let committed = diff(&containerd, &left, &done, PLAIN).unwrap();
    assert_eq!(committed.digest, diff_id);

    // Over nothing.
    let alone = server.prepare("ns/6/alone", "").unwrap();
    server.mounted("ns/6/alone", |place| {
        std::fs::write(place.join("only"), "this").unwrap();
    });
    let nothing = server.view("ns/7/nothing", "").unwrap();
    let only = diff(&containerd, &nothing, &alone, PLAIN).unwrap();
    assert_eq!(names(&blob(&containerd, &only.digest)), ["only"]);
    assert_eq!(diff(&containerd, &[], &alone, PLAIN).unwrap(), only);
    assert!(server.cairn.json(&["check"])["sound"].as_bool().unwrap());
}

#[test]
fn a_layer_that_came_in_goes_out_byte_for_byte() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let containerd = Containerd::with_blobs();
    let server = &containerd.server;
    let (layer, diff_id) = layers(&containerd).swap_remove(0);
    let mounts = server.prepare("ns/1/extract-1 a", "").unwrap();
    apply(&containerd, layer, mounts.clone()).unwrap();
    // Whether or not it is committed.
    let active = diff(&containerd, &[], &mounts, PLAIN).unwrap();
    assert_eq!(active.digest, diff_id);
    server.commit("ns/2/layer", "ns/1/extract-1 a").unwrap();
    let view = server.view("ns/3/view", "ns/2/layer").unwrap();
    let committed = diff(&containerd, &[], &view, PLAIN).unwrap();
    assert_eq!(committed.digest, diff_id);
}

#[test]
fn what_only_containerds_own_differ_can_do_is_left_to_it() {
    if !can_run() {
        skip!("needs root, containerd and runc");
    }
    let containerd = Containerd::start();
    let server = &containerd.server;
    server.layer("ns/1/base", "", "file", &[b'x'; 5000]);
    server.layer("ns/1/other", "", "other", &[b'y'; 5000]);
    let right = server.prepare("ns/2/web", "ns/1/base").unwrap();
    let left = server.view("ns/3/below", "ns/1/base").unwrap();
    let other = server.view("ns/4/other", "ns/1/other").unwrap();
    let foreign = Mount {
        r#type: "bind".into(),
        source: "/usr".into(),
        target: String::new(),
        options: vec!["ro".into(), "rbind".into()],
    };
    let foreign = [foreign];
    let code = |left: &[Mount], right: &[Mount], media_type| {
        let refused = diff(&containerd, left, right, media_type);
        refused.expect_err("it should be refused").code()
    };
    for (left, right) in [
        (&other[..], &right[..]),
        (&foreign, &right),
        (&left, &foreign),
        (&left, &other),
        (&[], &right),
    ] {
        assert_eq!(
            code(left, right, ""),
            Code::Unimplemented,
            "{left:?} {right:?}"
        );
    }
    let unknown = "application/vnd.oci.image.config.v1+json";
    assert_eq!(code(&left, &right, unknown), Code::Unimplemented);
    let dated = DiffRequest {
        left,
        right,
        source_date_epoch: Some(prost_types::Timestamp::default()),
        ..Default::default()
    };
    let dated = ask(&containerd, dated).unwrap_err();
    assert_eq!(dated.code(), Code::Unimplemented);
}
