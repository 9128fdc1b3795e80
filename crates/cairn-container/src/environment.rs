//! The environment of a container.
//!
//! An image decides names and values of its own and never sees the caller's: only a name without a value that
//! the user typed, or has in an environment file, takes the caller's value.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use cairn_image::ContainerConfig;
use cairn_image::env_file::{self, Variable};
use cairn_runtime::Text;

use crate::error::{Error, Result, Step};

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
        let text = std::fs::read(file).step(format!("read {}", file.display()))?;
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
    all.extend(given.iter().filter_map(|v| with_value(v.as_bytes())));
    Ok(all)
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
    }
}
