//! Removal of volumes that nobody uses.

use std::time::{Duration, Instant};

use super::{UNFINISHED, Volumes, lock, random_name};
use crate::error::{At, Error, Result};

/// How long a container that is being created may hold a volume up.
const PATIENCE: Duration = Duration::from_secs(2);

impl Volumes<'_> {
    /// Removes a volume with all that is in it. `user` says who uses it; it is asked while nobody can begin to.
    ///
    /// # Errors
    /// Where somebody does.
    pub fn remove(&self, name: &str, user: &dyn Fn(&str) -> Result<Option<String>>) -> Result<()> {
        self.repo.store.may_spend_reserve();
        let path = self.dir(&self.find(name)?.name);
        let in_use = |by: String| {
            Err(Error::InUse {
                what: format!("volume {name}"),
                by,
                next: "remove that first".into(),
            })
        };
        let start = Instant::now();
        let directory = loop {
            match lock::try_exclusive(&path)? {
                Some(directory) => break directory,
                None if !path.exists() => return Err(Error::NoVolume(name.to_owned())),
                None if start.elapsed() > PATIENCE => {
                    return in_use("a container that is being created".into());
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if !lock::is_still(&directory, &path) {
            return Err(Error::NoVolume(name.to_owned()));
        }
        if let Some(by) = user(name)? {
            return in_use(by);
        }
        // Its name first: what is left of a removal that is cut off is nobody's volume.
        let gone = self
            .place()
            .join(format!("{UNFINISHED}old-{}", random_name()?));
        self.repo.store.disk().rename(&path, &gone)?;
        self.repo.store.disk().sync_dir(&self.place())?;
        std::fs::remove_dir_all(&gone).at("remove", &gone)
    }

    /// Removes what creations and removals left behind that were cut off.
    pub fn drop_unfinished(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.place())
            .into_iter()
            .flatten()
            .flatten()
        {
            let left = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            let path = entry.path();
            if left && lock::try_exclusive(&path)?.is_some() {
                std::fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        Ok(())
    }
}
