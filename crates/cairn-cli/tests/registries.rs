//! What files and the environment say of registries: mirrors, short names, blocked and insecure ones, certificates, proxies.

#[path = "common/certificates.rs"]
mod certificates;
mod common;
#[path = "common/registry.rs"]
mod registry;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use certificates::Authority;
use common::{Cairn, two_layers};
use registry::{Act, Asked, Proxy, Registry};

const LAYER_BYTES: usize = 300_000;

/// A machine: a repository and the files of its user.
struct Machine {
    cairn: Cairn,
    env: Vec<(String, String)>,
}

impl Machine {
    fn new(cairn: Cairn) -> Self {
        Self {
            cairn,
            env: Vec::new(),
        }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With these words in its `registries.conf`.
    fn conf(self, text: &str) -> Self {
        let file = self.cairn.path("registries.conf");
        std::fs::write(&file, text).unwrap();
        self.env("CONTAINERS_REGISTRIES_CONF", file.to_str().unwrap())
    }

    /// The user's directory of certificates for a host.
    fn certs(&self, host: &str) -> PathBuf {
        let directory = self.cairn.path("config/containers/certs.d").join(host);
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.cairn.command(args);
        command.env("XDG_CONFIG_HOME", self.cairn.path("config"));
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.envs(self.env.iter().cloned()).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cairn {args:?}: {err}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn fails(&self, args: &[&str], words: &str) {
        let output = self.run(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "cairn {args:?} should fail");
        assert!(
            err.contains(words),
            "cairn {args:?} should say {words:?}: {err}"
        );
    }
}

#[test]
fn mirrors_are_asked_in_their_order_and_the_image_keeps_its_name() {
    let registry = registry!();
    two_layers("app:1").ok(&["push", "app:1", &format!("{}/team/a:1", registry.host())]);
    let own = Proxy::start(Some(&registry), |_| Act::Pass);
    let mirror = Proxy::start(Some(&registry), |_| Act::Pass);
    let pinned = Proxy::start(Some(&registry), |_| Act::Pass);
    let empty = Proxy::start(None, |_| Act::status("404 Not Found", "", ""));
    let conf = format!(
        "[[registry]]\nprefix = 'registry.test/x'\nlocation = '{}/team'\n\
         [[registry.mirror]]\nlocation = '{}/team'\n\
         [[registry.mirror]]\nlocation = '{}/team'\npull-from-mirror = 'digest-only'\n\
         [[registry.mirror]]\nlocation = '{}/team'\n",
        own.host(),
        empty.host(),
        pinned.host(),
        mirror.host()
    );
    let machine = Machine::new(Cairn::new()).conf(&conf);
    let out = machine.ok(&["--json", "pull", "registry.test/x/a:1"]);
    let out: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(machine.cairn.image_names(), ["registry.test/x/a:1"]);
    assert!(empty.asked().len() == 1 && mirror.count(Asked::is_blob) == 3);
    assert!(own.asked().is_empty() && pinned.asked().is_empty());
    // Another machine, and the digest.
    let machine = Machine::new(Cairn::new()).conf(&conf);
    let digest = out[0]["digest"].as_str().unwrap();
    machine.ok(&["pull", &format!("registry.test/x/a@{digest}")]);
    assert_eq!(pinned.count(Asked::is_blob), 3);
    // Where no mirror has it, all of them are told of.
    machine.fails(&["pull", "registry.test/x/none:1"], "no mirror has it");
}

#[test]
fn what_a_mirror_gave_is_not_fetched_again_when_it_breaks() {
    let registry = registry!();
    two_layers("app:1").ok(&["push", "app:1", &format!("{}/a:1", registry.host())]);
    let own = Proxy::start(Some(&registry), |_| Act::Pass);
    let count = std::sync::atomic::AtomicUsize::new(0);
    let mirror = Proxy::start(Some(&registry), move |asked| match asked.is_blob() {
        true if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 3 => {
            Act::CutBody(200_000)
        }
        true => Act::status("404 Not Found", "", ""),
        false => Act::Pass,
    });
    let conf = format!(
        "[[registry]]\nprefix = 'registry.test'\nlocation = '{}'\n[[registry.mirror]]\nlocation = '{}'\n",
        own.host(),
        mirror.host()
    );
    let machine = Machine::new(Cairn::new()).conf(&conf);
    machine.ok(&["pull", "registry.test/a:1"]);
    assert!(own.count(Asked::is_blob) > 0);
    let all = own.sent() + mirror.sent();
    assert!(all < 2 * LAYER_BYTES as u64 + 50_000, "{all}");
    machine.cairn.ok(&["check"]);
}

#[test]
fn a_blocked_registry_is_not_asked_and_short_names_mean_what_the_file_says() {
    let registry = registry!();
    two_layers("app:1").ok(&["push", "app:1", &format!("{}/team/a:1", registry.host())]);
    let proxy = Proxy::start(Some(&registry), |_| Act::Pass);
    let host = proxy.host();
    let conf = |more: &str| format!("{more}\n[aliases]\nsmall = '{host}/team/a'\n");
    let machine = Machine::new(Cairn::new()).conf(&conf(""));
    machine.ok(&["create", "--pull", "missing", "--name", "one", "small:1"]);
    assert_eq!(machine.cairn.image_names(), [format!("{host}/team/a:1")]);
    proxy.forget();
    machine.ok(&["create", "--pull", "missing", "--name", "two", "small:1"]);
    assert!(
        proxy.asked().is_empty(),
        "what the name stands for is there"
    );
    let blocked = format!("[[registry]]\nlocation = '{host}/team'\nblocked = true");
    let machine = Machine::new(Cairn::new()).conf(&conf(&blocked));
    machine.fails(&["pull", "small:1"], "is blocked");
    assert!(proxy.asked().is_empty());
    let search = format!("unqualified-search-registries = ['{host}']");
    let machine = Machine::new(Cairn::new()).conf(&conf(&search));
    machine.ok(&["pull", "team/a:1"]);
    let both = format!(
        "short-name-mode = 'permissive'\nunqualified-search-registries = ['{}', '{host}']",
        registry.host()
    );
    let machine = Machine::new(Cairn::new()).conf(&conf(&both));
    machine.ok(&["pull", "team/a:1"]);
    machine.fails(&["pull", "team/none:1"], "does not have it");
    let machine = Machine::new(Cairn::new()).conf("[registries.search]\n");
    machine.fails(&["pull", "small:1"], "registries.conf: it is of version 1");
}

/// A registry that speaks TLS, with what vouches for it.
struct Private {
    registry: Registry,
    authority: Authority,
    directory: tempfile::TempDir,
}

impl Private {
    /// One that also wants certificates of its clients, if so.
    fn start(of_clients: bool) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "authority")?;
        let (certificate, key) = authority.vouch("host", "DNS:registry.test,IP:127.0.0.1");
        let clients = match of_clients {
            true => format!(", clientcas: [{}]", authority.certificate().display()),
            false => String::new(),
        };
        let tls = format!(
            ", tls: {{certificate: {}, key: {}{clients}}}",
            certificate.display(),
            key.display()
        );
        Some(Self {
            registry: Registry::start_with(&tls)?,
            authority,
            directory,
        })
    }

    /// Puts certificates where a client looks for them.
    fn trust(&self, certs: &Path) {
        std::fs::copy(self.authority.certificate(), certs.join("ca.crt")).unwrap();
    }
}

macro_rules! private {
    ($of_clients:expr) => {
        match Private::start($of_clients) {
            Some(private) => private,
            None => skip!("docker-registry or openssl is not installed"),
        }
    };
}

#[test]
fn a_registry_is_believed_by_the_authority_that_its_directory_names_and_no_other() {
    let private = private!(false);
    let host = private.registry.host();
    let reference = format!("{host}/a:1");
    let machine = Machine::new(two_layers("app:1"));
    let certs = machine.certs(&host);
    let other = Authority::new(private.directory.path(), "other").unwrap();
    std::fs::copy(other.certificate(), certs.join("ca.crt")).unwrap();
    machine.fails(&["push", "app:1", &reference], "cannot be trusted");
    private.trust(&certs);
    machine.ok(&["push", "app:1", &reference]);
    machine.ok(&["pull", &reference]);
    // What is insecure need not be vouched for; that has to be said.
    let machine = Machine::new(Cairn::new());
    let conf = format!("[[registry]]\nlocation = '{host}'\ninsecure = true\n");
    machine.certs(&host);
    machine.fails(&["pull", &reference], "cannot be trusted");
    machine.conf(&conf).ok(&["pull", &reference]);
    // Files that are of no use are named.
    let machine = Machine::new(Cairn::new());
    std::fs::write(machine.certs(&host).join("ca.crt"), "nothing").unwrap();
    machine.fails(
        &["pull", &reference],
        "ca.crt: there is no certificate in it",
    );
}

#[test]
fn a_client_shows_its_certificate_to_the_registry_that_wants_it() {
    let private = private!(true);
    let host = private.registry.host();
    let reference = format!("{host}/a:1");
    let machine = Machine::new(two_layers("app:1"));
    let certs = machine.certs(&host);
    private.trust(&certs);
    assert!(!machine.run(&["push", "app:1", &reference]).status.success());
    let (certificate, key) = private.authority.vouch("client", "");
    std::fs::copy(certificate, certs.join("client.cert")).unwrap();
    machine.fails(&["push", "app:1", &reference], "client.key: cannot be read");
    std::fs::copy(key, certs.join("client.key")).unwrap();
    machine.ok(&["push", "app:1", &reference]);
    machine.ok(&["pull", &reference]);
}

/// A proxy that makes tunnels, all of them to one port, and remembers to where they were to lead.
fn tunnels(port: u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let wanted = Arc::new(Mutex::new(Vec::new()));
    let noted = wanted.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let noted = noted.clone();
            std::thread::spawn(move || tunnel(client?, port, &noted));
        }
    });
    (address, wanted)
}

fn tunnel(mut client: TcpStream, port: u16, noted: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    noted.lock().unwrap().push(first.trim().to_owned());
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let mut up = upstream.try_clone()?;
    std::thread::spawn(move || std::io::copy(&mut reader, &mut up));
    std::io::copy(&mut upstream, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}

#[test]
fn proxies_of_the_environment_are_used_but_for_the_hosts_that_need_none() {
    let private = private!(false);
    let (proxy, wanted) = tunnels(private.registry.port);
    let reference = "registry.test:5000/a:1";
    let machine = Machine::new(two_layers("app:1")).env("HTTPS_PROXY", &proxy);
    private.trust(&machine.certs("registry.test:5000"));
    machine.ok(&["push", "app:1", reference]);
    machine.ok(&["pull", reference]);
    let lines = wanted.lock().unwrap().clone();
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("CONNECT registry.test:5000 ")),
        "{lines:?}"
    );
    // The registry is not known to this machine.
    let machine = machine.env("NO_PROXY", "example.test, .test");
    machine.fails(&["pull", reference], "registry.test");
    assert_eq!(wanted.lock().unwrap().len(), lines.len());
    // Plain http, where that is allowed: https is tried first.
    let plain = registry!();
    let (proxy, wanted) = tunnels(plain.port);
    two_layers("app:1").ok(&["push", "app:1", &format!("{}/a:1", plain.host())]);
    let machine = Machine::new(Cairn::new())
        .conf("[[registry]]\nlocation = 'registry.test:5000'\ninsecure = true\n")
        .env("ALL_PROXY", &proxy);
    machine.ok(&["pull", reference]);
    assert!(!wanted.lock().unwrap().is_empty());
    // What is on this machine needs no proxy.
    let before = wanted.lock().unwrap().len();
    machine.ok(&["pull", &format!("{}/a:1", plain.host())]);
    assert_eq!(wanted.lock().unwrap().len(), before);
}
