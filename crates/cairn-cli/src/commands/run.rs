//! `cairn run`, and the hidden steps of a launch.

use std::ffi::OsString;

use anyhow::Result;
use cairn_container::{Interrupts, RunOptions, create};
use cairn_runtime::{Network, Text};

use super::Env;
use crate::args::{NetworkName, Run};
use crate::output::{self, Usage};

/// What `run` exits with when it fails itself, as Docker does: 0–124 are the process's.
const RUN_FAILED: u8 = 125;

/// `cairn run`
pub fn run(env: &Env, args: Run) -> Result<u8> {
    launch(env, args).map_err(|e| match output::exit_code(&e) {
        1 => e.context(output::Exit(RUN_FAILED, String::new())),
        _ => e,
    })
}

fn launch(env: &Env, args: Run) -> Result<u8> {
    let options = options(args)?;
    // Before other threads are started.
    let interrupts = Interrupts::watch(env.root.clone())?;
    let repo = env.open()?;
    let prepared = create(&repo, &options, &interrupts)?;
    // From here on nothing holds the database: the monitor is a fresh program image.
    drop(repo);
    if !options.detach {
        return Err(prepared.become_monitor(&interrupts).into());
    }
    let name = prepared.name().to_owned();
    prepared.start_detached(&interrupts)?;
    if env.json {
        output::json(&serde_json::json!({ "name": name }))?;
    } else {
        println!("{name}");
    }
    Ok(0)
}

fn options(args: Run) -> Result<RunOptions> {
    let mut words = args.image_and_command.into_iter();
    let image = words.next().unwrap_or_default().into_string();
    let image = image.map_err(|name| Usage(format!("{} is not an image name", name.display())))?;
    if image.starts_with('-') {
        return Err(Usage(format!("unknown option {image}; see \"cairn run --help\"")).into());
    }
    let texts = |all: Vec<OsString>| all.into_iter().map(Text::from).collect();
    Ok(RunOptions {
        image,
        command: words.map(Text::from).collect(),
        name: args.name,
        interactive: args.interactive,
        terminal: args.tty,
        detach: args.detach,
        remove: args.rm,
        volumes: texts(args.volume),
        tmpfs: args.tmpfs,
        env: texts(args.env),
        env_files: args.env_file,
        workdir: args.workdir.map(Text::from),
        user: args.user,
        entrypoint: args.entrypoint.map(Text::from),
        hostname: args.hostname,
        read_only: args.read_only,
        network: match args.network {
            NetworkName::Host => Network::Host,
            NetworkName::None => Network::None,
        },
        init: args.init,
        no_new_privileges: no_new_privileges(&args.security_opt)?,
        stop_signal: args.stop_signal,
    })
}

/// What `--security-opt` says of new privileges; they are refused unless it allows them.
fn no_new_privileges(options: &[String]) -> Result<bool, Usage> {
    let mut refused = true;
    for option in options {
        refused = match option.split_once(['=', ':']) {
            None if option == "no-new-privileges" => true,
            Some(("no-new-privileges", "true")) => true,
            Some(("no-new-privileges", "false")) => false,
            _ => {
                return Err(Usage(format!(
                    "--security-opt {option}: must be no-new-privileges=true or no-new-privileges=false"
                )));
            }
        };
    }
    Ok(refused)
}
