//! What a process may do: capabilities, system calls, new privileges.

use std::io::Read;
use std::path::{Path, PathBuf};

use cairn_runtime::seccomp::{Circumstances, Document, Filter};
use cairn_runtime::{Capabilities, Network};

use crate::error::{Error, Result, Step};

/// More than a document may have, so that too long a one is told from one that fits.
const DOCUMENT_BYTES_MAX: u64 = (1 << 20) + 1;

/// Which system calls a process may make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// Those of the default profile.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// Those of this document.
    Document(PathBuf),
}

/// What the user says of it.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// All capabilities and devices, and nothing hidden or filtered.
    pub privileged: bool,
    /// Capabilities to add, by name or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to drop.
    pub cap_drop: Vec<String>,
    /// `--security-opt`, as written.
    pub options: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Settled {
    pub capabilities: Capabilities,
    pub ambient: Capabilities,
    pub seccomp: Option<Filter>,
    pub no_new_privileges: bool,
}

impl Security {
    /// Decides for a process in this network.
    pub(crate) fn settle(&self, network: &Network, devices_controlled: bool) -> Result<Settled> {
        let (seccomp, no_new_privileges) = parse(&self.options)?;
        let seccomp = match seccomp {
            Seccomp::Default if self.privileged => Seccomp::Unconfined,
            chosen => chosen,
        };
        let usual = if self.privileged {
            Capabilities::all()
        } else {
            Capabilities::usual(*network == Network::Host, devices_controlled)
        };
        let capabilities = usual.change(&self.cap_add, &self.cap_drop)?;
        Ok(Settled {
            ambient: capabilities.also_in(&self.cap_add)?,
            seccomp: filter(&seccomp, &capabilities)?,
            capabilities,
            no_new_privileges,
        })
    }
}

fn filter(seccomp: &Seccomp, capabilities: &Capabilities) -> Result<Option<Filter>> {
    let document = match seccomp {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default => Document::default_profile()?,
        Seccomp::Document(path) => read(path)?,
    };
    Ok(Some(document.compile(&Circumstances::here(capabilities))?))
}

fn read(path: &Path) -> Result<Document> {
    let what = || format!("read seccomp profile {}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(DOCUMENT_BYTES_MAX).read_to_end(&mut bytes))
        .step(what())?;
    Ok(Document::parse(&path.display().to_string(), &bytes)?)
}

/// The options: `NAME=VALUE`, where Docker also takes a colon.
fn parse(options: &[String]) -> Result<(Seccomp, bool)> {
    let (mut seccomp, mut no_new_privileges) = (Seccomp::Default, true);
    for option in options {
        match option.split_once(['=', ':']) {
            None if option == "no-new-privileges" => no_new_privileges = true,
            Some(("no-new-privileges", "true")) => no_new_privileges = true,
            Some(("no-new-privileges", "false")) => no_new_privileges = false,
            Some(("seccomp", "unconfined")) => seccomp = Seccomp::Unconfined,
            Some(("seccomp", "default" | "builtin")) => seccomp = Seccomp::Default,
            Some(("seccomp", path)) if !path.is_empty() => {
                seccomp = Seccomp::Document(path.into());
            }
            Some((name @ ("apparmor" | "label" | "systempaths" | "writable-cgroups"), _)) => {
                return Err(Error::Usage(format!(
                    "--security-opt {name} is not supported"
                )));
            }
            _ => {
                return Err(Error::Usage(format!(
                    "--security-opt {option}: must be no-new-privileges=true or =false, or seccomp=FILE or =unconfined"
                )));
            }
        }
    }
    Ok((seccomp, no_new_privileges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_an_option_counts_and_foreign_ones_are_refused_by_name() {
        let parsed = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
            parse(&options).map_err(|e| e.to_string())
        };
        assert_eq!(parsed(&[]), Ok((Seccomp::Default, true)));
        assert_eq!(
            parsed(&["no-new-privileges=false", "seccomp:unconfined"]),
            Ok((Seccomp::Unconfined, false))
        );
        assert_eq!(
            parsed(&["seccomp=unconfined", "seccomp=/x.json"]),
            Ok((Seccomp::Document("/x.json".into()), true))
        );
        for (option, words) in [
            ("apparmor=unconfined", "apparmor is not supported"),
            ("seccomp=", "must be"),
            ("bogus", "must be"),
            ("no-new-privileges=maybe", "must be"),
        ] {
            let e = parsed(&[option]).unwrap_err();
            assert!(e.contains(words), "{option}: {e}");
        }
    }
}
