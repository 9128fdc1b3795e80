//! `cairn run`, and the hidden steps of a launch.

use std::ffi::OsString;

use anyhow::Result;
use cairn_container::{Interrupts, LimitOptions, RunOptions, Security, create};
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

/// A hidden step of a launch, or the monitor that `run` became.
pub fn step(order: i32) -> Result<u8> {
    let ended = cairn_runtime::stage(order)?;
    if ended.out_of_memory {
        eprintln!(
            "cairn: the kernel killed a process of the container because its memory was used up; see --memory"
        );
    }
    Ok(ended.code)
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
        limits: LimitOptions {
            memory: args.limits.memory,
            memory_swap: args.limits.memory_swap,
            memory_reservation: args.limits.memory_reservation,
            cpus: args.limits.cpus,
            cpu_shares: args.limits.cpu_shares,
            cpuset: args.limits.cpuset_cpus,
            pids: args.limits.pids_limit,
            blkio_weight: args.limits.blkio_weight,
            devices: args.limits.device,
            device_rules: args.limits.device_cgroup_rule,
        },
        security: Security {
            cap_add: args.security.cap_add,
            cap_drop: args.security.cap_drop,
            options: args.security.security_opt,
        },
        stop_signal: args.stop_signal,
    })
}
