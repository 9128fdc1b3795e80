//! The compiled programs, run by an interpreter of the test's own and held against the rules.

mod rules_hold;

use super::calls::Architecture;
use super::program::Instruction;
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

/// What a program says to a call (bpf(4), as far as filters use it).
fn run(program: &[Instruction], architecture: u32, number: u32, args: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        0 => number,
        4 => architecture,
        16.. => {
            let (index, high) = ((offset - 16) / 8, (offset - 16) % 8 == 4);
            let value = args[index as usize];
            (if high { value >> 32 } else { value }) as u32
        }
        other => panic!("there is nothing to load at {other}"),
    };
    let (mut at, mut a) = (0, 0);
    loop {
        let i = program[at];
        at += 1;
        let test = |holds: bool| usize::from(if holds { i.jt } else { i.jf });
        match i.code {
            0x20 => a = load(i.k),
            0x54 => a &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += test(a == i.k),
            0x25 => at += test(a > i.k),
            0x35 => at += test(a >= i.k),
            0x06 => return i.k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn parse(text: &str) -> Result<Document> {
    Document::parse("test", text.as_bytes())
}

/// A document, compiled for a process without any capability on Linux 6.1.
fn compiled(text: &str, capabilities: &Capabilities) -> Vec<Instruction> {
    let here = Circumstances {
        capabilities,
        kernel: (6, 1),
    };
    let filter = parse(text).unwrap().compile(&here).unwrap();
    filter.instructions().unwrap()
}

fn says(program: &[Instruction], architecture: Architecture, call: &str, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let number = architecture.number(call).unwrap();
    run(program, architecture.audit_number(), number, all)
}

fn default_program(capabilities: &[&str]) -> Vec<Instruction> {
    let names: Vec<String> = capabilities.iter().map(|c| (*c).to_owned()).collect();
    let capabilities = Capabilities::default();
    let capabilities = capabilities.change(&names, &[]).unwrap();
    let here = Circumstances {
        capabilities: &capabilities,
        kernel: (6, 1),
    };
    let document = Document::default_profile().unwrap();
    document.compile(&here).unwrap().instructions().unwrap()
}

#[test]
fn the_default_profile_names_only_calls_that_exist() {
    let text: serde_json::Value = serde_json::from_slice(include_bytes!("default.json")).unwrap();
    for rule in text["syscalls"].as_array().unwrap() {
        for name in rule["names"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            assert!(super::calls::is_known(name), "{name}");
        }
    }
}

#[test]
fn the_default_profile_denies_what_docker_denies() {
    if Architecture::native() != Some(Architecture::X86_64) {
        return;
    }
    let program = default_program(&[]);
    assert!(program.len() < 700, "{}", program.len());
    let says = |call: &str, args: &[u64]| says(&program, Architecture::X86_64, call, args);
    for call in [
        "read",
        "openat",
        "execve",
        "futex",
        "mmap",
        "ptrace",
        "sethostname",
    ] {
        let expected = if call == "sethostname" {
            errno(1)
        } else {
            ALLOW
        };
        assert_eq!(says(call, &[]), expected, "{call}");
    }
    for call in [
        "mount",
        "umount2",
        "unshare",
        "setns",
        "keyctl",
        "add_key",
        "request_key",
        "bpf",
        "perf_event_open",
        "io_uring_setup",
        "kexec_load",
        "init_module",
        "userfaultfd",
        "open_by_handle_at",
        "chroot",
        "reboot",
        "pivot_root",
        "fsopen",
        "move_mount",
    ] {
        assert_eq!(says(call, &[]), errno(1), "{call}");
    }
    assert_eq!(says("clone3", &[]), errno(38));
    assert_eq!(says("clone", &[0x11]), ALLOW);
    for flag in [
        0x2_0000_u64,
        0x200_0000,
        0x400_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        assert_eq!(says("clone", &[0x11 | flag]), errno(1), "{flag:#x}");
    }
    for (persona, allowed) in [
        (0, true),
        (8, true),
        (0xffff_ffff, true),
        (0x40000, false),
        (1 << 32, false),
    ] {
        assert_eq!(
            says("personality", &[persona]) == ALLOW,
            allowed,
            "{persona:#x}"
        );
    }
    for (family, allowed) in [
        (1, true),
        (2, true),
        (16, true),
        (17, true),
        (44, true),
        (38, false),
        (40, false),
        (46, false),
        (1 << 32 | 40, false),
        (1 << 32 | 2, false),
    ] {
        assert_eq!(says("socket", &[family]) == ALLOW, allowed, "{family:#x}");
    }
    // Newer than the profile, of x32, and of an architecture that cannot be.
    let audit = Architecture::X86_64.audit_number();
    assert_eq!(run(&program, audit, 3000, [0; 6]), errno(38));
    assert_eq!(run(&program, audit, 0x4000_0000, [0; 6]), errno(38));
    assert_eq!(run(&program, audit, u32::MAX, [0; 6]), errno(38));
    assert_eq!(run(&program, 0x1234, 0, [0; 6]), KILL_PROCESS);
    // The same names for 32-bit programs.
    let on_x86 = |call: &str| super::tests::says(&program, Architecture::X86, call, &[]);
    assert_eq!((on_x86("read"), on_x86("mmap2")), (ALLOW, ALLOW));
    assert_eq!((on_x86("mount"), on_x86("keyctl")), (errno(1), errno(1)));
    assert_eq!(on_x86("socketcall"), errno(38));
}

#[test]
fn rules_depend_on_capabilities_architecture_and_kernel() {
    if Architecture::native() != Some(Architecture::X86_64) {
        return;
    }
    let program = default_program(&["SYS_ADMIN"]);
    for call in ["mount", "clone3", "unshare", "bpf"] {
        assert_eq!(
            says(&program, Architecture::X86_64, call, &[]),
            ALLOW,
            "{call}"
        );
    }
    let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.1"}},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
        {"names": ["open"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"names": ["close"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "arm"]}},
        {"names": ["stat"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "5.0"}}]}"#;
    let program = compiled(text, &Capabilities::default());
    let allowed = |call| says(&program, Architecture::X86_64, call, &[]) == ALLOW;
    let answers = ["read", "write", "open", "close", "stat"].map(allowed);
    assert_eq!(answers, [true, false, false, true, false]);
}

#[test]
fn each_rule_has_its_own_answer() {
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["fchdir"], "action": "SCMP_ACT_KILL"},
        {"names": ["dup"], "action": "SCMP_ACT_TRAP"},
        {"names": ["getpid"], "action": "SCMP_ACT_TRACE", "errnoRet": 7},
        {"names": ["getuid"], "action": "SCMP_ACT_LOG"},
        {"names": ["getuid"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["getgid"], "action": "SCMP_ACT_ALLOW", "args": null},
        {"names": ["getgid"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#;
    let program = compiled(text, &Capabilities::default());
    let native = Architecture::native().unwrap();
    let says = |call: &str, args: &[u64]| says(&program, native, call, args);
    assert_eq!(says("read", &[]), errno(13));
    assert_eq!(says("write", &[]), KILL_PROCESS);
    assert_eq!(says("fchdir", &[]), 0);
    assert_eq!(says("dup", &[]), 0x0003_0000);
    assert_eq!(says("getpid", &[]), 0x7ff0_0007);
    assert_eq!(says("getuid", &[]), 0x7ffc_0000, "the strictest counts");
    assert_eq!(says("getgid", &[]), errno(1), "the strictest counts");
    assert_eq!(says("kill", &[1, 9]), errno(1));
    assert_eq!(says("kill", &[1, 0]), ALLOW, "conditions come first");
    assert_eq!(run(&program, native.audit_number(), 3000, [0; 6]), ALLOW);
}

#[test]
fn two_conditions_on_one_argument_are_two_rules() {
    let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 15, "op": "SCMP_CMP_EQ"}]}]}"#;
    let program = compiled(text, &Capabilities::default());
    let native = Architecture::native().unwrap();
    let allowed = |signal| says(&program, native, "kill", &[1, signal]) == ALLOW;
    assert_eq!([0, 15, 9].map(allowed), [true, true, false]);
}

#[test]
fn documents_that_cannot_be_met_are_refused_by_name() {
    let rule =
        |rule: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
    let deep = "[".repeat(100_000);
    for (text, words) in [
        ("", "EOF"),
        ("[]", "line 1"),
        (deep.as_str(), "line 1 column 1"),
        (r#"{"defaultAction": "SCMP_ACT_FOO"}"#, "unknown action"),
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "listener"),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}"#,
            "over 4095",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1}"#,
            "invalid value",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]}"#,
            "PDP11",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}"#,
            "NEW_LISTENER",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}"#,
            "listenerPath",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "sycalls": []}"#,
            "sycalls",
        ),
        (&rule(r#"{"names": ["read"]}"#), "action"),
        (
            &rule(r#"{"names": [], "action": "SCMP_ACT_ERRNO"}"#),
            "names no system call",
        ),
        (
            &rule(r#"{"names": ["readx"], "action": "SCMP_ACT_ERRNO"}"#),
            "readx",
        ),
        (
            &rule(
                r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
            ),
            "argument 6",
        ),
        (
            &rule(
                r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 0, "op": "LIKE"}]}"#,
            ),
            "LIKE",
        ),
        (
            &rule(
                r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 99999999999999999999, "op": "SCMP_CMP_EQ"}]}"#,
            ),
            "line 1",
        ),
        (
            &rule(
                r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "new"}}"#,
            ),
            "minKernel",
        ),
    ] {
        let capabilities = Capabilities::default();
        let here = Circumstances {
            capabilities: &capabilities,
            kernel: (6, 1),
        };
        let done = parse(text).and_then(|document| document.compile(&here));
        let e = done.unwrap_err().to_string();
        assert!(
            e.contains(words) && e.starts_with("seccomp profile test: "),
            "{words}: {e}"
        );
    }
    // A call that nobody knows is no loss where it would have been allowed.
    let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["brand_new"], "action": "SCMP_ACT_ALLOW"}]}"#;
    assert!(!compiled(text, &Capabilities::default()).is_empty());
}

#[test]
fn documents_are_bounded() {
    let rule = r#"{"names":["read"],"action":"SCMP_ACT_ERRNO"},"#;
    let many = |count: usize, rule: &str| {
        let rules = rule.repeat(count);
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#,
            rules.trim_end_matches(',')
        )
    };
    let e = parse(&many(100_000, rule)).unwrap_err().to_string();
    assert!(e.contains("bytes"), "{e}");
    let e = parse(&many(5_000, rule)).unwrap_err().to_string();
    assert!(e.contains("4096 rules"), "{e}");
    // Few rules, but more conditions than a filter has room for.
    let args: Vec<String> = (0..6)
        .map(|i| format!(r#"{{"index":{i},"value":5,"op":"SCMP_CMP_EQ"}}"#))
        .collect();
    let rule = format!(
        r#"{{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{}]}},"#,
        args.join(",")
    );
    let capabilities = Capabilities::default();
    let here = Circumstances {
        capabilities: &capabilities,
        kernel: (6, 1),
    };
    let e = parse(&many(1000, &rule))
        .unwrap()
        .compile(&here)
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("instructions, but the kernel takes at most 4096"),
        "{e}"
    );
}

#[test]
fn a_filter_survives_being_written_down() {
    let filter = Document::default_profile()
        .unwrap()
        .compile(&Circumstances::here(&Capabilities::default()))
        .unwrap();
    let text = serde_json::to_string(&filter).unwrap();
    let again: Filter = serde_json::from_str(&text).unwrap();
    assert_eq!(
        again.instructions().unwrap(),
        filter.instructions().unwrap()
    );
    let broken = text.replace("\"0020", "\"zz20");
    let broken: Filter = serde_json::from_str(&broken).unwrap();
    assert!(broken.instructions().is_err());
}
