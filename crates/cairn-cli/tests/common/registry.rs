//! Debian's docker-registry on a free port, and a proxy before it that can do whatever a bad line or a bad
//! registry does.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A registry, or else leaves the test; it may want other programs, too.
#[macro_export]
macro_rules! registry {
    ($($program:literal),*) => {
        match $crate::registry::Registry::start() {
            Some(registry) $(if $crate::common::has($program))* => registry,
            _ => $crate::skip!("docker-registry is not installed{}", concat!($(" or ", $program, " is not"),*)),
        }
    };
}

/// What a registry answers that lets `me` in with `secret`, by a token or as it is; `good` to whoever is in.
pub fn guard(asked: &Asked, with_token: bool, good: Act) -> Act {
    // me:secret
    let known = asked.header("authorization") == Some("Basic bWU6c2VjcmV0");
    let host = asked.header("host").unwrap_or_default();
    if asked.path.starts_with("/token") {
        return match known {
            true => Act::status("200 OK", "", r#"{"token":"good"}"#),
            false => Act::status("401 Unauthorized", "", ""),
        };
    }
    let challenge = match with_token {
        true => format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n"),
        false => "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(),
    };
    let is_in = match with_token {
        true => asked.header("authorization") == Some("Bearer good"),
        false => known,
    };
    match is_in {
        true => good,
        false => Act::status("401 Unauthorized", &challenge, ""),
    }
}

/// A registry of this test's own, with its data in a directory that goes with it.
pub struct Registry {
    child: Child,
    pub port: u16,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// Starts one; `None` where the program is not there.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// The same with more in the table `http` of its configuration: `, tls: {…}`.
    pub fn start_with(http: &str) -> Option<Self> {
        Command::new("docker-registry")
            .arg("--version")
            .output()
            .ok()?;
        for _ in 0..5 {
            if let Some(started) = Self::try_start(http) {
                return Some(started);
            }
        }
        panic!("docker-registry does not start");
    }

    fn try_start(http: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  delete: {{enabled: true}}\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: 127.0.0.1:{port}{http}}}\n",
            dir.path().join("data").display()
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .env_remove("OTEL_TRACES_EXPORTER")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..1000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(Self {
                    child,
                    port,
                    _dir: dir,
                });
            }
            // Somebody else took the port meanwhile.
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends something without a body; status and answer.
    pub fn send(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let (head, body) = self.exchange(method, path, "", b"");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// Puts a blob and its digest.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = super::common::sha256(bytes);
        let (head, _) = self.exchange("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
        let location = head
            .lines()
            .find_map(|line| line.strip_prefix("Location: "));
        let path = location.unwrap().split_once("/v2/").unwrap().1;
        let path = format!("/v2/{path}&digest={digest}");
        let (head, _) = self.exchange("PUT", &path, "application/octet-stream", bytes);
        assert!(head.starts_with("HTTP/1.1 201"), "{head}");
        digest
    }

    /// Puts a manifest or index under a tag, or else under its digest, which is returned.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        manifest: &serde_json::Value,
    ) -> String {
        let text = manifest.to_string();
        let digest = super::common::sha256(text.as_bytes());
        let path = format!("/v2/{repository}/manifests/{}", tag.unwrap_or(&digest));
        let kind = manifest["mediaType"].as_str().unwrap();
        let (head, body) = self.exchange("PUT", &path, kind, text.as_bytes());
        assert!(
            head.starts_with("HTTP/1.1 201"),
            "{head} {}",
            String::from_utf8_lossy(&body)
        );
        digest
    }

    /// Sends a question; head and body of the answer.
    fn exchange(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let kinds =
            "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: {kinds}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        (head, answer.split_off(end + 4))
    }

    /// Has it free what nothing refers to; its bytes afterwards.
    pub fn collect(&self) -> u64 {
        let output = Command::new("docker-registry")
            .arg("garbage-collect")
            .arg(self._dir.path().join("config.yml"))
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{err}");
        let used = Command::new("du").arg("-sb").arg(self._dir.path()).output();
        let used = String::from_utf8(used.unwrap().stdout).unwrap();
        used.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Fills it with an image of an archive, by skopeo.
    pub fn fill(&self, source: &str, reference: &str) {
        let output = Command::new("skopeo")
            .args([
                "copy",
                "--all",
                "--insecure-policy",
                "--dest-tls-verify=false",
                source,
            ])
            .arg(format!("docker://{}/{reference}", self.host()))
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skopeo copy {source}: {err}");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What somebody asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn is_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/sha256:")
    }

    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }
}

/// What header and body of an answer become.
type Changed = dyn FnOnce(String, Vec<u8>) -> (String, Vec<u8>) + Send;

/// What the proxy does with a question.
pub enum Act {
    /// Asks the registry behind it.
    Pass,
    /// Says this, to the byte, and closes.
    Say(Vec<u8>),
    /// Passes the answer's first bytes, headers counted, and closes.
    Cut(usize),
    /// Passes the answer's header and so many bytes of its body, and closes.
    CutBody(usize),
    /// Passes so many bytes of the answer, and then nothing more, without closing.
    Stall(usize),
    /// Changes the answer, given header and body.
    Change(Box<Changed>),
    /// Says this and then bytes without end.
    Endless(Vec<u8>),
    /// Passes the answer with a pause after so many bytes.
    Slowly(usize, Duration),
}

impl Act {
    /// An answer of its own.
    pub fn status(line: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Say(
            format!("HTTP/1.1 {line}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                .into_bytes(),
        )
    }
}

type Plan = dyn Fn(&Asked) -> Act + Send + Sync;

/// A registry with a will of its own.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Option<u16>,
    plan: Box<Plan>,
    asked: Mutex<Vec<Asked>>,
    /// Bytes of bodies that went to clients.
    sent: AtomicU64,
    ended: AtomicBool,
}

impl Proxy {
    /// Before this registry, or without one.
    pub fn start(
        upstream: Option<&Registry>,
        plan: impl Fn(&Asked) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream: upstream.map(|registry| registry.port),
            plan: Box::new(plan),
            asked: Mutex::new(Vec::new()),
            sent: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), shared) = (client, accepting.clone()) else {
                    continue;
                };
                // A client that goes away is no news.
                std::thread::spawn(move || shared.serve(client).ok());
            }
        });
        Self { port, shared }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All that was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How many questions were like this.
    pub fn count(&self, like: impl Fn(&Asked) -> bool) -> usize {
        self.asked().iter().filter(|asked| like(asked)).count()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.shared.asked.lock().unwrap().clear();
        self.shared.sent.store(0, Ordering::SeqCst);
    }

    /// Bytes of bodies that went to clients.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        let Some((head, asked)) = read_question(&client)? else {
            return Ok(());
        };
        self.asked.lock().unwrap().push(asked.clone());
        let act = (self.plan)(&asked);
        let mut out = &client;
        match act {
            Act::Say(bytes) => self.say(out, &bytes)?,
            Act::Endless(start) => {
                out.write_all(&start)?;
                let block = [b'x'; 1 << 16];
                while !self.ended.load(Ordering::SeqCst) {
                    out.write_all(&block)?;
                    self.sent.fetch_add(block.len() as u64, Ordering::SeqCst);
                }
            }
            act => {
                let (header, body) = self.upstream(&head, &asked.body)?;
                match act {
                    Act::Pass => self.pass(out, &header, &body)?,
                    Act::Slowly(part, pause) => {
                        // Little is on its way, so that a client that dies has taken nearly all that is counted.
                        rustix::net::sockopt::set_socket_send_buffer_size(&client, 1 << 12)?;
                        out.write_all(header.as_bytes())?;
                        for part in body.chunks(part) {
                            out.write_all(part)?;
                            self.sent.fetch_add(part.len() as u64, Ordering::SeqCst);
                            std::thread::sleep(pause);
                        }
                    }
                    Act::Cut(n) => {
                        let whole = [header.as_bytes(), &body].concat();
                        out.write_all(&whole[..n.min(whole.len())])?;
                    }
                    Act::CutBody(n) => self.pass(out, &header, &body[..n.min(body.len())])?,
                    Act::Stall(n) => {
                        self.pass(out, &header, &body[..n.min(body.len())])?;
                        while !self.ended.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                    Act::Change(change) => {
                        let (header, body) = change(header, body);
                        self.pass(out, &header, &body)?;
                    }
                    Act::Say(_) | Act::Endless(_) => unreachable!(),
                }
            }
        }
        client.shutdown(Shutdown::Write)?;
        Ok(())
    }

    fn say(&self, mut out: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        out.write_all(bytes)?;
        self.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    fn pass(&self, mut out: &TcpStream, header: &str, body: &[u8]) -> std::io::Result<()> {
        out.write_all(header.as_bytes())?;
        // In small parts, so that what a client that dies did not take is not counted.
        for part in body.chunks(1 << 14) {
            out.write_all(part)?;
            self.sent.fetch_add(part.len() as u64, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Header, with its empty line, and body of the registry's answer.
    fn upstream(&self, head: &str, body: &[u8]) -> std::io::Result<(String, Vec<u8>)> {
        let port = self.upstream.expect("this proxy has no registry behind it");
        let mut upstream = TcpStream::connect(("127.0.0.1", port))?;
        let lines = head.trim_end().split("\r\n");
        let lines = lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let head = lines.collect::<Vec<_>>().join("\r\n");
        write!(upstream, "{head}\r\nConnection: close\r\n\r\n")?;
        upstream.write_all(body)?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer)?;
        let end = answer
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .unwrap_or(0)
            + 4;
        let body = answer.split_off(end.min(answer.len()));
        Ok((String::from_utf8_lossy(&answer).into_owned(), body))
    }
}

fn read_question(client: &TcpStream) -> std::io::Result<Option<(String, Asked)>> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        head.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut lines = head.split("\r\n");
    let mut words = lines
        .next()
        .unwrap_or_default()
        .split(' ')
        .map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    let headers: Vec<_> = lines.filter_map(header).collect();
    let mut asked = Asked {
        method,
        path,
        headers,
        body: Vec::new(),
    };
    let length = asked
        .header("content-length")
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body)?;
    Ok(Some((head, asked)))
}

/// `oci-archive:…` of an archive at `path`.
pub fn oci(path: &Path) -> String {
    format!("oci-archive:{}", path.display())
}
