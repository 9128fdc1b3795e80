//! Where the documents lie.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_image::sha256;
use cairn_model::Digest;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::fetch::Fetched;
use super::list::Kept;
use crate::error::{At, Error, Result};
use crate::repo::Repo;
use crate::rows;

const LIST: &str = "list.json";
const LIST_BYTES_MAX: u64 = 1 << 20;
/// Prefix of directories that are not finished.
const NEW: &str = ".new-";
/// After this an unfinished directory is nobody's any more.
const UNFINISHED: Duration = Duration::from_secs(24 * 3600);

fn damaged(path: &Path, why: &str) -> Error {
    let again = "\"cairn pull --referrers\" brings it again";
    cairn_store::Error::corrupt(path.display().to_string(), format!("{why}; {again}")).into()
}

/// All of a file of the repository.
fn bytes_of(path: &Path, max: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.at("open", path)?,
    };
    let mut bytes = Vec::new();
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    if bytes.len() as u64 > max {
        return Err(damaged(path, "it is longer than it was written"));
    }
    Ok(Some(bytes))
}

fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .at("sync", path)
}

impl Repo {
    fn referrers_of(&self, image: &Digest) -> PathBuf {
        self.layout().referrers().join(image.hex())
    }

    /// Keeps what was fetched beside an image, in place of what was kept of it.
    pub(crate) fn keep_referrers(&self, image: &Digest, fetched: &Fetched) -> Result<()> {
        let all = self.layout().referrers();
        cairn_store::private_directory(&all, self.store.disk())?;
        let new = tempfile::Builder::new().prefix(NEW).tempdir_in(&all);
        let new = new.at("create a directory in", &all)?;
        let text = fetched.kept.text();
        let documents = fetched.documents.iter();
        let named = documents.map(|(digest, bytes)| (digest.hex(), bytes.as_slice()));
        for (name, bytes) in named.chain([(LIST.to_owned(), text.as_bytes())]) {
            let path = new.path().join(name);
            let mut file = File::create_new(&path).at("create", &path)?;
            file.write_all(bytes).at("write", &path)?;
            file.sync_all().at("sync", &path)?;
        }
        sync(new.path())?;
        let place = self.referrers_of(image);
        // What was there goes with the directory that was new.
        let flags = match place.exists() {
            true => RenameFlags::EXCHANGE,
            false => RenameFlags::NOREPLACE,
        };
        renameat_with(CWD, new.path(), CWD, &place, flags).at("rename into place", &place)?;
        sync(&all)
    }

    /// What is kept beside an image.
    pub(crate) fn kept_referrers(&self, image: &Digest) -> Result<Option<Kept>> {
        let path = self.referrers_of(image).join(LIST);
        let Some(bytes) = bytes_of(&path, LIST_BYTES_MAX)? else {
            return Ok(None);
        };
        let kept = Kept::parse(&bytes).ok_or_else(|| damaged(&path, "it does not read"))?;
        Ok(Some(kept))
    }

    /// One of the documents.
    pub(crate) fn kept_document(&self, image: &Digest, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.referrers_of(image).join(digest.hex());
        match bytes_of(&path, super::fetch::BYTES_MAX)? {
            Some(bytes) if sha256(&bytes) == *digest => Ok(bytes),
            Some(_) => Err(damaged(&path, "its bytes do not have this digest")),
            None => Err(damaged(&path, "it is gone")),
        }
    }

    /// All that is kept beside an image.
    pub(crate) fn all_kept(&self, image: &Digest) -> Result<Option<Fetched>> {
        let Some(kept) = self.kept_referrers(image)? else {
            return Ok(None);
        };
        let read = |digest| Ok((digest, self.kept_document(image, &digest)?));
        let documents = kept.documents().map(read).collect::<Result<_>>()?;
        Ok(Some(Fetched { kept, documents }))
    }

    /// Forgets what was kept beside an image that is gone. What stays goes with the next collection.
    pub(crate) fn forget_referrers(&self, image: &Digest) {
        let _ = std::fs::remove_dir_all(self.referrers_of(image));
    }
}

/// Reads all that is kept; what is wrong.
pub(crate) fn check(repo: &Repo) -> Vec<Error> {
    let images = repo.store.db().read(|rows| rows::images(rows));
    let mut wrong = Vec::new();
    for image in images.into_iter().flatten() {
        match repo.kept_referrers(&image.id) {
            Ok(Some(kept)) => {
                let read = |digest| repo.kept_document(&image.id, &digest).err();
                wrong.extend(kept.documents().filter_map(read));
            }
            Ok(None) => {}
            Err(e) => wrong.push(e),
        }
    }
    wrong
}

/// Removes what belongs to no image any more, and what was not finished; the bytes.
pub(crate) fn sweep(repo: &Repo) -> Result<u64> {
    let all = repo.layout().referrers();
    let entries = match std::fs::read_dir(&all) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries.at("list", &all)?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry.at("list", &all)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_needed = match format!("sha256:{name}").parse::<Digest>() {
            Ok(image) => (repo.store.db())
                .read(|rows| rows::image(rows, &image))?
                .is_some(),
            Err(_) => is_recent(&entry),
        };
        if !is_needed {
            let path = entry.path();
            bytes += bytes_in(&path);
            std::fs::remove_dir_all(&path).at("remove", &path)?;
        }
    }
    Ok(bytes)
}

fn is_recent(entry: &std::fs::DirEntry) -> bool {
    let age = entry.metadata().and_then(|meta| meta.modified());
    age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < UNFINISHED))
}

fn bytes_in(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}
