//! The command line of a container, as image and user give it.

use cairn_image::ContainerConfig;
use cairn_runtime::Text;

/// Entrypoint and command, by the rules of Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// Comes first.
    pub entrypoint: Vec<Text>,
    /// Follows.
    pub command: Vec<Text>,
}

impl CommandLine {
    /// What the image says, unless the user does: a given entrypoint also drops the image's command, and an
    /// empty one the image's entrypoint.
    pub fn of(entrypoint: Option<&Text>, command: &[Text], config: &ContainerConfig) -> Self {
        let words = |words: &[String]| words.iter().map(|w| Text::from(w.as_str())).collect();
        Self {
            entrypoint: match entrypoint {
                Some(given) if given.as_bytes().is_empty() => Vec::new(),
                Some(given) => vec![given.clone()],
                None => words(&config.entrypoint),
            },
            command: match (command, entrypoint) {
                ([], None) => words(&config.cmd),
                (command, _) => command.to_vec(),
            },
        }
    }

    /// All words.
    pub fn words(&self) -> Vec<Text> {
        [&self.entrypoint[..], &self.command[..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_entrypoint_drops_the_images_command() {
        let config = ContainerConfig {
            entrypoint: vec!["entry".into()],
            cmd: vec!["default".into()],
            ..ContainerConfig::default()
        };
        let line = |entrypoint: Option<&str>, command: &[&str]| {
            let command: Vec<Text> = command.iter().map(|w| Text::from(*w)).collect();
            CommandLine::of(entrypoint.map(Text::from).as_ref(), &command, &config)
                .words()
                .iter()
                .map(Text::lossy)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(line(None, &[]), "entry default");
        assert_eq!(line(None, &["a", "b"]), "entry a b");
        assert_eq!(line(Some("mine"), &[]), "mine");
        assert_eq!(line(Some(""), &["sh"]), "sh");
        assert_eq!(line(Some(""), &[]), "");
    }
}
