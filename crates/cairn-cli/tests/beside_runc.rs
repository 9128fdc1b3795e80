//! What a process sees and may do under Cairn, beside Debian's runc with a bundle that asks for the same: the
//! same or less, and every difference is named with its reason.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use common::{Cairn, add_program, has, is_root, shell_tree};
use serde_json::{Value, json};

/// Prints a line for each thing there is to compare: name, tab, value.
const LOOK: &str = r#"
$| = 1;
sub say { print "$_[0]\t$_[1]\n" }
sub slurp { open my $f, '<', $_[0] or return ''; local $/; my $t = <$f>; defined $t ? $t : '' }
for (split /\n/, slurp '/proc/self/status') {
    say("status $1", $2) if /^(Cap...|NoNewPrivs|Seccomp|Uid|Gid|Groups|Umask):\s*(.*)/;
}
for (split /\n/, slurp '/proc/self/mountinfo') {
    my ($front, $back) = split / - /;
    my @f = split / /, $front;
    my @o = sort grep { /^(ro|rw|nosuid|nodev|noexec)$/ } split /,/, $f[5];
    say("mount $f[4]", join(',', @o) . ' ' . (split / /, $back)[0]) if $f[4] ne '/';
}
opendir my $dev, '/dev';
for my $name (sort grep { !/^\./ } readdir $dev) {
    my @s = lstat "/dev/$name";
    say("dev $name", sprintf '%o %d:%d %d', $s[2], $s[6] >> 8, $s[6] & 255, $s[4]);
}
for (split /\n/, slurp '/proc/self/limits') {
    say("limit $1", "$2 $3") if /^Max (.*?)\s{2,}(\S+)\s+(\S+)/;
}
say("env $_", $ENV{$_}) for sort keys %ENV;
say('cwd', readlink '/proc/self/cwd');
say('score', slurp('/proc/self/oom_score_adj') + 0);
say('groups outside', scalar grep { !m{:/$} } split /\n/, slurp '/proc/self/cgroup');
say('session', getpgrp() == $$ ? 'own' : 'other');
opendir my $fds, '/proc/self/fd';
say('descriptors', join ' ', sort grep { /^\d/ && $_ > 2 && $_ != fileno $fds } readdir $fds);
for my $path (qw(/proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/sched_debug)) {
    say("read $path", length slurp $path ? 'something' : 'nothing');
}
for my $path (qw(/proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/vm/swappiness
    /proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run /sys/power/state /proc/self/oom_score_adj)) {
    say("write $path", (open my $f, '>>', $path) ? 'yes' : 'no');
}
for my $device ([c => 1, 1], [c => 1, 11], [c => 10, 229], [b => 259, 0], [b => 7, 0], [c => 1, 5]) {
    my ($kind, $major, $minor) = @$device;
    my $made = system("mknod /dev/try $kind $major $minor 2>/dev/null") == 0;
    say("device $kind $major:$minor", ($made ? 'made ' : '') . ((open my $f, '<', '/dev/try') ? 'open' : 'shut'));
    unlink '/dev/try';
}
my %calls = (
    mount => [165, 0, 0, 0, 0, 0], umount2 => [166, 0, 0], unshare_user => [272, 0x10000000],
    unshare_net => [272, 0x40000000], setns => [308, -1, 0], keyctl => [250, 0, -3, 0], add_key => [248, 0, 0, 0, 0, 0],
    request_key => [249, 0, 0, 0, 0], bpf => [321, 0, 0, 0], perf_event_open => [298, 0, 0, -1, -1, 0],
    io_uring_setup => [425, 1, 0], clone3 => [435, 0, 0], userfaultfd => [323, 1], kexec_load => [246, 0, 0, 0, 0],
    init_module => [175, 0, 0, 0], delete_module => [176, 0, 0], swapon => [167, 0, 0], swapoff => [168, 0],
    reboot => [169, 0, 0, 0, 0], personality_ask => [135, 0xffffffff], personality_bsd => [135, 6],
    personality_high => [135, 0x100000000], attach => [101, 16, 999999, 0, 0],
    process_vm_readv => [310, 999999, 0, 0, 0, 0, 0], kcmp => [312, 1, 1, 9, 0, 0],
    open_by_handle_at => [304, -1, 0, 0], name_to_handle_at => [303, -1, 0, 0, 0, 0], acct => [163, 0],
    quotactl => [179, 0, 0, 0, 0], sethostname => [170, 0, -1], setdomainname => [171, 0, -1],
    settimeofday => [164, 0, 0], clock_settime => [227, 99, 0], ioperm => [173, 0, 1, 1], iopl => [172, 3],
    chroot => [161, 0], pivot_root => [155, 0, 0], vhangup => [153], lookup_dcookie => [212, 0, 0, 0],
    move_pages => [279, 999999, 0, 0, 0, 0, 0], mbind => [237, 0, 0, 0, 0, 0, 0], get_mempolicy => [239, 0, 0, 0, 0, 0],
    fanotify_init => [300, 0, 0], modify_ldt => [154, 99, 0, 0], arch_prctl => [158, 0, 0], sync => [162],
    getpid => [39], syslog => [103, 99, 0, 0], fsopen => [430, 0, 0], move_mount => [429, -1, 0, -1, 0, 0],
    open_tree => [428, -1, 0, 0], mount_setattr => [442, -1, 0, 0, 0, 0], pidfd_getfd => [438, -1, 0, 0],
    process_madvise => [440, -1, 0, 0, 0, 0], memfd_secret => [447, -1], quotactl_fd => [443, -1, 0, 0, 0],
    landlock => [444, 0, 0, 1], seccomp => [317, 99, 0, 0], uselib => [134, 0], ustat => [136, 0, 0], sysfs => [139, 99],
    vmsplice => [278, -1, 0, 0, 0], clone_user => [56, 0x10000011, 0, 0, 0, 0],
    newer => [3000, 0],
);
$calls{"socket_$_"} = [41, $_, 99, 0] for 0 .. 46;
$calls{socket_high} = [41, 0x100000000 + 40, 1, 0];
for my $name (sort keys %calls) {
    my ($call, @args) = @{$calls{$name}};
    my $got = syscall($call, @args);
    say("call $name", $got == -1 ? $! + 0 : 'done');
}
"#;

type Facts = BTreeMap<String, String>;

fn facts(output: &std::process::Output, whose: &str) -> Facts {
    let text = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{whose}: {:?} {err}",
        output.status.code()
    );
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    let all: Facts = lines.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    assert!(all.len() > 150, "{whose} says too little: {text}{err}");
    all
}

/// The default profile as a document of the OCI specification, for a process without special capabilities.
fn seccomp() -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../cairn-runtime/src/seccomp/default.json");
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let given = ["CAP_SYS_CHROOT"];
    let counts = |rule: &&Value| {
        let all = |of: &str, what: &str| {
            let list = rule[of][what].as_array().cloned().unwrap_or_default();
            list.iter()
                .map(|v| v.as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        all("includes", "caps")
            .iter()
            .all(|cap| given.contains(&cap.as_str()))
            && (all("includes", "arches").is_empty()
                || all("includes", "arches").contains(&"amd64".into()))
            && !all("excludes", "caps")
                .iter()
                .any(|cap| given.contains(&cap.as_str()))
    };
    let rules = document["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(counts)
        .map(|rule| {
            let mut rule = rule.as_object().unwrap().clone();
            rule.retain(|key, _| ["names", "action", "errnoRet", "args"].contains(&key.as_str()));
            Value::from(rule)
        });
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": rules.collect::<Vec<_>>(),
    })
}

/// A bundle that asks for what Cairn gives: Docker's capabilities without raw packets, as on the host's network.
fn bundle(directory: &Path) {
    let spec = Command::new("runc")
        .arg("spec")
        .current_dir(directory)
        .status();
    assert!(spec.unwrap().success());
    let path = directory.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "MKNOD",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "SYS_CHROOT",
        "KILL",
        "AUDIT_WRITE",
    ];
    let capabilities: Vec<String> = names.iter().map(|name| format!("CAP_{name}")).collect();
    config["process"]["capabilities"] =
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["perl", "/look.pl"]);
    config["process"]["env"] = json!(["PATH=/bin", "HOSTNAME=box", "HOME=/root"]);
    // Without CAP_SYS_RESOURCE runc can raise none.
    config["process"]["rlimits"] = json!([]);
    config["root"]["readonly"] = json!(false);
    config["hostname"] = json!("box");
    let linux = &mut config["linux"];
    linux["namespaces"] = json!([{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}]);
    for path in ["/proc/interrupts", "/sys/devices/virtual/powercap"] {
        linux["maskedPaths"]
            .as_array_mut()
            .unwrap()
            .push(json!(path));
    }
    linux["seccomp"] = seccomp();
    std::fs::write(&path, config.to_string()).unwrap();
}

/// Differences that are meant: what is compared, how it starts, and why.
const MEANT: [(&str, &str); 5] = [
    (
        "dev console",
        "a place for the terminal of -t, empty without it",
    ),
    (
        "limit open files",
        "few descriptors at first, for programs that use select(2)",
    ),
    (
        "mount /etc/",
        "names of the host's network, written for each container",
    ),
    (
        "mount /proc",
        "without set-user-id bits, devices and programs; masks cannot be written",
    ),
    (
        "mount /sys/fs/cgroup",
        "there is nothing to do with control groups inside",
    ),
];

#[test]
fn a_process_may_do_no_more_than_under_runc() {
    if !is_root() || !has("runc") || std::env::consts::ARCH != "x86_64" {
        skip!("needs root, and runc on x86-64");
    }
    let cairn = Cairn::new();
    let directory = cairn.path("bundle");
    let tree = directory.join("rootfs");
    std::fs::create_dir_all(&tree).unwrap();
    shell_tree(&tree);
    for program in ["perl", "mknod"] {
        add_program(&tree, program);
    }
    for name in ["proc", "sys", "dev"] {
        std::fs::create_dir_all(tree.join(name)).unwrap();
    }
    std::fs::write(tree.join("look.pl"), LOOK).unwrap();
    cairn.import_dir(&tree, "look");
    let run = [
        "run",
        "--rm",
        "--hostname",
        "box",
        "-e",
        "PATH=/bin",
        "look",
        "perl",
        "/look.pl",
    ];
    let ours = facts(&cairn.output(&run), "cairn");
    bundle(&directory);
    let name = format!("cairn-test-{}", std::process::id());
    let mut runc = Command::new("runc");
    runc.arg("--root")
        .arg(cairn.path("runc"))
        .args(["run", "--bundle"])
        .arg(&directory)
        .arg(&name);
    let theirs = facts(
        &runc.stdin(std::process::Stdio::null()).output().unwrap(),
        "runc",
    );
    compare(&ours, &theirs, &MEANT);
}

/// Names of what differs.
fn differing(ours: &Facts, theirs: &Facts) -> Vec<String> {
    let mut names: Vec<String> = ours.keys().chain(theirs.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| ours.get(name) != theirs.get(name));
    names
}

/// What differs without a reason.
fn unmeant(ours: &Facts, theirs: &Facts, meant: &[(&str, &str)]) -> Vec<String> {
    let is_meant = |name: &str| meant.iter().any(|(start, _)| name.starts_with(start));
    differing(ours, theirs)
        .into_iter()
        .filter(|name| !is_meant(name))
        .map(|name| {
            let (cairn, runc) = (ours.get(&name), theirs.get(&name));
            format!("{name}: cairn {cairn:?}, runc {runc:?}")
        })
        .collect()
}

/// Fails where something differs without a reason, or a reason has no difference any more.
fn compare(ours: &Facts, theirs: &Facts, meant: &[(&str, &str)]) {
    let unmeant = unmeant(ours, theirs, meant);
    assert!(
        unmeant.is_empty(),
        "differences without a reason:\n{}",
        unmeant.join("\n")
    );
    let differing = differing(ours, theirs);
    for (start, why) in meant {
        let there = differing.iter().any(|name| name.starts_with(start));
        assert!(there, "{start} does not differ any more: {why}");
    }
}

/// Differences that are meant where both are given the same bundle.
const MEANT_IN_BUNDLES: [(&str, &str); 8] = [
    (
        "mount /proc/",
        "masks cannot be written, and are never the host's nodes",
    ),
    (
        "mount /sys/fs/cgroup",
        "the directory of control groups is as closed as they are; version 2 is shown beside version 1",
    ),
    ("mount /dev/full", OWN_NODES),
    ("mount /dev/null", OWN_NODES),
    ("mount /dev/random", OWN_NODES),
    ("mount /dev/tty", OWN_NODES),
    ("mount /dev/urandom", OWN_NODES),
    ("mount /dev/zero", OWN_NODES),
];
const OWN_NODES: &str = "in a user namespace nodes are the container's own, not those of the host";

/// The same bundle, by `cairn oci` and by runc.
fn both(directory: &Path, what: &str) -> (Facts, Facts) {
    let name = format!("cairn-test-{what}-{}", std::process::id());
    let run = |mut command: Command, whose: &str| {
        command
            .arg("--root")
            .arg(directory.join(format!("state-{whose}")));
        command.args(["run", "--bundle"]).arg(directory).arg(&name);
        command.stdin(std::process::Stdio::null());
        facts(&command.output().unwrap(), whose)
    };
    let mut cairn = Command::new(env!("CARGO_BIN_EXE_cairn"));
    cairn.arg("oci");
    (run(cairn, "cairn"), run(Command::new("runc"), "runc"))
}

/// A change of a bundle's document.
type Change = (&'static str, fn(&mut Value));

const CHANGES: [Change; 4] = [
    ("plain", |_| {}),
    ("user", |config| {
        config["process"]["user"] =
            json!({"uid": 33, "gid": 44, "umask": 0o27, "additionalGids": [5, 6]});
        let ambient = json!(["CAP_NET_BIND_SERVICE", "CAP_KILL"]);
        for set in ["inheritable", "ambient"] {
            config["process"]["capabilities"][set] = ambient.clone();
        }
        config["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_AS", "soft": 1_u64 << 40, "hard": 1_u64 << 40},
        ]);
        config["process"]["oomScoreAdj"] = json!(300);
        config["process"]["cwd"] = json!("/tmp");
    }),
    ("devices", |config| {
        config["root"]["readonly"] = json!(true);
        config["process"]["noNewPrivileges"] = json!(false);
        config["linux"]["devices"] = json!([
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 33, "gid": 5},
        ]);
        config["linux"]["resources"]["devices"] = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"},
        ]);
        config["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "network"}));
        config["mounts"].as_array_mut().unwrap().extend([
            json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["noexec", "size=1m"]}),
            json!({"destination": "/host", "type": "bind", "source": "/usr", "options": ["rbind", "ro", "nosuid"]}),
        ]);
    }),
    ("users", |config| {
        // Nobody may mount sysfs of the host's network there.
        let namespaces = &mut config["linux"]["namespaces"];
        let namespaces = namespaces.as_array_mut().unwrap();
        namespaces.extend([json!({"type": "user"}), json!({"type": "network"})]);
        let ids = json!([{"containerID": 0, "hostID": 0, "size": 1}, {"containerID": 1, "hostID": 300000, "size": 1000}]);
        config["linux"]["uidMappings"] = ids.clone();
        config["linux"]["gidMappings"] = ids;
    }),
];

#[test]
fn a_bundle_gives_a_process_no_more_than_under_runc() {
    if !is_root() || !has("runc") || std::env::consts::ARCH != "x86_64" {
        skip!("needs root, and runc on x86-64");
    }
    let cairn = Cairn::new();
    let directory = cairn.path("bundle");
    let tree = directory.join("rootfs");
    std::fs::create_dir_all(&tree).unwrap();
    shell_tree(&tree);
    for program in ["perl", "mknod"] {
        add_program(&tree, program);
    }
    std::fs::write(tree.join("look.pl"), LOOK).unwrap();
    let (mut all, mut differ) = (Vec::new(), Vec::new());
    for (what, change) in CHANGES {
        bundle(&directory);
        let path = directory.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        std::fs::write(&path, config.to_string()).unwrap();
        let (ours, theirs) = both(&directory, what);
        let found = unmeant(&ours, &theirs, &MEANT_IN_BUNDLES);
        differ.extend(differing(&ours, &theirs));
        all.extend(found.into_iter().map(|line| format!("{what}: {line}")));
        std::fs::remove_file(path).unwrap();
    }
    assert!(
        all.is_empty(),
        "differences without a reason:\n{}",
        all.join("\n")
    );
    for (start, why) in MEANT_IN_BUNDLES {
        let there = differ.iter().any(|name| name.starts_with(start));
        assert!(there, "{start} does not differ any more: {why}");
    }
}
