//! `cairn wait`

use anyhow::Result;
use cairn_container::Waiting;
use serde::Serialize;

use super::Env;
use crate::output;

/// A container that ended.
#[derive(Serialize)]
struct Ended<'a> {
    name: &'a str,
    exit_code: u8,
}

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
                ended.push(Ended { name, exit_code });
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
        output::report(&ended)?;
    }
    Ok(code)
}
