//! Which driver works here: found by really mounting a tiny view, and remembered until the next boot.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use cairn_model::Driver;
use cairn_sys::IdMap;
use rustix::fs::{Mode, OFlags, openat};

use crate::cache::Views;
use crate::checked::{read_checked, write_checked};
use crate::driver;
use crate::error::{At, Error, Result};
use crate::verified::boot_id;

/// Longest file that says which driver works, bytes.
const REMEMBERED_BYTES_MAX: u64 = 200;
/// File that says whether the driver packs works.
const PACKS: &str = "driver-packs";

/// What a trial of the drivers gave.
#[derive(Debug)]
pub struct Trial {
    /// The best that works.
    pub driver: Driver,
    /// Better ones, and what happened when they were tried.
    pub refused: Vec<(Driver, Error)>,
}

/// Why a driver need not be tried.
fn never(driver: Driver) -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting needs root, or a user namespace");
    }
    if IdMap::of_this_process().is_full() {
        return None;
    }
    match driver {
        Driver::Packs | Driver::Erofs | Driver::ErofsLoop => {
            Some("EROFS cannot be mounted in a user namespace")
        }
        // It would mount, and could not tell a directory that was removed and made again.
        Driver::Overlay => Some("a user namespace cannot set the attributes that it needs"),
        Driver::OverlayUser | Driver::Copy => None,
    }
}

impl Views {
    /// The best driver that works with heads in `heads`.
    pub fn detect(&self, heads: &Path) -> Result<Driver> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Driver::Copy);
        }
        // In a user namespace other drivers work than outside, and one repository may be used from both.
        let name = match IdMap::of_this_process().is_full() {
            true => "driver",
            false => "driver-user",
        };
        if let Some(driver) = self.recall(name) {
            return Ok(driver);
        }
        let driver = self.trial(heads).driver;
        tracing::debug!(%driver, "driver chosen by trial");
        self.remember(name, driver);
        Ok(driver)
    }

    /// What was found out since the machine started.
    fn recall<T: FromStr>(&self, name: &str) -> Option<T> {
        let text = read_checked(&self.directory().join(name), REMEMBERED_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&text);
        let (boot, answer) = text.split_once(' ')?;
        let same = !boot.is_empty() && boot_id().is_some_and(|now| now == boot);
        same.then(|| answer.parse().ok()).flatten()
    }

    /// Remembers an answer until the next boot.
    fn remember(&self, name: &str, answer: impl Display) {
        let boot = boot_id().unwrap_or_default();
        let text = format!("{boot} {answer}");
        // It is only remembered to save the next trial.
        let _ = write_checked(&self.directory().join(name), text.as_bytes());
    }

    /// Tries the drivers, best first, until one works.
    pub fn trial(&self, heads: &Path) -> Trial {
        let mut refused = Vec::new();
        for driver in Driver::AUTOMATIC {
            if driver == Driver::Copy {
                break;
            }
            match self.try_one(driver, heads) {
                Ok(()) => return Trial { driver, refused },
                Err(e) => refused.push((driver, e)),
            }
        }
        Trial {
            driver: Driver::Copy,
            refused,
        }
    }

    /// Whether the driver packs, which is not among those that are tried, works with heads in `heads`: remembered
    /// until the next boot.
    pub fn can_use_packs(&self, heads: &Path) -> bool {
        if never(Driver::Packs).is_some() {
            return false;
        }
        if let Some(works) = self.recall(PACKS) {
            return works;
        }
        let works = self.try_one(Driver::Packs, heads).is_ok();
        tracing::debug!(works, "driver packs tried");
        self.remember(PACKS, works);
        works
    }

    /// Tries one driver.
    pub fn try_one(&self, driver: Driver, heads: &Path) -> Result<()> {
        match never(driver) {
            None => self.probe(driver, heads),
            Some(hint) => Err(Error::Mount {
                driver,
                step: "the mount".into(),
                hint: format!(" ({hint})"),
                source: rustix::io::Errno::PERM.into(),
            }),
        }
    }

    /// Mounts a view with one file under a head, reads the file through it and writes another.
    fn probe(&self, driver: Driver, heads: &Path) -> Result<()> {
        let scratch = tempfile::TempDir::new_in(heads).at("make a directory in", heads)?;
        let head = scratch.path().join("head");
        for name in ["upper", "work"] {
            let path = head.join(name);
            std::fs::create_dir_all(&path).at("create directory", &path)?;
        }
        let (name, content) = driver::SAMPLE;
        let root = driver::mount(&driver::sample(driver, scratch.path(), &head)?)?;
        let open = |name: &str, flags| {
            let mode = Mode::from_raw_mode(0o600);
            openat(&root, name, flags | OFlags::CLOEXEC, mode)
        };
        let file = open(name, OFlags::RDONLY).at("open the probe's file under", heads)?;
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut read)
            .at("read the probe's file under", heads)?;
        if read != content {
            return Err(std::io::Error::other("it has other content than it should"))
                .at("read the probe's file under", heads);
        }
        if driver == Driver::Packs {
            driver::prove_packs(&root).at("read damaged and other content under", heads)?;
        }
        open("new", OFlags::WRONLY | OFlags::CREATE).at("write through the probe under", heads)?;
        Ok(())
    }
}
