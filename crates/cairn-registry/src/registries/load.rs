//! Which files count, and in which order.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Registries;
use super::file::{Document, parse};
use crate::bounded::read_bounded;
use crate::error::{Error, Result};
use crate::places;

const FILE_BYTES_MAX: u64 = 4 << 20;
const FILES_MAX: usize = 1000;
const NAME: &str = "registries.conf";
const SYSTEM: &str = "/etc/containers";

impl Registries {
    /// What the files of this machine and user say: the file that `CONTAINERS_REGISTRIES_CONF` names and no other, else
    /// the user's with its directory, else the machine's with both directories. Later files count more.
    ///
    /// # Errors
    /// Where a file cannot be read or understood.
    pub fn load() -> Result<Self> {
        Self::of(&files()?)
    }

    fn of(files: &[PathBuf]) -> Result<Self> {
        let mut all = Self::default();
        for file in files {
            if let Some(text) = read(file)? {
                let document = parse(&text, file).map_err(|why| wrong(file, why))?;
                all.add(document, file);
            }
        }
        // An alias for nothing takes an earlier one away.
        all.aliases.retain(|(_, target)| !target.is_empty());
        Ok(all)
    }

    fn add(&mut self, document: Document, file: &Path) {
        for rule in document.rules {
            self.rules.retain(|known| known.prefix != rule.prefix);
            self.rules.push(rule);
        }
        for (alias, target) in document.aliases {
            self.aliases.retain(|(known, _)| *known != alias);
            self.aliases.push((alias, target));
        }
        if let Some(search) = document.search {
            let some = !search.is_empty();
            self.search = some.then(|| (search, file.to_owned()));
        }
        self.mode = document.mode.unwrap_or(self.mode);
    }
}

fn files() -> Result<Vec<PathBuf>> {
    if let Some(named) = places::set("CONTAINERS_REGISTRIES_CONF") {
        return Ok(vec![named]);
    }
    let user = places::user_config().map(|config| config.join("containers"));
    let system = Path::new(SYSTEM);
    let of_user = user.as_ref().map(|user| user.join(NAME));
    let of_user = of_user.filter(|file| file.exists());
    let mut out = match of_user {
        Some(file) => vec![file],
        None => [vec![system.join(NAME)], parts(system)?].concat(),
    };
    if let Some(user) = &user {
        out.extend(parts(user)?);
    }
    Ok(out)
}

/// The files of a `registries.conf.d`, in the order of their names.
fn parts(above: &Path) -> Result<Vec<PathBuf>> {
    let directory = above.join(format!("{NAME}.d"));
    let entries = match std::fs::read_dir(&directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| wrong(&directory, format!("cannot be read: {e}")))?,
    };
    let mut out = Vec::new();
    for entry in entries.take(FILES_MAX) {
        let path = entry
            .map_err(|e| wrong(&directory, format!("cannot be read: {e}")))?
            .path();
        if path.extension().is_some_and(|ending| ending == "conf") && path.is_file() {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

fn read(file: &Path) -> Result<Option<String>> {
    let opened = match File::open(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|e| wrong(file, format!("cannot be opened: {e}")))?,
    };
    let bytes = read_bounded(opened, FILE_BYTES_MAX).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => {
            wrong(file, format!("it has more than {FILE_BYTES_MAX} bytes"))
        }
        _ => wrong(file, format!("cannot be read: {e}")),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| wrong(file, "it is not UTF-8".to_owned()))?;
    Ok(Some(text))
}

fn wrong(file: &Path, why: String) -> Error {
    Error::Configuration {
        file: file.display().to_string(),
        why,
    }
}

/// The files at these paths, for tests.
#[cfg(test)]
pub(super) fn of(files: &[PathBuf]) -> Result<Registries> {
    Registries::of(files)
}

impl Registries {
    /// True where names without a registry are completed as Docker does.
    #[cfg(test)]
    pub(super) fn is_dockers(&self) -> bool {
        self.search.is_none()
    }
}
