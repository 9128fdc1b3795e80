//! Named volumes: directories of the repository that outlive containers and are part of no image.
//!
//! A volume is the directory `volumes/NAME`: `volume.json` says what it is, `data/` is what containers see.
//! Bytes come first, then the directory's name: a volume that can be seen is whole. Who uses one is in the
//! launch specs of containers, which are the business of the floor above; a lock on the volume's directory,
//! held from the moment it is chosen until such a spec is written down, keeps a removal from coming between.

mod lock;
mod remove;
mod seed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::repo::Repo;
use crate::time;

pub use lock::VolumeLock;

/// What a volume is, in its directory.
const RECORD: &str = "volume.json";
/// What containers see of it.
const DATA: &str = "data";
/// How directories begin that are not volumes yet, or not any more.
const UNFINISHED: &str = ".";
/// Longest name of a volume.
const NAME_LEN_MAX: usize = 200;
/// More than any record has.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    #[serde(skip_deserializing)]
    pub name: String,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// Labels, for people and programs.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Id of the container that it was made for, if nobody named it.
    #[serde(default)]
    pub container: Option<String>,
}

/// A volume to be made.
#[derive(Debug, Clone, Default)]
pub struct NewVolume {
    /// Its name; none for one made up.
    pub name: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Id of the container that it is for, where nobody names it.
    pub container: Option<String>,
}

/// The volumes of a repository.
#[derive(Clone, Copy)]
pub struct Volumes<'a> {
    pub(crate) repo: &'a Repo,
}

impl Repo {
    /// Named volumes: directories that outlive containers.
    pub fn volumes(&self) -> Volumes<'_> {
        Volumes { repo: self }
    }
}

impl Volumes<'_> {
    fn place(&self) -> PathBuf {
        self.repo.layout().volumes()
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.place().join(name)
    }

    /// The directory that containers see of a volume.
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir(name).join(DATA)
    }

    /// The volume whose directory this is, as [`Volumes::data`] gives it.
    pub fn name_of(&self, source: &Path) -> Option<String> {
        let below = source.strip_prefix(self.place()).ok()?;
        let name = below.parent()?.to_str()?;
        let whole = below.file_name()? == DATA && check_volume_name(name).is_ok();
        whole.then(|| name.to_owned())
    }

    /// Makes a volume. False beside one that was there already, which stays as it is.
    pub fn create(&self, new: &NewVolume) -> Result<(Volume, bool)> {
        let name = match &new.name {
            Some(name) => name.clone(),
            None => random_name()?,
        };
        check_volume_name(&name)?;
        let volume = Volume {
            name,
            created: time::now_secs(),
            labels: new.labels.clone(),
            container: new.container.clone(),
        };
        if let Ok(there) = self.find(&volume.name) {
            return Ok((there, false));
        }
        let disk = self.repo.store.disk();
        if !self.place().is_dir() {
            cairn_store::private_directory(&self.place(), disk)?;
            disk.sync_dir(self.repo.root())?;
        }
        let made = self
            .place()
            .join(format!("{UNFINISHED}new-{}", random_name()?));
        let done = self.make(&made, &volume);
        if !matches!(done, Ok(true)) {
            // Another may have been quicker; the first error is the one to tell.
            let _ = std::fs::remove_dir_all(&made);
        }
        match done? {
            true => Ok((volume, true)),
            false => Ok((self.find(&volume.name)?, false)),
        }
    }

    /// Bytes, then the directory, then its name; false where that is taken.
    fn make(&self, made: &Path, volume: &Volume) -> Result<bool> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let disk = self.repo.store.disk();
        // Held while it has no name, so that nobody takes it for one that was left behind.
        std::fs::create_dir(made).at("create directory", made)?;
        let _lock = lock::of_directory(made)?;
        let bytes = serde_json::to_vec(volume).map_err(std::io::Error::other);
        let bytes = bytes.at("encode", made)?;
        let mut file = disk.create(&made.join(RECORD))?;
        file.write_all(&bytes)?;
        std::fs::create_dir(made.join(DATA)).at("create directory", made)?;
        // A volume of a container is as durable as the container's own files.
        let durable = volume.container.is_none();
        if durable {
            file.sync()?;
            disk.sync_dir(made)?;
        }
        let to = self.dir(&volume.name);
        match renameat_with(CWD, made, CWD, &to, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            done => done.at("name", &to)?,
        }
        if durable {
            disk.sync_dir(&self.place())?;
        }
        Ok(true)
    }

    /// The volume of a name.
    pub fn find(&self, name: &str) -> Result<Volume> {
        check_volume_name(name)?;
        let path = self.dir(name).join(RECORD);
        let none = || Error::NoVolume(name.to_owned());
        let file = match std::fs::File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(none()),
            done => done.at("open", &path)?,
        };
        let mut bytes = Vec::new();
        let bounded = std::io::Read::take(file, RECORD_BYTES_MAX);
        std::io::Read::read_to_end(&mut { bounded }, &mut bytes).at("read", &path)?;
        let volume = serde_json::from_slice::<Volume>(&bytes).map_err(std::io::Error::other);
        Ok(Volume {
            name: name.to_owned(),
            ..volume.at("understand", &path)?
        })
    }

    /// All volumes, by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let place = self.place();
        let entries = match std::fs::read_dir(&place) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            done => done.at("list", &place)?,
        };
        let mut all = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| check_volume_name(name).is_ok()) else {
                continue;
            };
            match self.find(name) {
                // It was removed just now.
                Err(Error::NoVolume(_)) => {}
                found => all.push(found?),
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

fn random_name() -> Result<String> {
    let bytes: [u8; 32] = cairn_store::random()?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Refuses what cannot be the name of a volume.
pub fn check_volume_name(name: &str) -> Result<()> {
    let letter = |b: u8| b.is_ascii_alphanumeric();
    let fits = name.len() <= NAME_LEN_MAX
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b"_.-".contains(&b));
    if fits {
        return Ok(());
    }
    let shown: String = name.chars().take(100).collect();
    Err(Error::VolumeName(format!(
        "volume name {shown:?} is not valid: only letters, digits, _ . and - are allowed, starting with a letter or digit, {NAME_LEN_MAX} at most; a directory of the host is written with a / or ./ in front"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    #[test]
    fn names_stay_names() {
        for good in ["a", "data-1", "A.b_c", "0", &"n".repeat(200)] {
            assert!(check_volume_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "-a",
            "_a",
            ".a",
            "a/b",
            "../a",
            "a b",
            "a\nb",
            "é",
            "a\0",
            &"n".repeat(201),
        ] {
            assert!(check_volume_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_volume_is_made_once_found_listed_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let repo = Repo::open_or_create(&directory.path().join("r"), Options::default()).unwrap();
        let volumes = repo.volumes();
        assert_eq!(volumes.list().unwrap(), []);
        let new = NewVolume {
            name: Some("data".into()),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            container: None,
        };
        let (made, fresh) = volumes.create(&new).unwrap();
        assert!(fresh && made.labels["a"] == "b");
        let (again, fresh) = volumes
            .create(&NewVolume {
                labels: BTreeMap::new(),
                ..new
            })
            .unwrap();
        assert!(!fresh && again == made);
        let (anonymous, _) = volumes.create(&NewVolume::default()).unwrap();
        assert_eq!(anonymous.name.len(), 64);
        std::fs::write(volumes.data("data").join("file"), "x").unwrap();
        // What a creation and a removal left behind that were cut off.
        std::fs::create_dir(repo.layout().volumes().join(".new-1")).unwrap();
        std::fs::create_dir_all(repo.layout().volumes().join(".old-2/data")).unwrap();
        assert_eq!(volumes.list().unwrap().len(), 2);
        assert_eq!(
            volumes.name_of(&volumes.data("data")).as_deref(),
            Some("data")
        );
        assert_eq!(volumes.name_of(Path::new("/etc/data")), None);
        let used = volumes.remove("data", &|_| Ok(Some("container c".into())));
        assert!(used.unwrap_err().to_string().contains("container c"));
        volumes.remove("data", &|_| Ok(None)).unwrap();
        assert!(matches!(volumes.find("data"), Err(Error::NoVolume(_))));
        assert!(matches!(volumes.find("../r"), Err(Error::VolumeName(_))));
        volumes.remove(&anonymous.name, &|_| Ok(None)).unwrap();
        volumes.drop_unfinished().unwrap();
        assert_eq!(
            std::fs::read_dir(repo.layout().volumes()).unwrap().count(),
            0
        );
    }
}
