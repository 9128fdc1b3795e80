//! What an image document may ask for. Checked once, where it is parsed, so that nothing later has to fear
//! a number or a length in it.

use crate::container_config::ContainerConfig;

const LAYERS_MAX: usize = 1024;
const ENV_MAX: usize = 4096;
const WORDS_MAX: usize = 16_384;
/// Longest text that Linux passes to a program (MAX_ARG_STRLEN), with its final zero.
const WORD_BYTES_MAX: usize = 128 << 10;
const VOLUMES_MAX: usize = 512;
const PORTS_MAX: usize = 1 << 17;
const LABELS_MAX: usize = 16_384;
/// Longest path that Linux takes (PATH_MAX), with its final zero.
const PATH_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 512;

/// What is too much in a document, if something is.
pub(crate) fn check(config: &ContainerConfig, layers: usize) -> Result<(), String> {
    let count = |what: &str, has: usize, max: usize| match has <= max {
        true => Ok(()),
        false => Err(format!(
            "it has {has} {what}, but at most {max} are allowed"
        )),
    };
    count("layers", layers, LAYERS_MAX)?;
    count("environment variables", config.env.len(), ENV_MAX)?;
    let words = config.entrypoint.len() + config.cmd.len();
    count("words in its command line", words, WORDS_MAX)?;
    count("volumes", config.volumes.len(), VOLUMES_MAX)?;
    count("ports", config.exposed_ports.len(), PORTS_MAX)?;
    count("labels", config.labels.len(), LABELS_MAX)?;
    let length = |what: &str, text: &str, max: usize| {
        if text.len() >= max {
            let has = text.len();
            return Err(format!(
                "{what} has {has} bytes, but must have fewer than {max}"
            ));
        }
        if text.contains('\0') {
            return Err(format!("{what} contains a NUL byte"));
        }
        Ok(())
    };
    for variable in &config.env {
        length("an environment variable", variable, WORD_BYTES_MAX)?;
    }
    for word in config.entrypoint.iter().chain(&config.cmd) {
        length("a word of the command line", word, WORD_BYTES_MAX)?;
    }
    for path in config.volumes.keys() {
        length("a volume", path, PATH_BYTES_MAX)?;
    }
    length("the working directory", &config.working_dir, PATH_BYTES_MAX)?;
    length("the user", &config.user, NAME_BYTES_MAX)?;
    length("the stop signal", &config.stop_signal, NAME_BYTES_MAX)
}
