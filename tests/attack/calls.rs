//! System calls that a process may not make, tried from inside, and documents that say which.

use std::collections::BTreeMap;

use super::{Bench, Tar, common};
use serde_json::json;

/// Tries calls by number: `ok`, or the errno. The names are the test's own.
const TRY: &str = "
    my %calls = (
        mount => [165, 0, 0, 0, 0, 0], unshare_user => [272, 0x10000000], setns => [308, -1, 0],
        keyctl => [250, 0, -3, 0], add_key => [248, 0, 0, 0, 0, 0], bpf => [321, 0, 0, 0],
        perf_event_open => [298, 0, 0, 0, 0, 0], clone3 => [435, 0, 0], io_uring => [425, 1, 0],
        clone_user => [56, 0x10000011, 0], personality_ask => [135, 0xffffffff],
        personality_other => [135, 0x40000], trace => [101, 16, 999999, 0, 0], newer => [3000],
        x32 => [0x40000027], vsock => [41, 40, 1, 0], alg => [41, 38, 5, 0],
        alg_by_high_bits => [41, 0x100000026, 5, 0], unix => [41, 1, 1, 0], getpid => [39],
    );
    for my $name (@ARGV ? @ARGV : sort keys %calls) {
        my $got = syscall($calls{$name}[0], @{$calls{$name}}[1 .. $#{$calls{$name}}]);
        print \"$name \", $got == -1 ? $! + 0 : 'ok', \"\\n\";
    }";

/// What calls answered: those named, or all.
fn tried(bench: &Bench, options: &[&str], names: &str) -> BTreeMap<String, String> {
    std::fs::write(bench.cairn.path("try.pl"), TRY).unwrap();
    let script = format!("{}:/try.pl:ro", bench.cairn.path("try.pl").display());
    let options = [&["-v", script.as_str()], options].concat();
    bench
        .sh(&options, &format!("exec perl /try.pl {names}"))
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, got)| (name.to_owned(), got.to_owned()))
        .collect()
}

fn bench() -> Bench {
    let bench = Bench::new("erofs", &["perl", "grep"]);
    bench.plain();
    bench
}

const MODE: &str = "grep -h ^Seccomp: /proc/1/status /proc/self/status";
const FILTERED: &str = "Seccomp:\t2\nSeccomp:\t2";

#[test]
fn calls_that_reach_into_the_kernel_are_denied() {
    if !common::is_root() || std::env::consts::ARCH != "x86_64" {
        skip!("needs root on x86-64");
    }
    let bench = bench();
    for options in [
        &[][..],
        &["--init"],
        &["-u", "www"],
        &["--security-opt", "no-new-privileges=false"],
        &[
            "--security-opt",
            "no-new-privileges=false",
            "--init",
            "-u",
            "www",
        ],
    ] {
        assert_eq!(bench.sh(options, MODE), FILTERED, "{options:?}");
        let got = tried(&bench, options, "");
        for denied in [
            "mount",
            "unshare_user",
            "setns",
            "keyctl",
            "add_key",
            "bpf",
            "perf_event_open",
            "io_uring",
            "clone_user",
            "personality_other",
            "vsock",
            "alg",
            "alg_by_high_bits",
        ] {
            assert_eq!(got[denied], "1", "{denied} with {options:?}");
        }
        for missing in ["clone3", "newer", "x32"] {
            assert_eq!(got[missing], "38", "{missing} with {options:?}");
        }
        for allowed in ["personality_ask", "unix", "getpid"] {
            assert_eq!(got[allowed], "ok", "{allowed} with {options:?}");
        }
        assert_eq!(got["trace"], "3", "there is no such process");
    }
    let with = tried(&bench, &["--cap-add", "sys_admin"], "clone3 bpf keyctl");
    assert_ne!(with["clone3"], "38", "capabilities open what needs them");
    assert_ne!(with["bpf"], "1");
    assert_eq!(with["keyctl"], "1");
    let open = ["--security-opt", "seccomp=unconfined"];
    assert_eq!(bench.sh(&open, MODE), "Seccomp:\t0\nSeccomp:\t0");
    assert_ne!(tried(&bench, &open, "clone3")["clone3"], "38");
}

/// A 32-bit program: makes a call without arguments and exits with its negative answer.
fn program_of_32_bits(call: u32) -> Vec<u8> {
    let mut code = vec![0x31, 0xdb, 0x31, 0xc9, 0x31, 0xd2, 0xb8];
    code.extend(call.to_le_bytes());
    // int 0x80; neg eax; mov ebx, eax; mov eax, 1 (exit); int 0x80
    code.extend([
        0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80,
    ]);
    let (base, header) = (0x0804_8000_u32, 52 + 32_u32);
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
    for word in [1, base + header, 52, 0, 0] {
        elf.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    let size = header + code.len() as u32;
    for word in [1, 0, base, base, size, size, 5, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

#[test]
fn programs_of_32_bits_get_the_same_answers() {
    if !common::is_root() || std::env::consts::ARCH != "x86_64" {
        skip!("needs root on x86-64");
    }
    let bench = bench();
    let mut layer = Tar::new();
    // unshare, keyctl, clone3, socketcall, sync
    for call in [310, 288, 435, 102, 36] {
        let elf = program_of_32_bits(call);
        let name = format!("call{call}");
        let mut header = Tar::header(&name, tar::EntryType::Regular, elf.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        layer.0.append(&header, elf.as_slice()).unwrap();
    }
    bench.image(layer, json!({"Env": ["PATH=/bin"]}));
    let script = "for call in 36 310 288 435 102; do /call$call; echo $?; done";
    let open = bench.sh(&["--security-opt", "seccomp=unconfined"], script);
    if !open.starts_with("0\n0\n") {
        skip!("this kernel runs no 32-bit programs: {open}");
    }
    assert_eq!(bench.sh(&[], script), "0\n1\n1\n38\n38");
}

#[test]
fn a_document_of_the_users_decides() {
    if !common::is_root() || std::env::consts::ARCH != "x86_64" {
        skip!("needs root on x86-64");
    }
    let bench = bench();
    let path = bench.cairn.path("own.json");
    let option = format!("seccomp={}", path.display());
    let write = |document: serde_json::Value| std::fs::write(&path, document.to_string()).unwrap();
    // As the OCI runtime specification has it.
    write(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77},
            {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 78,
             "args": [{"index": 0, "value": 0xffff_0000_u32, "valueTwo": 0x4_0000, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS"}]}));
    let options = ["--security-opt", option.as_str()];
    for more in [&[][..], &["--security-opt", "no-new-privileges=false"]] {
        let names = "getpid personality_other personality_ask clone3";
        let got = tried(&bench, &[&options[..], more].concat(), names);
        assert_eq!((&*got["getpid"], &*got["personality_other"]), ("77", "78"));
        assert_eq!(got["personality_ask"], "ok");
        assert_ne!(got["clone3"], "38");
    }
    let run = [
        &["run", "--rm"],
        &options[..],
        &["hostile", "perl", "-e", "syscall(162)"],
    ]
    .concat();
    assert_eq!(
        bench.cairn.output(&run).status.code(),
        Some(128 + 31),
        "SIGSYS"
    );
    // What keeps even the program from being executed is told.
    write(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ERRNO"}]}));
    let run = [&["run", "--rm"], &options[..], &["hostile", "/bin/true"]].concat();
    bench.cairn.fails(&run, 126, "cannot be executed");
    // It is kept as it was when the container was created.
    write(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    let run = [
        "run",
        "--name",
        "kept",
        "--security-opt",
        &option,
        "hostile",
        "/bin/true",
    ];
    bench.cairn.ok(&run);
    let shown = bench.cairn.json(&["inspect", "kept"]);
    assert_eq!(shown["launch"]["seccomp"], path.to_str().unwrap());
}

#[test]
fn hostile_documents_are_refused_with_a_line() {
    if !common::is_root() {
        skip!("needs root");
    }
    let bench = Bench::new("copy", &[]);
    bench.plain();
    let path = bench.cairn.path("bad.json");
    let refused = |path: &str, words: &str| {
        let option = format!("seccomp={path}");
        let run = [
            "run",
            "--rm",
            "--security-opt",
            &option,
            "hostile",
            "/bin/true",
        ];
        let output = bench.cairn.output(&run);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            matches!(output.status.code(), Some(2 | 125)),
            "{words}: {err}"
        );
        assert!(
            err.contains(words) && err.lines().count() == 1,
            "{words}: {err}"
        );
        assert!(err.len() < 2000, "{words}: {}", err.len());
    };
    let rule = r#"{"names":["read"],"action":"SCMP_ACT_ERRNO"},"#;
    let rules = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#,
        rule.repeat(100_000).trim_end_matches(',')
    );
    for (text, words) in [
        ("", "EOF"),
        (&"[".repeat(500_000), "line 1 column 1"),
        (&rules, "bytes, which is the limit"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["no_such"],"action":"SCMP_ACT_KILL"}]}"#,
            "no_such",
        ),
        (
            &format!(r#"{{"defaultAction":"{}"}}"#, "A".repeat(900_000)),
            "unknown action",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        refused(path.to_str().unwrap(), words);
    }
    refused("/dev/zero", "bytes, which is the limit");
    refused("/nonexistent", "/nonexistent");
    refused("/etc", "/etc");
    assert_eq!(
        bench.cairn.json(&["ps", "-a"]),
        json!([]),
        "nothing is left"
    );
}
