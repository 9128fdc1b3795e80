//! `cairn commit`

use anyhow::Result;
use cairn_image::change;
use cairn_model::path_display;
use serde_json::{Value, json};

use super::Env;
use crate::args::Commit;
use crate::output;

/// `cairn commit`
pub fn commit(env: &Env, args: &Commit) -> Result<()> {
    let repo = env.open()?;
    let options = cairn_container::Commit {
        name: args.name.clone(),
        author: args.author.clone().unwrap_or_default(),
        message: args.message.clone().unwrap_or_default(),
    };
    // Instructions are read before the container is held still.
    let apply = |config: Value| {
        change::apply(config, &args.change)
            .map_err(|e| cairn_container::Error::Usage(e.to_string()))
    };
    let done = cairn_container::commit(&repo, &args.container, options, apply)?;
    if let Some(why) = done.without {
        output::say(&format!(
            "the new image has no history of the image it was made of: {why}"
        ));
    }
    let done = done.image;
    for path in &done.left_out {
        eprintln!(
            "cairn: skipped {}: a commit cannot contain sockets or device nodes",
            path_display(path)
        );
    }
    if env.json {
        return Ok(output::json(
            &json!({"id": done.id.to_string(), "bytes_new": done.stats.bytes_new, "bytes_stored": done.stats.bytes_stored}),
        )?);
    }
    println!("{}", done.id);
    Ok(())
}
