//! `run --network user` and `-p`: a server inside is answered from outside, as root and as an ordinary user, and
//! no helper outlives its container.

mod common;
mod user;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Cairn, eventually};
use serde_json::Value;
use user::{Ids, User};

/// Says something to who connects to port 80.
const TCP: &str = "import socket\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\ns.bind(('', 80))\ns.listen()\nwhile True:\n  c, _ = s.accept()\n  c.sendall(b'hello from inside')\n  c.close()\n";
/// Prints packets that come to port 53.
const UDP: &str = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('', 53))\nwhile True:\n  print('got', s.recv(100), flush=True)\n";

/// A command line with a server in the image `base`, which has the host's programs at hand.
fn server<'a>(name: &'a str, port: &'a str, script: &'a str) -> Vec<&'a str> {
    vec![
        "run",
        "-d",
        "--name",
        name,
        "-p",
        port,
        "-v",
        "/usr:/usr:ro",
        "base",
        "/usr/bin/python3",
        "-c",
        script,
    ]
}

/// A port of the host that nobody listens at.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What a server at a port of this host says; nothing where there is none.
fn heard(port: u16) -> String {
    let mut text = String::new();
    let address = ([127, 0, 0, 1], port).into();
    if let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_string(&mut text);
    }
    text
}

/// True where a process has these words among its arguments.
fn is_running(words: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.windows(words.len())
            .any(|part| part == words.as_bytes())
    })
}

/// Both helpers, each alone in a directory of programs.
fn helpers(dir: &Path) -> Vec<String> {
    let helper = |name: &&str| {
        let program = Path::new("/usr/bin").join(name);
        let place = dir.join(name);
        if !program.exists() {
            return None;
        }
        std::fs::create_dir(&place).unwrap();
        symlink(program, place.join(name)).unwrap();
        Some(place.to_str().unwrap().to_owned())
    };
    ["pasta", "slirp4netns"].iter().filter_map(helper).collect()
}

fn image(cairn: &Cairn) {
    let tree = cairn.path("tree");
    common::shell_tree(&tree);
    std::fs::create_dir(tree.join("usr")).unwrap();
    cairn.import_dir(&tree, "base");
}

#[test]
fn a_server_is_reached_and_its_helper_ends_with_it() {
    if !common::is_root() {
        skip!("needs root");
    }
    let cairn = Cairn::new();
    image(&cairn);
    let helpers = helpers(cairn.dir.path());
    if helpers.len() < 2 || !Path::new("/usr/bin/python3").exists() {
        skip!("needs pasta, slirp4netns and python3");
    }
    let root = cairn.root();
    let root = root.to_str().unwrap();
    for search in &helpers {
        let ok = |args: &[&str]| {
            let output = cairn.command(args).env("PATH", search).output().unwrap();
            let err = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{search} {args:?}: {err}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let port = free_port();
        let publish = format!("127.0.0.1:{port}:80");
        ok(&server("web", &publish, TCP));
        eventually("the server answers", || heard(port) == "hello from inside");
        assert_eq!(
            ok(&["port", "web"]),
            format!("80/tcp -> 127.0.0.1:{port}\n")
        );
        let json: Value = serde_json::from_str(&ok(&["--json", "port", "web"])).unwrap();
        assert_eq!(json["network"], "user");
        assert_eq!(json["ports"][0]["host"], port);
        assert!(ok(&["ps", "--no-trunc"]).contains(&format!("127.0.0.1:{port}->80/tcp")));
        assert_eq!(cairn.json(&["ps"])[0]["ports"], json["ports"]);
        ok(&["stop", "-t", "0", "web"]);
        assert!(
            !is_running(root),
            "{search}: the helper is there after its container"
        );
        ok(&["start", "web"]);
        eventually("it answers again", || heard(port) == "hello from inside");

        let ps = cairn.json(&["ps"]);
        let monitor = ps[0]["monitor"].as_i64().unwrap();
        let killed = Command::new("kill")
            .args(["-9", &monitor.to_string()])
            .status();
        assert!(killed.unwrap().success());
        eventually("the helper of a killed monitor is gone", || {
            !is_running(root)
        });
        assert_eq!(heard(port), "");
        ok(&["rm", "-f", "web"]);
    }
}

#[test]
fn packets_lead_to_the_container_and_taken_ports_are_told() {
    if !common::is_root() {
        skip!("needs root");
    }
    let cairn = Cairn::new();
    image(&cairn);
    let helpers = helpers(cairn.dir.path());
    if helpers.len() < 2 || !Path::new("/usr/bin/python3").exists() {
        skip!("needs pasta, slirp4netns and python3");
    }
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:53/udp");
    for search in &helpers {
        let made = cairn
            .command(&server("names", &publish, UDP))
            .env("PATH", search)
            .status();
        assert!(made.unwrap().success());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        eventually("a packet arrives", || {
            socket.send_to(b"that", ("127.0.0.1", port)).unwrap();
            cairn.ok(&["logs", "names"]).contains("got b'that'")
        });
        if search != &helpers[1] {
            cairn.ok(&["rm", "-f", "names"]);
        }
    }
    // Loopback and the sockets of the host are not the container's.
    let inside = cairn.ok(&["exec", "names", "cat", "/proc/net/unix"]);
    assert_eq!(inside.lines().count(), 1, "{inside}");
    let servers = cairn.ok(&["exec", "names", "cat", "/etc/resolv.conf"]);
    assert!(servers.starts_with("nameserver 10.0.2.3\n"), "{servers}");
    // A port that is taken is told by who wanted it, and nothing is left.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let publish = format!("127.0.0.1:{}:80", taken.local_addr().unwrap().port());
    cairn.fails(
        &["run", "--rm", "-p", &publish, "base", "true"],
        125,
        "pasta cannot connect",
    );
    let servers = cairn.ok(&[
        "run",
        "--rm",
        "--network",
        "user",
        "base",
        "cat",
        "/etc/resolv.conf",
    ]);
    assert!(servers.starts_with("nameserver 169.254.1.1\n"), "{servers}");
    cairn.ok(&["rm", "-f", "names"]);
    assert!(!is_running(cairn.root().to_str().unwrap()));
    assert_eq!(cairn.json(&["ps", "-a"]).as_array().unwrap().len(), 0);
}

#[test]
fn an_ordinary_user_serves_the_host() {
    if !common::is_root() {
        skip!("needs root, to give the user a tunnel device");
    }
    for ids in [Ids::One, Ids::Subordinate] {
        let Some(mut user) = User::new(ids) else {
            skip!("needs user namespaces and newuidmap");
        };
        let helpers = helpers(&user.path("."));
        if helpers.len() < 2 || !Path::new("/usr/bin/python3").exists() {
            skip!("needs pasta, slirp4netns and python3");
        }
        // Everybody's, as udev makes it.
        user.first = "mkdir -p /dev/net && mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 &&".into();
        let tree = user.path("tree");
        common::shell_tree(&tree);
        std::fs::create_dir(tree.join("usr")).unwrap();
        std::fs::write(user.path("image.tar"), common::tar_of(&tree)).unwrap();
        user.ok(&["import", "image.tar", "--name", "base"]);
        let place = user.repository();
        let place = place.to_str().unwrap();
        let usual = user.search.clone();
        for search in helpers {
            user.search = format!("{search}:/usr/sbin");
            if ids == Ids::Subordinate {
                symlink("/usr/bin/newuidmap", format!("{search}/newuidmap")).unwrap();
                symlink("/usr/bin/newgidmap", format!("{search}/newgidmap")).unwrap();
            }
            let port = free_port();
            let publish = format!("127.0.0.1:{port}:80");
            user.ok(&server("web", &publish, TCP));
            eventually("the server answers", || heard(port) == "hello from inside");
            user.search.clone_from(&usual);
            user.ok(&["exec", "web", "true"]);
            user.ok(&["rm", "-f", "web"]);
            eventually("the helper is gone", || !is_running(place));
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    let cairn = common::shell();
    let output = cairn
        .command(&["run", "--rm", "-p", "8080:80", "shell", "true"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{err}");
    assert!(
        err.contains("install the package passt (or slirp4netns)"),
        "{err}"
    );
    cairn.fails(
        &[
            "run",
            "--rm",
            "--network",
            "none",
            "-p",
            "8080:80",
            "shell",
            "true",
        ],
        2,
        "needs --network user",
    );
    cairn.fails(
        &["run", "--rm", "-p", "80", "shell", "true"],
        2,
        "must be [IP:]HOST:CONTAINER[/udp]",
    );
    assert_eq!(cairn.json(&["ps", "-a"]).as_array().unwrap().len(), 0);
}
