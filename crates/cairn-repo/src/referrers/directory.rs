//! Where the documents lie.
//!
//! A directory comes into place, and goes, by a rename under the repository lock, while the image's row says that it is
//! to be there; it is filled and emptied outside of the lock, under a name that nobody reads.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_image::sha256;
use cairn_model::{Class, Digest};
use tempfile::TempDir;

use super::fetch::{BYTES_MAX, Fetched, REFERRERS_MAX};
use super::list::Kept;
use crate::error::{At, Error, Result};
use crate::repo::Repo;
use crate::rows;

const LIST: &str = "list.json";
const LIST_BYTES_MAX: u64 = 1 << 20;
/// Prefix of directories that are being filled or emptied.
const NEW: &str = ".new-";
/// After this such a directory is nobody's any more.
const UNFINISHED: Duration = Duration::from_secs(24 * 3600);

fn damaged(image: &Digest, why: &str) -> Error {
    let what = format!("what is kept of what refers to image {image}");
    let why = format!("{why}; \"cairn pull --referrers\" brings it again");
    cairn_store::Error::corrupt(what, why).into()
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
    Ok(Some(bytes))
}

/// What was fetched, on disk and under a name of its own.
pub(crate) struct Staged {
    directory: TempDir,
    count: usize,
}

impl Repo {
    fn referrers_place(&self, image: &Digest) -> PathBuf {
        self.layout().referrers().join(image.hex())
    }

    /// A directory that is in nobody's way, and goes where it is not renamed.
    fn referrers_scratch(&self) -> Result<TempDir> {
        let all = self.layout().referrers();
        cairn_store::private_directory(&all, self.store.disk())?;
        let made = tempfile::Builder::new().prefix(NEW).tempdir_in(&all);
        made.at("create a directory in", &all)
    }

    /// Writes what was fetched, so that it is only to be renamed once the image is here.
    pub(crate) fn stage_referrers(&self, fetched: &Fetched) -> Result<Staged> {
        let text = fetched.kept.text();
        if text.len() as u64 > LIST_BYTES_MAX {
            let why = "the list of what refers to the image is too long to be kept";
            return Err(Error::Invalid(why.into()));
        }
        let (directory, disk) = (self.referrers_scratch()?, self.store.disk());
        let documents = fetched.documents.iter();
        let named = documents.map(|(digest, bytes)| (digest.hex(), bytes.as_slice()));
        for (name, bytes) in named.chain([(LIST.to_owned(), text.as_bytes())]) {
            let mut file = disk.create(&directory.path().join(name))?;
            file.write_all(bytes)?;
            file.sync()?;
        }
        disk.sync_dir(directory.path())?;
        Ok(Staged {
            directory,
            count: fetched.kept.referrers.len(),
        })
    }

    /// Keeps what was fetched beside an image, in place of what was kept of it; how much.
    pub(crate) fn keep_referrers(&self, image: &Digest, staged: Staged) -> Result<usize> {
        let place = self.referrers_place(image);
        let old = self.referrers_scratch()?;
        self.store.db().read::<_, Error>(|rows| {
            // Removed meanwhile, perhaps.
            if rows::image(rows, image)?.is_some() {
                set_aside(&place, old.path())?;
                let new = staged.directory.keep();
                std::fs::rename(&new, &place).at("rename into place", &place)?;
            }
            Ok(())
        })?;
        self.store.disk().sync_dir(&self.layout().referrers())?;
        Ok(staged.count)
    }

    /// What is to be kept when this was fetched: signatures that an earlier pull found for the same manifest stay, for a
    /// mirror may have fewer.
    pub(crate) fn joined_referrers(&self, image: &Digest, mut fetched: Fetched) -> Fetched {
        let Ok(Some(old)) = self.all_kept(image) else {
            return fetched;
        };
        if (&old.kept.manifest, &old.kept.index) != (&fetched.kept.manifest, &fetched.kept.index) {
            return fetched;
        }
        for of in old.kept.referrers {
            let known = fetched.kept.referrers.iter();
            let mut same = known
                .filter(|new| new.digest == of.digest || (of.tag.is_some() && new.tag == of.tag));
            if same.next().is_none() && fetched.kept.referrers.len() < REFERRERS_MAX {
                let documents = of.documents.iter();
                let had = documents.filter_map(|id| Some((*id, old.documents.get(id)?.clone())));
                fetched.documents.extend(had);
                fetched.kept.referrers.push(of);
            }
        }
        fetched
    }

    /// What is kept beside an image.
    pub(crate) fn kept_referrers(&self, image: &Digest) -> Result<Option<Kept>> {
        let path = self.referrers_place(image).join(LIST);
        let Some(bytes) = bytes_of(&path, LIST_BYTES_MAX)? else {
            return Ok(None);
        };
        let kept = Kept::parse(&bytes).ok_or_else(|| damaged(image, "its list does not read"))?;
        Ok(Some(kept))
    }

    /// One of the documents.
    pub(crate) fn kept_document(&self, image: &Digest, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.referrers_place(image).join(digest.hex());
        match bytes_of(&path, BYTES_MAX)? {
            Some(bytes) if sha256(&bytes) == *digest => Ok(bytes),
            Some(_) => Err(damaged(
                image,
                &format!("the bytes of {digest} are not these"),
            )),
            None => Err(damaged(image, &format!("{digest} is gone"))),
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

    /// Forgets what was kept beside an image that is gone, which nobody may have pulled again meanwhile.
    pub(crate) fn forget_referrers(&self, image: &Digest) -> Result<()> {
        let place = self.referrers_place(image);
        if !place.exists() {
            return Ok(());
        }
        let aside = self.referrers_scratch()?;
        self.store
            .db()
            .read::<_, Error>(|rows| match rows::image(rows, image)? {
                Some(_) => Ok(()),
                None => set_aside(&place, aside.path()),
            })
    }

    /// Drops what is kept beside an image, whatever it is worth.
    pub(crate) fn drop_referrers(&self, image: &Digest) -> Result<()> {
        let aside = self.referrers_scratch()?;
        (self.store.db())
            .read::<_, Error>(|_| set_aside(&self.referrers_place(image), aside.path()))
    }
}

/// Gives a directory the name of an empty one, if it is there.
fn set_aside(place: &Path, aside: &Path) -> Result<()> {
    match std::fs::rename(place, aside) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.at("set aside", place),
    }
}

/// Reads what is kept beside all images, or only the lists of it; the images of which something is wrong, and what.
pub(crate) fn check(repo: &Repo, documents: bool) -> Result<Vec<(Digest, Error)>> {
    let mut wrong = Vec::new();
    for image in repo.store.db().read(|rows| rows::images(rows))? {
        repo.watch().check()?;
        match check_one(repo, &image.id, documents) {
            // It may have gone, or been replaced, while it was read.
            Err(e) if e.is_corruption() => {
                if let Err(e) = check_one(repo, &image.id, documents) {
                    wrong.push((image.id, e));
                }
            }
            Err(e) => wrong.push((image.id, e)),
            Ok(()) => {}
        }
    }
    Ok(wrong)
}

fn check_one(repo: &Repo, image: &Digest, documents: bool) -> Result<()> {
    let Some(kept) = repo.kept_referrers(image)? else {
        return Ok(());
    };
    let mut all = kept.documents().take_while(|_| documents);
    all.try_for_each(|digest| repo.kept_document(image, &digest).map(drop))
}

/// A directory that nobody needs.
struct Stray {
    path: PathBuf,
    bytes: u64,
    /// The image that it was of; none for what was never finished.
    image: Option<Digest>,
}

/// What belongs to no image any more, and what was never finished.
fn strays(repo: &Repo) -> Result<Vec<Stray>> {
    let all = repo.layout().referrers();
    let entries = match std::fs::read_dir(&all) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("list", &all)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.at("list", &all)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let image = format!("sha256:{name}").parse().ok();
        let is_needed = match &image {
            Some(image) => (repo.store.db())
                .read(|rows| rows::image(rows, image))?
                .is_some(),
            None => is_recent(&entry),
        };
        if !is_needed {
            found.push(Stray {
                bytes: bytes_in(&entry.path()),
                path: entry.path(),
                image,
            });
        }
    }
    Ok(found)
}

/// Bytes of the strays.
pub(crate) fn stray_bytes(repo: &Repo) -> Result<u64> {
    Ok(strays(repo)?.iter().map(|stray| stray.bytes).sum())
}

/// Removes the strays; their bytes.
pub(crate) fn sweep(repo: &Repo) -> Result<u64> {
    let mut bytes = 0;
    for stray in strays(repo)? {
        let done = match &stray.image {
            Some(image) => repo.forget_referrers(image),
            None => std::fs::remove_dir_all(&stray.path).at("remove", &stray.path),
        };
        match done {
            Err(e) if e.class() == Class::NotFound => {}
            done => done?,
        }
        bytes += stray.bytes;
    }
    Ok(bytes)
}

/// True for what somebody may be at; also where a clock was set back.
fn is_recent(entry: &std::fs::DirEntry) -> bool {
    let age = entry.metadata().and_then(|meta| meta.modified());
    age.is_ok_and(|at| at.elapsed().unwrap_or_default() < UNFINISHED)
}

fn bytes_in(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}
