//! `cairn oci`: containers of bundles, driven as runc is.

mod events;
mod list;
mod log;
mod ps;

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};
use cairn_oci::{Changes, Connection, Creating, Joining, Root};
use clap::Parser;
use serde_json::json;

use crate::args::{Oci, OciCli, OciCreate, OciExec, OciUpdate};
use crate::output::{self, Usage};

const FAILED: u8 = 1;
/// What `exec` exits with when it fails itself, as runc does.
const EXEC_FAILED: u8 = 255;
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// The arguments behind `oci`, where that is the command.
pub fn given() -> Option<Vec<OsString>> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == "oci").then(|| args.collect())
}

/// Refuses global options of other commands.
pub fn misplaced() -> Result<u8> {
    Err(Usage(
        "\"oci\" has global options of its own: cairn oci [--root DIR] [--log FILE] COMMAND".into(),
    )
    .into())
}

/// Runs the command; its exit code.
pub fn run(args: Vec<OsString>) -> u8 {
    let name = OsString::from("cairn oci");
    let cli = match OciCli::try_parse_from(std::iter::once(name).chain(args)) {
        Ok(cli) => cli,
        Err(e) if e.use_stderr() => e.exit(),
        // Help was asked for.
        Err(e) => {
            output::keep(e.print());
            return 0;
        }
    };
    let log = cli.log.clone().map(|path| (path, cli.log_format));
    let failed = match cli.command {
        Some(Oci::Exec(_)) => EXEC_FAILED,
        _ => FAILED,
    };
    dispatch(cli).unwrap_or_else(|e| {
        let words = log::words(&e);
        if let Some((path, form)) = log {
            log::write(&path, form, &words);
        }
        output::say(&words);
        failed
    })
}

fn root(given: Option<PathBuf>) -> Result<Root> {
    let usual = || -> Result<PathBuf> {
        if rustix::process::geteuid().is_root() {
            return Ok("/run/cairn/oci".into());
        }
        let run = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let run = run.filter(|path| path.is_absolute());
        Ok(run
            .context("XDG_RUNTIME_DIR is not set; use --root")?
            .join("cairn/oci"))
    };
    let directory = given.map_or_else(usual, Ok)?;
    Ok(Root::new(std::path::absolute(directory)?))
}

fn dispatch(cli: OciCli) -> Result<u8> {
    if cli.version {
        println!("cairn version {}\nspec: 1.2.0", env!("CARGO_PKG_VERSION"));
        return Ok(0);
    }
    if cli.systemd_cgroup {
        return Err(Usage(
            "--systemd-cgroup is not supported; use the cgroupfs manager (podman: --cgroup-manager cgroupfs, containerd: SystemdCgroup = false)".into(),
        )
        .into());
    }
    let Some(command) = cli.command else {
        return Err(Usage("a command is missing; see \"cairn oci --help\"".into()).into());
    };
    let root = root(cli.root)?;
    match command {
        Oci::Create(args) => {
            let creating = creating(&args, true)?;
            return Ok(cairn_oci::create(&root, &args.id, &creating, false)?);
        }
        Oci::Run { create, detach, .. } => {
            let creating = creating(&create, detach)?;
            return Ok(cairn_oci::create(&root, &create.id, &creating, true)?);
        }
        Oci::Start { id } => cairn_oci::start(&root, &id)?,
        Oci::State { id } => output::report(&root.get(&id)?.state())?,
        Oci::Kill { all, id, signal } => {
            let number = cairn_runtime::signal_named(&signal);
            let number = number.ok_or_else(|| Usage(format!("{signal:?} is not a signal")))?;
            let container = root.get(&id)?;
            match all {
                true => cairn_oci::kill_all(&container, number)?,
                false => cairn_oci::kill(&container, number)?,
            }
        }
        Oci::Delete { force, id } => cairn_oci::delete(&root, &id, force)?,
        Oci::Exec(args) => return exec(&root, args),
        Oci::Ps {
            format,
            id,
            options,
        } => ps::ps(&root.get(&id)?, format == "json", options)?,
        Oci::Pause { id } => cairn_oci::pause(&root, &id)?,
        Oci::Resume { id } => cairn_oci::resume(&root, &id)?,
        Oci::Update(args) => update(&root, args)?,
        Oci::Events {
            stats,
            interval,
            id,
        } => events::events(&root, &id, stats, &interval)?,
        Oci::Features => output::json(&cairn_oci::features())?,
        Oci::List { format, quiet } => list::list(&root, format == "json", quiet)?,
    }
    Ok(0)
}

fn creating(args: &OciCreate, detach: bool) -> Result<Creating> {
    // As systemd hands them over; only to the process that it names.
    let variable = |name: &str| std::env::var(name).ok();
    let listen = variable("LISTEN_FDS").and_then(|n| n.parse().ok());
    Ok(Creating {
        bundle: args.bundle.clone(),
        connection: Connection {
            detach,
            console_socket: args.console_socket.clone(),
            pid_file: args.pid_file.clone(),
        },
        no_pivot: args.no_pivot,
        no_keyring: args.no_new_keyring,
        preserved: args.preserve_fds,
        listen_fds: listen.unwrap_or(0),
    })
}

fn exec(root: &Root, args: OciExec) -> Result<u8> {
    let user = args.user.as_deref().map(user).transpose()?;
    let joining = Joining {
        process: args.process,
        changes: Changes {
            args: args.command,
            cwd: args.cwd,
            env: args.env,
            user,
            groups: args.additional_gids,
            capabilities: args.cap,
            labels: (args.apparmor, args.process_label),
            no_new_privileges: args.no_new_privs,
            terminal: args.tty,
        },
        connection: Connection {
            detach: args.detach,
            console_socket: args.console_socket,
            pid_file: args.pid_file,
        },
        preserved: args.preserve_fds,
        ignore_paused: args.ignore_paused,
    };
    Ok(cairn_oci::exec(root, &args.id, &joining)?)
}

/// `UID[:GID]`.
fn user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |text: &str| {
        let number = text.parse::<u32>().ok().filter(|n| *n != u32::MAX);
        number.ok_or_else(|| Usage(format!("--user: {text:?} is not an id")))
    };
    Ok(match text.split_once(':') {
        Some((uid, gid)) => (number(uid)?, Some(number(gid)?)),
        None => (number(text)?, None),
    })
}

fn update(root: &Root, args: OciUpdate) -> Result<()> {
    let container = root.get_locked(&args.id)?;
    let document = match &args.resources {
        Some(path) => {
            let mut bytes = Vec::new();
            let source: Box<dyn Read> = match path.as_os_str() == "-" {
                true => Box::new(std::io::stdin()),
                false => Box::new(
                    std::fs::File::open(path)
                        .with_context(|| format!("open {}", path.display()))?,
                ),
            };
            source
                .take(DOCUMENT_BYTES_MAX)
                .read_to_end(&mut bytes)
                .context("read the limits")?;
            bytes
        }
        None => serde_json::to_vec(&json!({
            "memory": {
                "limit": args.memory,
                "swap": args.memory_swap,
                "reservation": args.memory_reservation,
            },
            "cpu": {
                "shares": args.cpu_share,
                "quota": args.cpu_quota,
                "period": args.cpu_period,
                "realtimeRuntime": args.cpu_rt_runtime,
                "realtimePeriod": args.cpu_rt_period,
                "cpus": args.cpuset_cpus,
                "mems": args.cpuset_mems,
            },
            "blockIO": {"weight": args.blkio_weight},
            "pids": {"limit": args.pids_limit},
        }))?,
    };
    Ok(cairn_oci::update(&container, &document)?)
}
