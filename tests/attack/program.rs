//! The host's own program: an image gets no way to change it (CVE-2019-5736).

use std::os::unix::fs::MetadataExt;

use super::{Tar, common, under_every_driver};
use serde_json::json;

pub fn program() -> (u32, u32, i64, Vec<u8>) {
    let path = env!("CARGO_BIN_EXE_cairn");
    let meta = std::fs::metadata(path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    (meta.mode(), meta.uid(), meta.ctime(), sha(&bytes))
}

fn sha(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).to_vec()
}

#[test]
fn the_program_behind_process_one_cannot_be_changed() {
    if !common::is_root() {
        skip!("needs root");
    }
    let before = program();
    under_every_driver(&["setfattr"], |bench| {
        bench.plain();
        let script = "for what in /proc/1/exe /proc/self/exe; do
            chmod 777 /proc/1/exe 2>/dev/null && echo mode
            chown 0:0 /proc/1/exe 2>/dev/null && echo owner
            touch -m /proc/1/exe 2>/dev/null && echo time
            setfattr -n user.x -v y /proc/1/exe 2>/dev/null && echo attribute
            (: >> /proc/1/exe) 2>/dev/null && echo content
        done; readlink /proc/1/exe > /dev/null && echo tried";
        assert_eq!(bench.sh(&["--init"], script), "tried");
        // As the image's own entrypoint, and as the interpreter of a script of it.
        let mode_of_exe = "#!/proc/self/exe\n";
        let mut layer = Tar::new();
        let mut header = Tar::header("trap", tar::EntryType::Regular, mode_of_exe.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        layer.0.append(&header, mode_of_exe.as_bytes()).unwrap();
        bench.image(
            layer,
            json!({"Entrypoint": ["/proc/self/exe"], "Cmd": ["__stage", "3"]}),
        );
        let output = bench.cairn.output(&["run", "--rm", "hostile"]);
        assert_ne!(output.status.code(), Some(0));
        for words in [
            &["__stage", "0"][..],
            &["__stage", "7"],
            &["__after", "00000000000000000000000000000000"],
            &["--version"],
        ] {
            let run = [
                &["run", "--rm", "--entrypoint", "/proc/self/exe", "hostile"],
                words,
            ]
            .concat();
            bench.cairn.output(&run);
        }
        bench
            .cairn
            .output(&["run", "--rm", "--entrypoint", "/trap", "hostile", "x"]);
    });
    assert_eq!(program(), before, "the host's program is as it was");
}

#[test]
fn hidden_steps_answer_to_sealed_orders_only() {
    let cairn = common::Cairn::new();
    let order = cairn.path("order");
    std::fs::write(&order, "{\"Init\":{}}").unwrap();
    let said = |script: &str| {
        let output = std::process::Command::new("sh")
            .args([
                "-c",
                script,
                "sh",
                env!("CARGO_BIN_EXE_cairn"),
                order.to_str().unwrap(),
            ])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for script in [
        "exec 5<\"$2\"; \"$1\" __stage 5",
        "\"$1\" __stage 77",
        "\"$1\" __stage 0",
    ] {
        let (code, err) = said(script);
        assert_eq!(code, Some(125), "{err}");
        assert!(err.contains("cairn run"), "{err}");
    }
    let (code, err) = said("\"$1\" __after 00 </dev/null");
    assert_eq!(code, Some(2), "{err}");
}
