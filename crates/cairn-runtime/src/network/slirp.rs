//! What is particular to slirp4netns: it says by a descriptor that it is ready, and takes ports by a socket.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Port;
use super::helper::Ends;
use crate::error::{Error, Result, Step};

/// The address at which it takes questions for names.
pub(super) const NAME_SERVER: &str = "10.0.2.3";
/// Its socket, in the container's directory.
const SOCKET: &str = "slirp";
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer answers are not read, bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

pub(super) fn arguments(ends: &Ends, place: &Path) -> Result<Vec<String>> {
    rustix::io::fcntl_setfd(&ends.ready, rustix::io::FdFlags::empty())
        .step("pass on a descriptor")?;
    let mut args: Vec<String> = [
        "--configure",
        "--mtu=65520",
        "--disable-host-loopback",
        "--enable-sandbox",
        "--enable-seccomp",
        "--netns-type=path",
    ]
    .map(str::to_owned)
    .into();
    args.push(format!("--ready-fd={}", ends.ready.as_raw_fd()));
    args.push(format!("--api-socket={}", ends.short_path(SOCKET)?));
    args.push(place.display().to_string());
    args.push("tap0".into());
    Ok(args)
}

/// Has it listen at ports of the host.
pub(super) fn forward(ports: &[Port], directory: &Path) -> Result<()> {
    let opened = File::open(directory).step("open the container's directory")?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
    for port in ports {
        let answer = ask(&path, port).step(format!("ask slirp4netns for port {}", port.host))?;
        if let Some(error) = answer.get("error") {
            let why = error.get("desc").and_then(Value::as_str);
            return Err(Error::Invalid(format!(
                "slirp4netns cannot listen at port {} of the host: {}",
                port.host,
                why.unwrap_or("it did not say why")
            )));
        }
    }
    // Nobody asks it for more.
    let _ = std::fs::remove_file(directory.join(SOCKET));
    Ok(())
}

fn ask(path: &str, port: &Port) -> std::io::Result<Value> {
    let address = port.address.map(|address| address.to_string());
    let request = json!({"execute": "add_hostfwd", "arguments": {
        "proto": port.protocol(),
        "host_addr": address.unwrap_or_else(|| "0.0.0.0".into()),
        "host_port": port.host,
        "guest_port": port.container,
    }});
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.to_string().as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    serde_json::from_slice(&answer).map_err(std::io::Error::other)
}
