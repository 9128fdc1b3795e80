//! Which devices a container may use: a list in version 1, a program attached to the group in version 2
//! (Documentation/admin-guide/cgroup-v1/devices.rst, bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE).
//!
//! Everything is denied but what rules allow. A process that may make device nodes can make one of any device,
//! and open none but those.

use std::fs;
use std::path::Path;

use cairn_sys::EbpfInstruction as Instruction;

use super::Hierarchy;
use crate::error::{Error, Result, Step};
use crate::limits::{DeviceKind, DeviceRule};

/// True where devices can be controlled here.
pub(super) fn possible(hierarchies: &[Hierarchy]) -> bool {
    hierarchies
        .iter()
        .any(|h| h.unified || h.root.join("devices.deny").exists())
}

/// Denies the group all devices but those of the rules.
pub(super) fn restrict(hierarchies: &[Hierarchy], group: &str, rules: &[DeviceRule]) -> Result<()> {
    let group_of = |h: &Hierarchy| h.root.join(group);
    let listed = hierarchies
        .iter()
        .find(|h| !h.unified && group_of(h).join("devices.deny").exists());
    if let Some(hierarchy) = listed {
        return list(&group_of(hierarchy), rules);
    }
    let unified = hierarchies
        .iter()
        .find(|h| h.unified && group_of(h).is_dir());
    match unified {
        Some(hierarchy) => attach(&group_of(hierarchy), rules),
        None => Err(Error::Invalid(
            "devices cannot be controlled: the container has no control group for them".into(),
        )),
    }
}

fn list(group: &Path, rules: &[DeviceRule]) -> Result<()> {
    let write = |file: &str, line: &str| {
        fs::write(group.join(file), line).step(format!("write {line:?} to {file}"))
    };
    write("devices.deny", "a")?;
    for rule in rules {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let mut access = String::new();
        for (allowed, letter) in [(rule.read, 'r'), (rule.write, 'w'), (rule.make, 'm')] {
            if allowed {
                access.push(letter);
            }
        }
        let kinds = match rule.kind {
            Some(DeviceKind::Block) => &['b'][..],
            Some(DeviceKind::Character) => &['c'],
            // A line for all kinds would allow all numbers and all access, too.
            None => &['b', 'c'],
        };
        for kind in kinds {
            let (major, minor) = (number(rule.major), number(rule.minor));
            write("devices.allow", &format!("{kind} {major}:{minor} {access}"))?;
        }
    }
    Ok(())
}

fn attach(group: &Path, rules: &[DeviceRule]) -> Result<()> {
    let what = "attach the device program to the control group";
    let directory = fs::File::open(group).step(what)?;
    let program =
        cairn_sys::load_device_program(&program(rules)).step("load the device program")?;
    cairn_sys::attach_device_program(&directory, &program).step(what)
}

// Opcodes (linux/bpf.h), and the registers that are used.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const AND_NUMBER: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> Instruction {
    Instruction {
        code,
        registers: from << 4 | to,
        offset,
        number,
    }
}

/// A program that answers 1 where a rule allows all of an access, else 0.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx: access << 16 | kind, major, minor.
    let mut all = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE, ACCESS, KIND, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(AND_NUMBER, KIND, 0, 0, 0xffff),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules {
        all.extend(allow(rule));
    }
    all.push(instruction(MOVE_NUMBER, ANSWER, 0, 0, 0));
    all.push(instruction(EXIT, 0, 0, 0, 0));
    all
}

fn allow(rule: &DeviceRule) -> Vec<Instruction> {
    let (make, read, write) = (1, 2, 4);
    let mut denied = 0;
    for (allowed, bit) in [(rule.make, make), (rule.read, read), (rule.write, write)] {
        if !allowed {
            denied |= bit;
        }
    }
    let mut checks = Vec::new();
    if let Some(kind) = rule.kind {
        let number = match kind {
            DeviceKind::Block => 1,
            DeviceKind::Character => 2,
        };
        checks.push(instruction(IF_NOT_EQUAL, KIND, 0, 0, number));
    }
    for (register, wanted) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(wanted) = wanted {
            // Numbers of devices have 20 bits at most.
            checks.push(instruction(
                IF_NOT_EQUAL,
                register,
                0,
                0,
                wanted.cast_signed(),
            ));
        }
    }
    if denied != 0 {
        checks.push(instruction(MOVE, ANSWER, ACCESS, 0, 0));
        checks.push(instruction(AND_NUMBER, ANSWER, 0, 0, denied));
        checks.push(instruction(IF_NOT_EQUAL, ANSWER, 0, 0, 0));
    }
    checks.push(instruction(MOVE_NUMBER, ANSWER, 0, 0, 1));
    checks.push(instruction(EXIT, 0, 0, 0, 0));
    // A check that fails goes on behind the last of them.
    let count = checks.len();
    for (i, check) in checks.iter_mut().enumerate() {
        if check.code == IF_NOT_EQUAL {
            check.offset = (count - i - 1) as i16;
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group of version 2 that goes with the test.
    struct Group(std::path::PathBuf);

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    /// What a shell in a group of version 2 with the program can do.
    fn tried(rules: &[DeviceRule], script: &str) -> Option<String> {
        let unified = super::super::hierarchies().iter().find(|h| h.unified)?;
        let name = format!("test-devices-{}", std::process::id());
        let group = Group(unified.root.join(name));
        fs::create_dir(&group.0).ok()?;
        attach(&group.0, rules).unwrap();
        let script = format!("echo $$ > {}/cgroup.procs && {script}", group.0.display());
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        // The group is busy for a moment after its last process.
        for _ in 0..1000 {
            if fs::remove_dir(&group.0).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn the_program_of_version_2_allows_what_rules_say() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CAIRN_TESTS_ALL").is_none(), "needs root");
            return;
        }
        let script = "d=$(mktemp -d); cd $d
            mknod loops c 10 237 && echo made
            (: < loops) 2>&1 | grep -q . && echo denied
            (: < /dev/null) && (: > /dev/zero) && echo usual
            (: < /dev/full) && echo full
            (: > /dev/full) 2>&1 | grep -q . && echo not written
            cd /; rm -r $d";
        let mut rules = DeviceRule::usual();
        let full = rules.iter_mut().find(|r| r.minor == Some(7)).unwrap();
        full.write = false;
        let Some(said) = tried(&rules, script) else {
            assert!(
                std::env::var_os("CAIRN_TESTS_ALL").is_none(),
                "needs version 2"
            );
            return;
        };
        assert_eq!(said, "made\ndenied\nusual\nfull\nnot written\n");
    }
}
