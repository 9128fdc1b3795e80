//! The main attacks against an ordinary user who runs an image: what is theirs stays out of its reach, as what is
//! root's does.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::common::{self, Tar, docker_archive, eventually, shell_tree, tar_of};
use super::user::{Ids, User};

/// As the user with one id, and with subordinate ids.
fn as_each(act: impl Fn(&User)) {
    for ids in [Ids::One, Ids::Subordinate] {
        match User::new(ids) {
            Some(user) => act(&user),
            None => skip!("needs user namespaces, and root to become another user"),
        }
    }
}

/// Imports the image `hostile`: a shell, a layer over it, and a configuration.
fn import(user: &User, layer: Tar, config: Value) {
    let tree = user.path("tree");
    if !tree.exists() {
        shell_tree(&tree);
    }
    let archive = docker_archive("hostile", &[tar_of(&tree), layer.done()], |document| {
        document["config"] = config;
    });
    std::fs::write(user.path("hostile.tar"), archive).unwrap();
    user.ok(&["import", "hostile.tar"]);
}

/// What the user has beside the repository: a directory with a secret that their own processes may write.
fn victim(user: &User) -> String {
    let place = user.path("home/victim");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("secret"), "the user's").unwrap();
    let owner = user.path("home").metadata().unwrap();
    for path in [&place, &place.join("secret")] {
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    place.to_str().unwrap().to_owned()
}

fn untouched(user: &User) {
    let place = user.path("home/victim");
    let names = std::fs::read_dir(&place).unwrap().count();
    assert_eq!(names, 1, "nothing came to it");
    let secret = std::fs::read_to_string(place.join("secret")).unwrap();
    assert_eq!(secret, "the user's");
}

#[test]
fn links_of_an_image_lead_an_ordinary_users_container_nowhere_on_the_host() {
    as_each(|user| {
        let place = victim(user);
        let sym = tar::EntryType::Symlink;
        let write = "echo words > /etc/hosts; echo words > x; echo end";
        let refused: [(&str, Tar); 3] = [
            ("/proc", Tar::new().link("proc", &place, sym)),
            ("/sys", Tar::new().link("sys", "/proc/self/root/proc", sym)),
            ("/dev", Tar::new().link("dev", &place, sym)),
        ];
        for (name, layer) in refused {
            import(user, layer, json!({"Cmd": ["/bin/sh", "-c", write]}));
            user.fails(&["run", "--rm", "hostile"], 125, name);
            untouched(user);
        }
        let inside = [
            Tar::new().link("etc/hosts", &format!("{place}/hosts"), sym),
            Tar::new().link("etc/resolv.conf", "/proc/1/root/etc/passwd", sym),
            Tar::new().link("data", &place, sym),
        ];
        for layer in inside {
            let config = json!({
                "Env": ["PATH=/bin"], "Cmd": ["/bin/sh", "-c", write],
                "WorkingDir": "/data", "Volumes": {"/data": {}},
            });
            import(user, layer, config);
            // It may be refused; it may not reach anything.
            user.output(&["run", "--rm", "--tmpfs", "/data/t", "hostile"]);
            untouched(user);
        }
        import(user, Tar::new(), json!({"Env": ["PATH=/bin"]}));
        for descriptor in 3..10 {
            let cwd = format!("/proc/self/fd/{descriptor}");
            let run = ["run", "--rm", "-w", &cwd, "hostile", "cat", "secret"];
            assert!(!user.output(&run).status.success());
        }
        assert_eq!(user.ok(&["ps", "-a", "--json"]).trim(), "[]");
    });
}

#[test]
fn a_process_of_an_ordinary_users_container_has_no_power_over_mounts_and_kernel() {
    as_each(|user| {
        victim(user);
        import(user, Tar::new(), json!({"Env": ["PATH=/bin"]}));
        let script = "mount -t tmpfs none /tmp 2>/dev/null && echo mounted; \
            (echo 1 > /proc/sys/kernel/printk) 2>/dev/null && echo written; \
            (echo b > /proc/sysrq-trigger) 2>/dev/null && echo triggered; \
            (echo 1 > /sys/kernel/profiling) 2>/dev/null && echo profiled; \
            cat /proc/kcore /proc/keys; \
            while read -r name value; do case $name in Seccomp:|NoNewPrivs:|CapBnd:) echo $name $value;; esac; done < /proc/self/status; \
            ls /proc/1/root/home 2>/dev/null; echo end";
        let said = user.ok(&["run", "--rm", "hostile", "/bin/sh", "-c", script]);
        let lines: Vec<&str> = said.lines().collect();
        let [bounding, "NoNewPrivs: 1" | "Seccomp: 2", _, .., "end"] = lines[..] else {
            // Their order is the kernel's.
            assert!(
                said.contains("NoNewPrivs: 1") && said.contains("Seccomp: 2"),
                "{said}"
            );
            panic!("{said}");
        };
        let bounding = bounding.strip_prefix("CapBnd: ").unwrap();
        let bounding = u64::from_str_radix(bounding, 16).unwrap();
        // CAP_SYS_ADMIN, CAP_SYS_MODULE, CAP_SYS_PTRACE, CAP_NET_ADMIN.
        for capability in [21, 16, 19, 12] {
            assert_eq!(bounding >> capability & 1, 0, "{capability}");
        }
        for word in ["mounted", "written", "triggered", "profiled", "victim"] {
            assert!(!said.contains(word), "{said}");
        }
        untouched(user);
    });
}

#[test]
fn an_ordinary_users_container_ends_with_its_monitor_and_leaves_nothing() {
    as_each(|user| {
        import(user, Tar::new(), json!({"Env": ["PATH=/bin"]}));
        let script = "(sleep 1000 & sleep 1000) & exec sleep 1000";
        user.ok(&[
            "run", "-d", "--name", "c", "hostile", "/bin/sh", "-c", script,
        ]);
        let told = |args: &[&str]| -> Value { serde_json::from_str(&user.ok(args)).unwrap() };
        let processes = || told(&["top", "c", "--json"]);
        eventually("all of it runs", || {
            processes().as_array().unwrap().len() == 3
        });
        let pids: Vec<i64> = processes()
            .as_array()
            .unwrap()
            .iter()
            .map(|process| process["host_pid"].as_i64().unwrap())
            .collect();
        let monitor = told(&["inspect", "c"])["monitor"].as_i64().unwrap();
        let monitor = rustix::process::Pid::from_raw(i32::try_from(monitor).unwrap()).unwrap();
        rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
        eventually("its processes are gone", || {
            pids.iter()
                .all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
        });
        assert_eq!(told(&["ps", "-a", "--json"])[0]["status"], "lost");
        user.ok(&["rm", "c"]);
        user.ok(&["gc"]);
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(user.path("home").to_str().unwrap()));
    });
}

#[test]
fn a_flood_of_output_does_not_fill_an_ordinary_users_disk() {
    let Some(user) = User::new(Ids::One) else {
        skip!("needs user namespaces, and root to become another user");
    };
    import(&user, Tar::new(), json!({"Env": ["PATH=/bin"]}));
    let script = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; i=$((i+1)); done";
    let run = [
        "run",
        "--name",
        "c",
        "--log-max-size",
        "66K",
        "--log-max-files",
        "2",
        "hostile",
        "/bin/sh",
        "-c",
        script,
    ];
    user.ok(&run);
    let log = user.ok(&["logs", "c"]);
    assert!(
        log.len() < 140 << 10 && log.ends_with("6789\n"),
        "{}",
        log.len()
    );
    common::eventually("it is removed", || {
        user.output(&["rm", "c"]).status.success()
    });
}
