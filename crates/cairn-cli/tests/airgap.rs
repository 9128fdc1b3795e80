//! Files of images for machines that no network connects: only what the other side lacks, verified, all or nothing.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Cairn, has};
use serde_json::Value;

const FILES: u64 = 40;

/// Gives a repository the image `app:VERSION`; each version has two new files of 100 KB.
fn import(cairn: &Cairn, version: u64) {
    let layer = common::versioned("file", FILES, version).done();
    cairn.import_layers(&format!("app:{version}"), &[layer]);
}

fn export(cairn: &Cairn, args: &[&str]) -> std::path::PathBuf {
    let file = cairn.path("app.cairn");
    let start = ["export", "--format", "cairn", "-o", file.to_str().unwrap()];
    cairn.ok(&[&start[..], args].concat());
    file
}

fn bytes(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

fn id(cairn: &Cairn, name: &str) -> Value {
    cairn.json(&["inspect", name])["id"].clone()
}

#[test]
fn a_file_has_only_what_the_other_side_lacks() {
    let here = Cairn::new();
    import(&here, 1);
    import(&here, 2);
    let there = Cairn::new();
    let whole = export(&here, &["app:1"]);
    let all = bytes(&whole);
    assert!(all > 4_000_000);
    let imported = there.json(&["import", whole.to_str().unwrap()]);
    assert_eq!(imported[0]["layers"], 1);
    assert_eq!(id(&there, "app:1"), id(&here, "app:1"));
    // What the other side has is said by an image or by a list.
    let since = export(&here, &["app:2", "--since", "app:1"]);
    assert!(bytes(&since) < 300_000, "{}", bytes(&since));
    let since = std::fs::read(&since).unwrap();
    let list = there.path("have");
    there.ok(&["have", "-o", list.to_str().unwrap()]);
    assert!(bytes(&list) < 2000);
    let by_list = export(&here, &["app:2", "--have", list.to_str().unwrap()]);
    assert!(std::fs::read(&by_list).unwrap() == since);
    there.ok(&["import", by_list.to_str().unwrap()]);
    assert_eq!(id(&there, "app:2"), id(&here, "app:2"));
    there.ok(&["check"]);
    let (one, two) = (there.path("one"), here.path("two"));
    there.ok(&["export", "app:2", "-o", one.to_str().unwrap()]);
    here.ok(&["export", "app:2", "-o", two.to_str().unwrap()]);
    assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
    // Whoever has less than was thought is told what is missing.
    let nothing = Cairn::new();
    let file = by_list.to_str().unwrap();
    nothing.fails(&["import", file], 1, "which is not here");
    assert!(nothing.image_names().is_empty());
}

#[test]
fn several_images_and_standard_output() {
    let here = Cairn::new();
    import(&here, 1);
    import(&here, 2);
    let output = here.output(&["export", "--format", "cairn", "app:1", "app:2", "-o", "-"]);
    assert!(output.status.success());
    let there = Cairn::new();
    let path = there.path("both.cairn");
    std::fs::write(&path, &output.stdout).unwrap();
    there.ok(&["import", path.to_str().unwrap()]);
    assert_eq!(there.image_names(), ["app:1", "app:2"]);
    let args = ["import", path.to_str().unwrap(), "--name", "x:1"];
    there.fails(&args, 1, "--name can only be used with one");
    here.fails(
        &["export", "app:1", "--since", "app:1", "-o", "x"],
        2,
        "needs --format cairn",
    );
}

#[test]
fn damaged_and_truncated_files_leave_nothing_behind() {
    let here = Cairn::new();
    import(&here, 1);
    let file = export(&here, &["app:1"]);
    let good = std::fs::read(&file).unwrap();
    let there = Cairn::new();
    import(&there, 3);
    let bad = there.path("bad.cairn");
    let refused = |bytes: &[u8], words: &str| {
        std::fs::write(&bad, bytes).unwrap();
        there.fails(&["import", bad.to_str().unwrap()], 1, words);
        assert_eq!(there.image_names(), ["app:3"]);
    };
    for len in [
        17,
        24,
        100,
        3000,
        good.len() / 2,
        good.len() - 32,
        good.len() - 1,
    ] {
        refused(&good[..len], "truncated");
    }
    refused(&[&good[..], b"x"].concat(), "something follows its end");
    for at in [
        9,
        30,
        100,
        2000,
        good.len() / 3,
        good.len() / 2,
        good.len() - 5,
    ] {
        let mut changed = good.clone();
        changed[at] ^= 0x41;
        refused(&changed, "bad.cairn: ");
    }
    let mut newer = good.clone();
    newer[8] = 2;
    refused(&newer, "a version that this program does not know");
    let mut endless = good[..16].to_vec();
    endless.extend([255; 8]);
    refused(&endless, "longer than it may be");
    there.ok(&["check"]);
    there.ok(&["gc"]);
    there.ok(&["import", file.to_str().unwrap()]);
    there.ok(&["check"]);
}

#[test]
fn a_list_that_is_none_is_refused() {
    let here = Cairn::new();
    import(&here, 1);
    let list = here.path("have");
    std::fs::write(&list, "CAIRNHAV and other words").unwrap();
    let args = ["export", "app:1", "--format", "cairn", "-o", "x", "--have"];
    let args = [&args[..], &[list.to_str().unwrap()]].concat();
    here.fails(&args, 1, "not a list");
}

/// A key pair as `minisign -G -W` makes it.
fn key_pair(directory: &Path) -> bool {
    let script = r#"
import base64, hashlib, os, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as K
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, PrivateFormat, NoEncryption
k = K.generate()
seed = k.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
pk = k.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
n = os.urandom(8)
chk = hashlib.blake2b(b"Ed" + n + seed + pk, digest_size=32).digest()
sec = b"Ed" + b"\0\0" + b"B2" + bytes(48) + n + seed + pk + chk
d = sys.argv[1]
open(d + "/key", "w").write("untrusted comment: secret\n" + base64.b64encode(sec).decode() + "\n")
open(d + "/key.pub", "w").write("untrusted comment: public\n" + base64.b64encode(b"Ed" + n + pk).decode() + "\n")
"#;
    let done = Command::new("python3")
        .args(["-c", script])
        .arg(directory)
        .status();
    done.is_ok_and(|status| status.success())
}

/// Python's opinion of a signature, of which nothing is Cairn's.
fn python_verifies(file: &Path, key: &Path) -> bool {
    let script = r#"
import base64, hashlib, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey as P
f, k = sys.argv[1:]
pub = base64.b64decode(open(k).read().splitlines()[1])
l = open(f + ".minisig").read().splitlines()
sig = base64.b64decode(l[1])
assert sig[:2] == b"ED" and sig[2:10] == pub[2:10]
p = P.from_public_bytes(pub[10:])
p.verify(sig[10:], hashlib.blake2b(open(f, "rb").read()).digest())
p.verify(base64.b64decode(l[3]), sig[10:] + l[2][len("trusted comment: "):].encode())
"#;
    let status = Command::new("python3")
        .args(["-c", script])
        .args([file, key])
        .status();
    status.unwrap().success()
}

#[test]
fn signatures_are_those_of_minisign_and_are_asked_for() {
    let here = Cairn::new();
    if !key_pair(here.dir.path()) {
        skip!("python3 has no cryptography");
    }
    import(&here, 1);
    let (secret, public) = (here.path("key"), here.path("key.pub"));
    let file = export(&here, &["app:1", "--sign-key", secret.to_str().unwrap()]);
    assert!(python_verifies(&file, &public));
    let (file_name, public_name) = (file.to_str().unwrap(), public.to_str().unwrap());
    if has("minisign") {
        let args = ["-V", "-p", public_name, "-m", file_name];
        assert!(
            Command::new("minisign")
                .args(args)
                .status()
                .unwrap()
                .success()
        );
    }
    let there = Cairn::new();
    let take = ["import", file_name, "--verify-key", public_name];
    there.ok(&take);
    // Another key; a file that was changed, though its own hash is right; no signature.
    let other = tempfile::tempdir().unwrap();
    assert!(key_pair(other.path()));
    let foreign = other.path().join("key.pub");
    let args = [
        "import",
        file_name,
        "--verify-key",
        foreign.to_str().unwrap(),
    ];
    there.fails(&args, 1, "made with another key");
    let signature = here.path("app.cairn.minisig");
    let kept = std::fs::read_to_string(&signature).unwrap();
    std::fs::write(&signature, kept.replace("file:app", "file:xpp")).unwrap();
    there.fails(&take, 1, "not one of this file");
    std::fs::write(&signature, &kept).unwrap();
    import(&here, 2);
    let another = Cairn::new();
    import(&another, 2);
    let changed = export(&another, &["app:2"]);
    std::fs::copy(changed, &file).unwrap();
    there.fails(&take, 1, "not one of this file");
    std::fs::remove_file(&signature).unwrap();
    there.fails(&take, 1, "cannot open the signature");
    assert_eq!(there.image_names(), ["app:1"]);
    let archive = here.path("docker.tar");
    let args = [
        "import",
        archive.to_str().unwrap(),
        "--verify-key",
        public_name,
    ];
    there.fails(&args, 1, "have signatures");
}
