//! The environment of a container.
//!
//! An image decides names and values of its own and never sees the caller's: only a name without a value that
//! the user typed, or has in an environment file, takes the caller's value.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cairn_image::ContainerConfig;
use cairn_image::env_file::{self, Variable};
use cairn_runtime::Text;

use crate::error::{Error, Result, Step};

/// Linux hands a process less than this in arguments and environment together (execve(2)).
const FILE_BYTES_MAX: u64 = 6 << 20;

/// The image's variables, then those of files, then those of the command line.
pub fn environment(
    config: &ContainerConfig,
    files: &[PathBuf],
    given: &[Text],
) -> Result<Vec<Text>> {
    // What has no value in the image's configuration has none in the container either.
    let image = config.env.iter().filter(|v| v.contains('='));
    let mut all: Vec<Text> = image.map(|v| Text::from(v.as_str())).collect();
    for file in files {
        let text = read(file)?;
        let variables = env_file::parse(&text, &file.display().to_string())
            .map_err(|e| Error::Usage(e.to_string()))?;
        for Variable { name, value } in variables {
            let name = name.as_bytes();
            match value {
                Some(value) => all.push([name, b"=", value.as_bytes()].concat().into()),
                None => all.extend(with_value(name)),
            }
        }
    }
    for variable in given {
        if matches!(variable.as_bytes().first(), None | Some(b'=')) {
            return Err(Error::Usage(format!(
                "environment variable {:?}: it has no name; write NAME=VALUE or NAME",
                variable.lossy()
            )));
        }
        all.extend(with_value(variable.as_bytes()));
    }
    Ok(all)
}

/// An environment file may be a pipe, or a device that never ends.
fn read(file: &Path) -> Result<Vec<u8>> {
    let reading = || format!("read {}", file.display());
    let mut text = Vec::new();
    let opened = File::open(file).step(reading())?;
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .step(reading())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::Usage(format!(
            "{} has more than {} MiB, too much for an environment",
            file.display(),
            FILE_BYTES_MAX >> 20
        )));
    }
    Ok(text)
}

/// A variable the user wrote, with the caller's value where it has none.
fn with_value(variable: &[u8]) -> Option<Text> {
    if variable.contains(&b'=') {
        return Some(variable.to_vec().into());
    }
    let value = std::env::var_os(OsStr::from_bytes(variable))?;
    Some([variable, b"=", value.as_bytes()].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_user_passes_on_the_callers_values() {
        let (name, value) = std::env::vars().next().expect("tests have an environment");
        let config = ContainerConfig {
            env: vec![name.clone(), "A=1".into()],
            ..ContainerConfig::default()
        };
        let all = |given: &[&str]| {
            let given: Vec<Text> = given.iter().map(|v| Text::from(*v)).collect();
            environment(&config, &[], &given).unwrap()
        };
        assert_eq!(all(&[]), [Text::from("A=1")]);
        assert_eq!(
            all(&[&name, "NOT_SET_ANYWHERE"]),
            [Text::from("A=1"), Text::from(format!("{name}={value}"))]
        );
        for nameless in ["", "=", "=x"] {
            let refused = environment(&config, &[], &[Text::from(nameless)]);
            assert!(matches!(refused, Err(Error::Usage(_))), "{nameless:?}");
        }
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        let refused = environment(&ContainerConfig::default(), &["/dev/zero".into()], &[]);
        assert!(matches!(refused, Err(Error::Usage(_))));
    }
}
