//! `cairn run`, and the hidden steps of a launch.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use cairn_container::{
    Interrupts, LimitOptions, Names, Prepared, RunOptions, Security, Surroundings, network,
};
use cairn_repo::{Repo, Settings};
use cairn_runtime::{DetachKeys, LogLimits, Text};

use super::pull::Wanted;
use super::{Env, attach, pull};
use crate::args::{Run, When};
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
    let (cidfile, pull, platform) = (args.cidfile.clone(), args.pull, args.platform.clone());
    let wanted = Wanted {
        when: pull,
        platform: platform.as_ref(),
    };
    let keys = detach_keys(&args)?;
    let mut options = options(args, &env.settings()?)?;
    // One can leave only what goes on without this process.
    options.detach |= keys.is_some();
    // Before other threads are started.
    let interrupts = Interrupts::watch(env.root.clone())?;
    let repo = pull::open(env, pull)?;
    let cidfile = cidfile.map(IdFile::create).transpose()?;
    let prepared = made(env, &repo, &mut options, wanted, &interrupts)?;
    if let Some(file) = cidfile {
        file.write(prepared.id())?;
    }
    for warning in prepared.warnings() {
        eprintln!("cairn: warning: {warning}");
    }
    // From here on nothing holds the database: the monitor is a fresh program image.
    drop(repo);
    if !options.detach {
        return Err(prepared.become_monitor(&interrupts).into());
    }
    let name = prepared.name().to_owned();
    if let Some(keys) = keys {
        return attach::outcome(prepared.start_attached(&interrupts, keys)?, &name);
    }
    prepared.start_detached(&interrupts)?;
    if env.json {
        output::json(&serde_json::json!({ "name": name }))?;
    } else {
        println!("{name}");
    }
    Ok(0)
}

/// The keys that leave a container in the foreground, where they are given: it is in the background then, with the
/// caller's terminal attached.
fn detach_keys(args: &Run) -> Result<Option<DetachKeys>> {
    let Some(text) = args.detach_keys.as_deref().filter(|_| !args.detach) else {
        return Ok(None);
    };
    if !(args.interactive && args.tty) {
        return Err(Usage("--detach-keys needs -it: keys are typed at a terminal".into()).into());
    }
    attach::keys_at_terminal(text).map(Some)
}

/// A container of an image that is pulled where it has to be.
fn made(
    env: &Env,
    repo: &Repo,
    options: &mut RunOptions,
    wanted: Wanted<'_>,
    interrupts: &Interrupts,
) -> Result<Prepared> {
    if wanted.when == When::Always || wanted.platform.is_some() {
        options.image = pull::provide(env, repo, &options.image, wanted)?;
    }
    match cairn_container::create(repo, options, interrupts) {
        // Only then, so that a launch costs nothing more where the image is there.
        Err(cairn_container::Error::NoImage(image)) if wanted.when == When::Missing => {
            options.image = pull::provide(env, repo, &image, wanted)?;
        }
        done => return Ok(done?),
    }
    Ok(cairn_container::create(repo, options, interrupts)?)
}

/// The file for the container's id; it goes where there is no container in the end.
struct IdFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl IdFile {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create_new(&path).with_context(|| {
            format!(
                "create the id file {}; remove it if it is old",
                path.display()
            )
        })?;
        Ok(Self {
            path,
            file,
            kept: false,
        })
    }

    fn write(mut self, id: &str) -> Result<()> {
        self.kept = true;
        let written = self.file.write_all(id.as_bytes());
        written.with_context(|| format!("write {}", self.path.display()))
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.kept {
            // It was made a moment ago, and holds nothing.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// `cairn create`
pub fn create(env: &Env, args: Run) -> Result<()> {
    let (cidfile, pull, platform) = (args.cidfile.clone(), args.pull, args.platform.clone());
    let wanted = Wanted {
        when: pull,
        platform: platform.as_ref(),
    };
    let mut options = options(args, &env.settings()?)?;
    // Nobody's terminal is connected to it yet.
    options.detach = true;
    // Before other threads are started.
    let interrupts = Interrupts::watch(env.root.clone())?;
    let repo = pull::open(env, pull)?;
    let cidfile = cidfile.map(IdFile::create).transpose()?;
    let prepared = made(env, &repo, &mut options, wanted, &interrupts)?;
    if let Some(file) = cidfile {
        file.write(prepared.id())?;
    }
    for warning in prepared.warnings() {
        eprintln!("cairn: warning: {warning}");
    }
    let name = prepared.leave(&interrupts);
    if env.json {
        return Ok(output::json(&serde_json::json!({ "name": name }))?);
    }
    println!("{name}");
    Ok(())
}

/// How much of a container's output is kept: as the options say, or else the settings.
fn log_limits(args: &Run, settings: &Settings) -> Result<LogLimits> {
    let size = args.log_max_size.unwrap_or(settings.log_bytes_max());
    let files = args.log_max_files.unwrap_or(settings.log_files());
    let rule = "--log-max-size must be at least 66K and --log-max-files 1 to 100";
    LogLimits::new(size, files).ok_or_else(|| Usage(rule.into()).into())
}

fn options(args: Run, settings: &Settings) -> Result<RunOptions> {
    let log = log_limits(&args, settings)?;
    let mut words = args.image_and_command.into_iter();
    let image = words.next().unwrap_or_default().into_string();
    let image = image.map_err(|name| Usage(format!("{} is not an image name", name.display())))?;
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
        mounts: args.mount,
        secrets: args.secret,
        volumes_from: args.volumes_from,
        tmpfs: args.tmpfs,
        env: texts(args.env),
        env_files: args.env_file,
        workdir: args.workdir.map(Text::from),
        user: args.user,
        entrypoint: args.entrypoint.map(Text::from),
        hostname: args.hostname,
        read_only: args.read_only,
        network: network(args.network.as_deref(), &args.publish)?,
        init: args.init,
        limits: LimitOptions {
            memory: args.limits.changeable.memory,
            memory_swap: args.limits.changeable.memory_swap,
            memory_reservation: args.limits.changeable.memory_reservation,
            cpus: args.limits.changeable.cpus,
            cpu_shares: args.limits.changeable.cpu_shares,
            cpuset: args.limits.changeable.cpuset_cpus,
            pids: args.limits.changeable.pids_limit,
            blkio_weight: args.limits.changeable.blkio_weight,
            devices: args.limits.device,
            device_rules: args.limits.device_cgroup_rule,
        },
        surroundings: Surroundings {
            ipc: args.security.ipc,
            uts: args.security.uts,
            pid: args.security.pid,
            userns: args.security.userns,
            sysctls: args.security.sysctl,
            ulimits: args.limits.ulimit,
            shm_size: args.limits.shm_size,
        },
        names: Names {
            hosts: args.add_host,
            dns: args.dns,
            dns_search: args.dns_search,
            dns_options: args.dns_option,
        },
        labels: args.label,
        stop_timeout_secs: args.stop_timeout,
        security: Security {
            privileged: args.security.privileged,
            cap_add: args.security.cap_add,
            cap_drop: args.security.cap_drop,
            options: args.security.security_opt,
        },
        stop_signal: args.stop_signal,
        runtime: args.runtime,
        sdnotify: args.sdnotify,
        log,
    })
}
