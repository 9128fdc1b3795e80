//! `cairn wait`

use anyhow::Result;
use cairn_container::Waiting;
use serde_json::json;

use super::Env;
use crate::output;

/// `cairn wait`
pub fn wait(env: &Env, names: &[String]) -> Result<u8> {
    let repo = env.open()?;
    let found: Vec<_> = names
        .iter()
        .map(|name| (name, Waiting::find(&repo, name)))
        .collect();
    drop(repo);
    let (mut ended, mut code) = (Vec::new(), 0);
    for (name, found) in found {
        match found.and_then(Waiting::end) {
            Ok(exit_code) if env.json => {
                ended.push(json!({"name": name, "exit_code": exit_code}));
            }
            Ok(exit_code) => println!("{exit_code}"),
            Err(e) => {
                let e = e.into();
                code = code.max(output::exit_code(&e));
                output::print_error(&e);
            }
        }
    }
    if env.json {
        output::json(&json!(ended))?;
    }
    Ok(code)
}
