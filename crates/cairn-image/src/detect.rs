//! What an import is given, found out by looking at its content.
//!
//! A file or directory is an archive of images only where its documents are those of one. An application
//! has a `manifest.json` of its own in its root file system, and that is looked at, not only for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::archive::Archive;
use crate::documents::json;
use crate::error::{At, Error, Result};
use crate::members::{End, Member, walk};
use crate::platform::Platform;
use crate::source::{LayerSource, Source};
use crate::stream::{beginning, decompressed, is_compressed};
use crate::{docker, oci};

/// Where archives are written out that cannot be read in place, and how long they may be.
#[derive(Debug, Clone)]
pub struct Spool {
    /// For unnamed files.
    pub directory: PathBuf,
    /// Bytes, uncompressed.
    pub bytes_max: u64,
}

/// What a set of files is an archive of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Docker,
    /// Of a Docker before 1.10.
    OldDocker,
    Oci,
    /// skopeo's `dir:`.
    Flat,
}

/// The files that tell the forms apart.
const DOCUMENTS: [&str; 5] = [
    "manifest.json",
    "oci-layout",
    "index.json",
    "repositories",
    "version",
];

/// Looks at `path` (a file or directory, `-` for standard input) and says what is in it. A compressed
/// archive, or one that cannot be sought, is first written out to an unnamed file.
pub fn detect(path: &Path, platform: &Platform, spool: &Spool) -> Result<Source> {
    let _span = tracing::debug_span!("detect", path = %path.display()).entered();
    let name = path.display().to_string();
    if path.is_dir() {
        let archive = Archive::Directory(path.into());
        return match form(&archive, stores_layers(path)) {
            Some(form) => images(form, &archive, platform),
            None => Ok(Source::Directory(path.into())),
        };
    }
    let file = open(path, spool)?;
    let length = file.metadata().at("stat", path)?.len();
    if length == 0 {
        return Err(Error::invalid(name, "it is empty"));
    }
    let clone = || file.try_clone().at("open", path);
    let look = Look::at(&file);
    let documents = Archive::of_members(&name, clone()?, look.documents);
    if let Some(form) = form(&documents, look.stores_layers) {
        return images(form, &Archive::of_tar(&name, clone()?)?, platform);
    }
    // A root file system's own faults are told by the reader of layers.
    if let (End::Broken(why), true) = (&look.end, look.stores_layers) {
        return Err(Error::invalid(name, why));
    }
    if !is_plain_tar(&file).at("read", path)? {
        return Err(Error::invalid(
            name,
            "it is neither an archive nor a tar file",
        ));
    }
    // No image: the file as a whole is the one layer.
    let member = "whole".to_owned();
    let whole = Member::Data {
        offset: 0,
        size: length,
    };
    let archive = Archive::of_members(&name, file, [(member.clone(), whole)].into());
    Ok(Source::RootTar(LayerSource::new(&archive, member, None)))
}

fn images(form: Form, archive: &Archive, platform: &Platform) -> Result<Source> {
    let found = match form {
        Form::Docker => docker::save(archive, platform)?,
        Form::Oci => oci::layout(archive, platform)?,
        Form::Flat => oci::flat(archive, platform)?,
        Form::OldDocker => {
            return Err(Error::invalid(
                archive.name(),
                "it was saved by Docker before 1.10 and has no digests; save it again with a newer version",
            ));
        }
    };
    Ok(Source::Images(found))
}

/// What a walk over a tar sees without remembering every name.
struct Look {
    documents: HashMap<String, Member>,
    stores_layers: bool,
    end: End,
}

impl Look {
    fn at(file: &File) -> Self {
        let mut documents = HashMap::new();
        let mut stores_layers = false;
        let end = walk(file, &mut |name, member| {
            stores_layers |= is_stored(&name);
            if DOCUMENTS.contains(&name.as_str()) {
                documents.insert(name, member);
            }
            ControlFlow::Continue(())
        });
        Self {
            documents,
            stores_layers,
            end,
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// True for a name that only archives of images have: `blobs/sha256/<hex>`, `<hex>.json`, `<hex>/layer.tar`.
fn is_stored(name: &str) -> bool {
    let base = name.strip_prefix("blobs/sha256/").unwrap_or(name);
    let first = base.split(['.', '/']).next().unwrap_or_default();
    is_hex(first)
}

/// The same of a directory.
fn stores_layers(directory: &Path) -> bool {
    let has = |directory: &Path| {
        let Ok(entries) = std::fs::read_dir(directory) else {
            return false;
        };
        entries
            .flatten()
            .any(|entry| is_stored(&entry.file_name().to_string_lossy()))
    };
    has(directory) || has(&directory.join("blobs/sha256"))
}

/// What form of archive these files are, if they are one. `stores_layers` says that there are files named
/// as only archives name them: then broken documents are an error, not a root file system.
fn form(archive: &Archive, stores_layers: bool) -> Option<Form> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Image {
        #[serde(rename = "Config")]
        _config: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        #[serde(rename = "imageLayoutVersion")]
        _version: String,
    }
    let document = |name: &str| archive.document(name).ok();
    let marked =
        document("version").is_some_and(|b| b.starts_with(b"Directory Transport Version:"));
    if marked && archive.has("manifest.json") {
        return Some(Form::Flat);
    }
    let listed = document("manifest.json").and_then(|b| json::<Vec<Image>>(&b, "").ok());
    if listed.is_some_and(|images| !images.is_empty()) {
        return Some(Form::Docker);
    }
    if let Some(marker) = document("oci-layout")
        && (json::<Marker>(&marker, "").is_ok() || archive.has("index.json"))
    {
        return Some(Form::Oci);
    }
    match (archive.has("manifest.json"), archive.has("repositories")) {
        (true, _) if stores_layers => Some(Form::Docker),
        (false, true) if stores_layers => Some(Form::OldDocker),
        _ => None,
    }
}

/// True where the file begins as a tar does: with a header, or with the end of an empty one.
fn is_plain_tar(mut file: &File) -> std::io::Result<bool> {
    file.rewind()?;
    let start = beginning(&mut file)?;
    Ok(cairn_layer::is_tar_header(&start) || start.iter().all(|b| *b == 0))
}

/// The file, uncompressed and seekable.
fn open(path: &Path, spool: &Spool) -> Result<File> {
    if path == Path::new("-") {
        return spooled(std::io::stdin().lock(), path, spool);
    }
    let mut file = File::open(path).at("open", path)?;
    if !file.metadata().at("stat", path)?.is_file() {
        return spooled(file, path, spool);
    }
    let start = beginning(&mut file).at("read", path)?;
    file.rewind().at("read", path)?;
    if !is_compressed(&start) {
        return Ok(file);
    }
    spooled(file, path, spool)
}

fn spooled(input: impl Read, path: &Path, spool: &Spool) -> Result<File> {
    let directory = &spool.directory;
    let mut file = tempfile::tempfile_in(directory).at("create a temporary file in", directory)?;
    let mut plain = decompressed(input)?.take(spool.bytes_max.saturating_add(1));
    let copied = std::io::copy(&mut plain, &mut file).at("spool the archive into", directory)?;
    if copied > spool.bytes_max {
        return Err(Error::TooLong {
            archive: path.display().to_string(),
            bytes_max: spool.bytes_max,
        });
    }
    file.rewind().at("read", directory)?;
    Ok(file)
}
