//! `--sdnotify`: who tells the service manager that a container is ready.

use std::path::Path;

use cairn_runtime::{Mount, MountKind, NOTIFY_SOCKET, Notify, Origin, Text, notify_place};

use crate::error::{Error, Result};

const WORDS: [(&str, Notify); 3] = [
    ("container", Notify::Container),
    ("conmon", Notify::Monitor),
    ("ignore", Notify::Ignore),
];

/// Who is meant; the words are podman's.
pub(crate) fn notify(text: Option<&str>) -> Result<Option<Notify>> {
    let Some(text) = text else { return Ok(None) };
    let known = WORDS.iter().find(|(word, _)| *word == text);
    let who = known.map(|(_, who)| *who);
    let refused = || format!("--sdnotify {text}: must be container, conmon or ignore");
    who.map(Some).ok_or_else(|| Error::Usage(refused()))
}

/// The variable by which a program finds the socket.
pub(crate) fn variable(notify: Option<Notify>) -> Option<Text> {
    let told = notify == Some(Notify::Container);
    told.then(|| format!("NOTIFY_SOCKET={NOTIFY_SOCKET}").into_bytes().into())
}

/// The socket in the container, which its monitor makes.
pub(crate) fn socket(text: Option<&str>, directory: &Path) -> Option<Mount> {
    let source = notify_place(directory);
    (text == Some("container")).then(|| generated(MountKind::Bind { source }))
}

fn generated(what: MountKind) -> Mount {
    Mount {
        target: Text::from(NOTIFY_SOCKET),
        what,
        read_only: false,
        origin: Origin::Generated,
    }
}
