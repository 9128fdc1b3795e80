//! `--runtime`: a container that another OCI runtime makes, by a bundle in the container's directory.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cairn_oci::{Files, document_of};
use cairn_runtime::{LaunchSpec, Mount, MountKind, Network, Origin, Space, root_at_rest, user_in};

use crate::error::{Error, Result, Step};

/// The program that is meant: `None` for Cairn's own launcher.
pub(crate) fn program(text: Option<&str>) -> Result<Option<PathBuf>> {
    let Some(text) = text.filter(|text| *text != "cairn") else {
        return Ok(None);
    };
    refuse_ordinary_users()?;
    let search = std::env::var_os("PATH").unwrap_or_default();
    let missing = || format!("--runtime {text}: no such program; install it, or give its path");
    let found = find(text, &search);
    found.map(Some).ok_or_else(|| Error::Refused(missing()))
}

fn refuse_ordinary_users() -> Result<()> {
    if cairn_runtime::rootless::has_all_ids() {
        return Ok(());
    }
    Err(Error::Refused(
        "--runtime is available to root only: other runtimes have namespaces of their own for ordinary users".into(),
    ))
}

/// A program by its path, or by its name in one of these directories.
fn find(text: &str, search: &OsStr) -> Option<PathBuf> {
    if text.contains('/') {
        return std::path::absolute(text).ok().filter(is_program);
    }
    let mut programs = std::env::split_paths(search).map(|place| place.join(text));
    programs.find(is_program)
}

fn is_program(path: &PathBuf) -> bool {
    let executable = rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    path.is_absolute() && path.is_file() && executable
}

/// Refuses what only Cairn's own launcher can do.
fn check(spec: &LaunchSpec) -> Result<()> {
    let own = [
        ("--pid", spec.pid != Space::Private),
        ("--userns keep-id", spec.kept.is_some()),
        ("--network user", matches!(spec.network, Network::User(_))),
    ];
    match own
        .iter()
        .find(|(_, asked)| *asked && spec.runtime.is_some())
    {
        Some((what, _)) => Err(Error::Usage(format!("{what} does not go with --runtime"))),
        None => Ok(()),
    }
}

/// Writes the bundle of a container that another runtime is going to make.
pub(crate) fn write_bundle(spec: &LaunchSpec, directory: &Path) -> Result<()> {
    if spec.runtime.is_none() {
        return Ok(());
    }
    check(spec)?;
    let bytes = serde_json::to_vec(&document(spec, directory)?).map_err(std::io::Error::other);
    let bundle = directory.join("bundle");
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&bundle);
    made.step(format!("create {}", bundle.display()))?;
    write(
        &bundle.join("config.json"),
        &bytes.step("encode the document")?,
    )
}

/// It has environment values, so others do not read it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, bytes))
        .step(format!("write {}", path.display()))
}

/// What a bundle of the container would say. The root is where the monitor mounts it.
fn document(spec: &LaunchSpec, directory: &Path) -> Result<serde_json::Value> {
    let user = user_in(&root_at_rest(&spec.plan)?, &spec.user)?;
    let document = document_of(spec, &user, &generated(spec));
    let refused = |e| Error::Refused(format!("--runtime: {}", cairn_model::one_line(&e)));
    let mut document = document.map_err(refused)?;
    document["root"]["path"] = directory.join("root").to_string_lossy().into();
    document["linux"]["cgroupsPath"] = format!("/{}", spec.group).into();
    Ok(document)
}

/// The files that every container has, where they are.
fn generated(spec: &LaunchSpec) -> Files {
    let of_all = spec.mounts.iter().filter(|m| m.origin == Origin::Generated);
    of_all.filter_map(place_of).collect()
}

fn place_of(mount: &Mount) -> Option<(String, String)> {
    match &mount.what {
        MountKind::Bind { source } | MountKind::FlatBind { source } => {
            Some((mount.target.lossy(), source.to_string_lossy().into_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_a_path_or_a_name_in_the_search_path() {
        let search = OsStr::new("/nonexistent:relative:/bin");
        assert_eq!(find("sh", search), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find("/bin/sh", search), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find("no-such-runtime", search), None);
        assert_eq!(find("/etc/passwd", search), None);
        assert_eq!(find("/bin", search), None);
    }
}
