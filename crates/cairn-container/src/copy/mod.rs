//! Files between a container and the host.
//!
//! One side of a copy is a tree that somebody else may be changing, and who wants this copy to end up elsewhere.
//! A path of the container is resolved inside its root by the kernel, once; from there on everything is opened
//! by one name below a descriptor, and no link is followed. What was looked at is what is read: nothing is
//! looked up twice.

mod place;
mod tree;
mod walk;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use cairn_layer::{Limits, TarWriter, read_stream};
use cairn_model::{Entry, Kind};
use cairn_repo::Repo;
use cairn_runtime::{
    ContainerLock, LaunchSpec, Mount, MountKind, Origin, State, root_at_rest_with, root_of_running,
};

use crate::error::{Error, Result};
use crate::mounts;
use place::{Root, Spot};
use tree::{Content, Owners, Tree};

/// Where files come from, or go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// In a container.
    Container {
        /// Its name.
        name: String,
        /// The path in it.
        path: Vec<u8>,
    },
    /// On the host.
    Local(PathBuf),
    /// A tar, as standard input or output.
    Stream,
}

impl Side {
    /// `CONTAINER:PATH`, `-`, or a path of the host, as Docker tells them apart: what begins with `/` or `.` is
    /// a path.
    pub fn parse(text: &OsStr) -> Result<Self> {
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Ok(Self::Stream);
        }
        let colon = bytes.iter().position(|b| *b == b':');
        match colon {
            Some(at) if !bytes.starts_with(b"/") && !bytes.starts_with(b".") => {
                let name = String::from_utf8(bytes[..at].to_vec());
                let path = bytes[at + 1..].to_vec();
                match name {
                    Ok(name) if !name.is_empty() && !path.is_empty() => {
                        Ok(Self::Container { name, path })
                    }
                    _ => Err(Error::Usage(format!(
                        "{text:?} is not CONTAINER:PATH; write ./ before a local path"
                    ))),
                }
            }
            _ if bytes.is_empty() => Err(Error::Usage("a path is empty".into())),
            _ => Ok(Self::Local(text.into())),
        }
    }
}

/// What the user wants.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Where from.
    pub from: Side,
    /// Where to.
    pub to: Side,
    /// Keep owners, and on the host the set-user-ID and set-group-ID bits.
    pub archive: bool,
    /// Follow the last link of the source.
    pub follow: bool,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// Copies. `say` is told of each thing that is left out: its path and why.
pub fn copy(
    repo: &Repo,
    options: &CopyOptions,
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
    say: &mut dyn FnMut(&[u8], &str),
) -> Result<Copied> {
    match (&options.from, &options.to) {
        (Side::Container { name, path }, to) if !matches!(to, Side::Container { .. }) => {
            let (root, _lock) = open(repo, name, path, false)?;
            let from = Root::of_container(root, name);
            match to {
                Side::Local(to) => between(
                    (&from, path),
                    (&Root::host()?, &absolute(to)?),
                    options,
                    Owners::of_host(options.archive),
                    say,
                ),
                _ => to_stream(&from, path, options, stdout, say),
            }
        }
        (from, Side::Container { name, path }) if !matches!(from, Side::Container { .. }) => {
            let (root, _lock) = open(repo, name, path, true)?;
            let to = Root::of_container(root, name);
            let owners = Owners::of_container(options.archive);
            match from {
                Side::Local(from) => between(
                    (&Root::host()?, &absolute(from)?),
                    (&to, path),
                    options,
                    owners,
                    say,
                ),
                _ => from_stream(stdin, &to, path, owners, say),
            }
        }
        (Side::Container { .. }, _) => Err(Error::Usage(
            "copying between containers is not supported; copy to the host first".into(),
        )),
        _ => Err(Error::Usage(
            "one of the two must be CONTAINER:PATH; see \"cairn cp --help\"".into(),
        )),
    }
}

fn absolute(path: &std::path::Path) -> Result<Vec<u8>> {
    // As text only: a trailing slash and `/.` say something here.
    let mut bytes = Vec::new();
    if path.is_relative() {
        let here = std::env::current_dir();
        bytes = crate::error::Step::step(here, "find the current directory")?
            .into_os_string()
            .into_encoded_bytes();
        bytes.push(b'/');
    }
    bytes.extend_from_slice(path.as_os_str().as_bytes());
    Ok(bytes)
}

/// The root of a container, locked where it does not run, so that it is not started meanwhile.
fn open(
    repo: &Repo,
    name: &str,
    path: &[u8],
    write: bool,
) -> Result<(OwnedFd, Option<ContainerLock>)> {
    repo.views().driver()?;
    let hold = repo.store().db().hold();
    let container = repo.containers().find(name)?;
    let directory = repo.containers().dir(&container.id);
    let state = State::load(&directory);
    if state.is_running() {
        return Ok((root_of_running(&state)?, None));
    }
    let lock = ContainerLock::take(&directory).map_err(|_| {
        Error::Refused(format!(
            "container {name} is starting or exiting; try again"
        ))
    })?;
    let spec = LaunchSpec::load(&directory)?;
    let mut shown = shown_at_rest(&spec, &container.name, path, write)?;
    crate::restart::show_images(repo, &mut shown)?;
    let plan = crate::restart::plan(repo, &container, &spec)?;
    drop(hold);
    let root = root_at_rest_with(&plan, &shown, &directory.join("root"), spec.read_only)?;
    Ok((root, Some(lock)))
}

/// What a container that does not run shows beside its root: what it mounts of the host, of volumes and of images.
/// A path in something that is there only while it runs is refused, and one that nothing can be written to.
fn shown_at_rest(spec: &LaunchSpec, name: &str, path: &[u8], write: bool) -> Result<Vec<Mount>> {
    let names = mounts::normal(path);
    let holds = |mount: &Mount| names.starts_with(&mounts::normal(mount.target.as_bytes()));
    let (shown, hidden): (Vec<&Mount>, Vec<&Mount>) = spec
        .mounts
        .iter()
        .filter(|mount| mount.origin != Origin::Generated)
        .partition(|mount| is_there(mount));
    if let Some(mount) = hidden.into_iter().find(|mount| holds(mount)) {
        return Err(Error::Refused(format!(
            "{} is mounted while container {name} runs only; start it with \"cairn start {name}\"",
            mount.target.lossy()
        )));
    }
    if write && spec.read_only && !shown.iter().any(|mount| holds(mount)) {
        return Err(Error::Refused(format!(
            "container {name} has a read-only root file system; nothing can be copied to it"
        )));
    }
    Ok(shown.into_iter().cloned().collect())
}

/// True for what can be mounted while the container does not run.
fn is_there(mount: &Mount) -> bool {
    match &mount.what {
        MountKind::Bind { source } | MountKind::FlatBind { source } => source.exists(),
        MountKind::Image { .. } => true,
        MountKind::Tmpfs { .. } | MountKind::Secret(_) => false,
    }
}

/// Docker's rules for where a copy goes: into a directory that is there, else to the name that was given.
fn between(
    (from, path): (&Root, &[u8]),
    (to, target): (&Root, &[u8]),
    options: &CopyOptions,
    owners: Owners,
    say: &mut dyn FnMut(&[u8], &str),
) -> Result<Copied> {
    let source = from.find(path, options.follow)?;
    let found = source.fd.as_ref().ok_or_else(|| from.missing(path))?;
    let is_directory = place::is_directory(found)?;
    let spot = to.find(target, true)?;
    let (base, name) = goes_to(to, target, spot, &source, is_directory)?;
    let mut tree = Tree::new(base, owners);
    let mut done = Copied::default();
    walk::walk(
        found,
        &name,
        &mut |entry, content, size| {
            done.entries += 1;
            done.bytes += size;
            tree.put(&entry, content)
        },
        say,
    )?;
    tree.finish(say)?;
    Ok(done)
}

/// The directory that a copy goes into, and the name that it gets there; an empty one for the content of a
/// directory.
fn goes_to(
    to: &Root,
    target: &[u8],
    spot: Spot,
    source: &Spot,
    is_directory: bool,
) -> Result<(OwnedFd, Vec<u8>)> {
    match spot.fd {
        Some(fd) if place::is_directory(&fd)? => {
            let name = if is_directory && source.content_only {
                Vec::new()
            } else {
                source.name.clone()
            };
            Ok((fd, name))
        }
        Some(_) if is_directory => Err(Error::Refused(format!(
            "{} is a file; a directory cannot be copied to it",
            to.shown(target)
        ))),
        None if spot.must_be_directory && !is_directory => Err(to.missing(target)),
        _ => {
            let parent = spot.parent.ok_or_else(|| to.missing(target))?;
            Ok((parent, spot.last))
        }
    }
}

fn to_stream(
    from: &Root,
    path: &[u8],
    options: &CopyOptions,
    stdout: &mut dyn Write,
    say: &mut dyn FnMut(&[u8], &str),
) -> Result<Copied> {
    let source = from.find(path, options.follow)?;
    let found = source.fd.as_ref().ok_or_else(|| from.missing(path))?;
    let mut tar = TarWriter::new(std::io::BufWriter::with_capacity(1 << 17, stdout));
    let mut done = Copied::default();
    let mut shrunk = Vec::new();
    let name = if source.content_only {
        &[][..]
    } else {
        &source.name
    };
    walk::walk(
        found,
        name,
        &mut |entry, content, size| {
            done.entries += 1;
            done.bytes += size;
            let short = match content {
                Content::File(mut file) => tar.entry(&entry, &mut file)?,
                Content::Stream(stream) => tar.entry(&entry, stream)?,
                Content::None => tar.entry(&entry, &mut std::io::empty())?,
            };
            if short && shrunk.len() < 100 {
                shrunk.push(entry.path);
            }
            Ok(())
        },
        say,
    )?;
    for path in shrunk {
        say(&path, "it became shorter meanwhile; its end is zeros");
    }
    let out = tar.finish()?.into_inner();
    crate::error::Step::step(
        out.map_err(|e| e.into_error()).map(drop),
        "write the archive",
    )?;
    Ok(done)
}

fn from_stream(
    stdin: &mut dyn Read,
    to: &Root,
    path: &[u8],
    owners: Owners,
    say: &mut dyn FnMut(&[u8], &str),
) -> Result<Copied> {
    let spot = to.find(path, true)?;
    let base = spot.fd.ok_or_else(|| to.missing(path))?;
    if !place::is_directory(&base)? {
        return Err(Error::Refused(format!(
            "{} is not a directory; an archive is extracted to a directory",
            to.shown(path)
        )));
    }
    let mut tree = Tree::new(base, owners);
    let mut done = Copied::default();
    let mut one = |entry: Entry, data: &mut dyn Read| -> Result<()> {
        match &entry.kind {
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                say(&entry.path, "devices are not copied");
                return Ok(());
            }
            Kind::Fifo => {
                say(&entry.path, "named pipes are not copied");
                return Ok(());
            }
            Kind::File(content) => done.bytes += content.size,
            _ => {}
        }
        done.entries += 1;
        tree.put(&entry, Content::Stream(data))
    };
    read_stream(stdin, Limits::default(), &mut one)?;
    tree.finish(say)?;
    Ok(done)
}
