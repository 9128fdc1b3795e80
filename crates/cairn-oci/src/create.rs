//! Creation and start of a container.

use std::path::{Path, PathBuf};

use cairn_runtime::bundle::{
    Attendance, Begun, Creation, Hook, HookState, Streams, create_bundle, start_bundle,
};
use cairn_runtime::{group_members, remove_groups, start_ticks};

use crate::Connection;
use crate::container::{Container, Root, Status, Stored};
use crate::document::{self, CONFIG, Config};
use crate::error::{Context, Error, Result};
use crate::hooks::run_all;
use crate::understand::{self, Asked};

/// How a container is created.
#[derive(Debug, Clone, Default)]
pub struct Creating {
    /// Its bundle's directory.
    pub bundle: PathBuf,
    /// Its streams.
    pub connection: Connection,
    /// The root is moved over the host's instead of taking its place.
    pub no_pivot: bool,
    /// No session keyring of its own.
    pub no_keyring: bool,
    /// Descriptors from 3 on that its process inherits.
    pub preserved: u32,
    /// `LISTEN_FDS` of the caller: as many descriptors, and variables that tell them.
    pub listen_fds: u32,
}

/// What is done at the moments of a creation.
struct Moments<'a> {
    directory: &'a Path,
    stored: &'a mut Stored,
    hooks: &'a [Hook],
}

impl Moments<'_> {
    fn told(&self, pid: i32) -> HookState {
        self.stored.spec.state.with("creating", Some(pid))
    }
}

fn words(e: Error) -> cairn_runtime::Error {
    match e {
        Error::Runtime(e) => e,
        e => cairn_runtime::Error::Invalid(cairn_model::one_line(&e)),
    }
}

impl Creation for Moments<'_> {
    fn begun(&mut self, pid: i32) -> cairn_runtime::Result<()> {
        self.stored.pid = pid;
        self.stored.start_ticks = start_ticks(pid).unwrap_or(0);
        self.stored.save(self.directory).map_err(words)
    }

    fn built(&mut self, pid: i32) -> cairn_runtime::Result<()> {
        let told = self.told(pid);
        self.hooks.iter().try_for_each(|hook| hook.run(&told))
    }
}

/// Creates the container `id`. It waits for [`start`], unless `run` says that it is started at once; with a
/// caller that stays, the answer is the exit code of its process.
pub fn create(root: &Root, id: &str, creating: &Creating, run: bool) -> Result<u8> {
    let bundle = creating.bundle.canonicalize();
    let bundle = bundle.step(format!("open the bundle {}", creating.bundle.display()))?;
    let config: Config = document::read(&bundle.join(CONFIG))?;
    let preserved = creating.preserved.saturating_add(creating.listen_fds);
    descriptors_are_there(preserved)?;
    let asked = Asked {
        id,
        bundle: &bundle,
        no_pivot: creating.no_pivot,
        no_keyring: creating.no_keyring,
        preserved,
    };
    let mut spec = understand::spec(&config, &asked)?;
    if creating.listen_fds > 0 {
        let env = &mut spec.process.env;
        env.extend([
            format!("LISTEN_FDS={}", creating.listen_fds),
            "LISTEN_PID=1".into(),
        ]);
    }
    creating.connection.check(spec.process.terminal)?;
    let hooks = understand::host_hooks(&config.hooks)?;
    if root.get(id).is_ok() {
        return Err(Error::Exists(id.to_owned()));
    }
    let others = group_members(&spec.group);
    if !others.is_empty() {
        return Err(Error::Refused(format!(
            "linux.cgroupsPath: the group {} has {} processes already; choose one of its own",
            spec.group,
            others.len()
        )));
    }
    let directory = root.make(id)?;
    let mut stored = Stored::new(spec, hooks.started, hooks.stopped);
    let attendance = match run && !creating.connection.detach {
        true => Some(Attendance::new(&mut stored.spec.process)?),
        false => None,
    };
    let (attendance, streams) = match attendance {
        Some((attendance, streams)) => (Some(attendance), streams),
        None => (None, Streams::Inherited),
    };
    let made = begin(
        &mut stored,
        &directory,
        streams,
        &hooks.create,
        &creating.connection,
    );
    let mut begun = match made {
        Ok(begun) => begun,
        Err(e) => {
            // Nothing of it is left, except what its hooks did.
            remove_groups(&stored.spec.group);
            let _ = std::fs::remove_dir_all(&directory);
            let told = stored.spec.state.with("stopped", None);
            run_all(&stored.stopped, &told);
            return Err(e);
        }
    };
    let (pid, process) = (begun.pid()?, begun.take_process()?);
    let terminal = begun.take_terminal();
    begun.finish(false)?;
    if !run {
        return Ok(0);
    }
    let started = start(root, id);
    let Some(attendance) = attendance else {
        return match started {
            Ok(()) => Ok(0),
            Err(e) => {
                let _ = crate::delete(root, id, true);
                Err(e)
            }
        };
    };
    let code = match started {
        Ok(()) => attendance
            .stay(pid, &process, terminal)
            .map_err(Error::from),
        Err(e) => Err(e),
    };
    crate::delete(root, id, true)?;
    code
}

fn begin(
    stored: &mut Stored,
    directory: &Path,
    streams: Streams,
    hooks: &[Hook],
    connection: &Connection,
) -> Result<Begun> {
    stored.save(directory)?;
    let spec = stored.spec.clone();
    let mut moments = Moments {
        directory,
        stored,
        hooks,
    };
    let mut begun = create_bundle(&spec, directory, streams, &mut moments)?;
    if connection.console_socket.is_some()
        && let Some(terminal) = begun.take_terminal()
    {
        connection.give(&terminal)?;
    }
    connection.note(begun.pid()?)?;
    Ok(begun)
}

/// Refuses to promise descriptors that the caller does not have: others would take their numbers.
fn descriptors_are_there(count: u32) -> Result<()> {
    let is_open = |fd: &u32| Path::new(&format!("/proc/self/fd/{fd}")).exists();
    match (3..count.saturating_add(3)).find(|fd| !is_open(fd)) {
        None => Ok(()),
        Some(fd) => Err(Error::Invalid(format!(
            "--preserve-fds: descriptor {fd} is not open"
        ))),
    }
}

/// Starts a container that was created. Its program has begun when this returns.
pub fn start(root: &Root, id: &str) -> Result<()> {
    let container = root.get_locked(id)?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => {
            return Err(Error::Refused(
                "cannot start a container that has stopped".into(),
            ));
        }
        Status::Running | Status::Paused => {
            return Err(Error::Refused(
                "cannot start an already running container".into(),
            ));
        }
    }
    start_bundle(&container.directory)?;
    after_start(&container)
}

fn after_start(container: &Container) -> Result<()> {
    let told = container.told("running", container.live_pid());
    for hook in &container.stored.started {
        if let Err(e) = hook.run(&told) {
            // As the specification has it since 1.2: the container does not stay.
            let _ = crate::kill::signal(container, rustix::process::Signal::KILL.as_raw());
            return Err(e.into());
        }
    }
    Ok(())
}
