//! Finds and executes the user's program, as the user and in the working directory (execvp(3)).

use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::CString;

use nix::errno::Errno;

use super::user::User;
use crate::error::{Error, Result};
use crate::spec::LaunchSpec;
use crate::text::Text;

const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments and environment, ready to be executed.
pub struct Program {
    name: Text,
    candidates: Vec<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| {
        Error::Invalid(format!(
            "{:?} has a NUL byte",
            String::from_utf8_lossy(bytes)
        ))
    })
}

/// The environment: what every process may expect, then what image and user say; the last value counts.
fn environment(spec: &LaunchSpec, user: &User) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::with_capacity(spec.env.len() + 4);
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut set = |variable: Vec<u8>| {
        let Some(end) = variable.iter().position(|b| *b == b'=') else {
            return;
        };
        match places.get(&variable[..end]) {
            Some(place) => all[*place] = variable,
            None => {
                places.insert(variable[..end].to_vec(), all.len());
                all.push(variable);
            }
        }
    };
    set([b"PATH=", DEFAULT_PATH].concat());
    set(format!("HOSTNAME={}", spec.hostname).into_bytes());
    set(format!("HOME={}", user.home).into_bytes());
    if spec.terminal {
        set(b"TERM=xterm".to_vec());
    }
    spec.env
        .iter()
        .for_each(|variable| set(variable.as_bytes().to_vec()));
    all
}

impl Program {
    /// What the spec says, for this user.
    pub fn new(spec: &LaunchSpec, user: &User) -> Result<Self> {
        let none = || Error::Invalid("no command was given and the image has none".into());
        let name = spec.args.first().ok_or_else(none)?.clone();
        Self::find(
            name,
            spec.args.iter().map(Text::as_bytes),
            environment(spec, user),
        )
    }

    /// A program with this environment and nothing else in it.
    pub fn exact(name: &str, args: &[String], env: &[String]) -> Result<Self> {
        let env = env.iter().map(|variable| variable.clone().into_bytes());
        Self::find(
            name.into(),
            args.iter().map(String::as_bytes),
            env.collect(),
        )
    }

    fn find<'a>(
        name: Text,
        args: impl Iterator<Item = &'a [u8]>,
        env: Vec<Vec<u8>>,
    ) -> Result<Self> {
        let candidates = if name.as_bytes().contains(&b'/') {
            vec![c_string(name.as_bytes())?]
        } else {
            let path = env.iter().find_map(|v| v.strip_prefix(b"PATH="));
            path.unwrap_or(DEFAULT_PATH)
                .split(|b| *b == b':')
                .map(|directory| {
                    // An empty one is the working directory.
                    let directory = if directory.is_empty() {
                        b"."
                    } else {
                        directory
                    };
                    c_string(&[directory, b"/", name.as_bytes()].concat())
                })
                .collect::<Result<_>>()?
        };
        Ok(Self {
            args: args.map(c_string).collect::<Result<_>>()?,
            env: env.iter().map(|v| c_string(v)).collect::<Result<_>>()?,
            candidates,
            name,
        })
    }

    /// Fails as [`Program::execute`] would where no candidate is a file that may be executed.
    pub fn look(&self) -> Result<()> {
        use nix::unistd::{AccessFlags, access};
        let mut refused = None;
        for candidate in &self.candidates {
            match std::fs::metadata(path_of(candidate)) {
                Err(_) => continue,
                Ok(meta) if meta.is_file() => match access(candidate.as_c_str(), AccessFlags::X_OK)
                {
                    Ok(()) => return Ok(()),
                    Err(e) => refused = Some(e),
                },
                Ok(_) => refused = Some(Errno::EACCES),
            }
        }
        let command = self.name.lossy();
        Err(match refused {
            None => Error::NotFound(command),
            Some(e) => Error::NotExecutable {
                command,
                source: e.into(),
            },
        })
    }

    /// Becomes the program.
    pub fn execute(&self) -> Result<Infallible> {
        let mut refused = None;
        for candidate in &self.candidates {
            let Err(e) = nix::unistd::execve(candidate, &self.args, &self.env);
            match e {
                Errno::ENOENT | Errno::ENOTDIR if interpreter_is_missing(candidate) => {
                    refused.get_or_insert(e);
                }
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => {
                    refused.get_or_insert(e);
                }
                other => {
                    refused = Some(other);
                    break;
                }
            }
        }
        let command = self.name.lossy();
        Err(match refused {
            None => Error::NotFound(command),
            Some(Errno::ENOENT | Errno::ENOTDIR) => Error::NoInterpreter(command),
            Some(e) => Error::NotExecutable {
                command,
                source: e.into(),
            },
        })
    }
}

fn path_of(candidate: &CString) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(candidate.as_bytes())
}

/// True for a file that is there: then it was its interpreter that is not.
fn interpreter_is_missing(candidate: &CString) -> bool {
    std::fs::metadata(path_of(candidate)).is_ok_and(|m| m.is_file())
}
