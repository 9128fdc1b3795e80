//! What the first process of a container and those that join it later have in common: streams, user, rights.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Gid, Uid};

use super::ids::Users;
use super::spec::BundleProcess;
use crate::error::{Error, Result, Step};
use crate::init::identity::{Rights, become_one, shut_with};
use crate::init::program::Program;
use crate::init::reset;
use crate::init::user::{User, look_up};

/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS: u64 = 0x1cd1;

/// True for a directory of terminals.
pub fn is_terminals(directory: &OwnedFd) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|found| found.f_type as u64 == DEVPTS)
}

/// A process that is ready but for becoming its user's.
pub struct Prepared<'a> {
    process: &'a BundleProcess,
    user: User,
    program: Program,
    entered: bool,
}

/// Who it is; `passwd` is the container's own file.
fn user(process: &BundleProcess, passwd: &str) -> User {
    // A file that is broken says nothing of the home.
    let home = look_up(&process.uid.to_string(), passwd, "").map(|user| user.home);
    User {
        uid: process.uid,
        gid: process.gid,
        groups: process.groups.clone(),
        home: home.unwrap_or_else(|_| "/".into()),
    }
}

/// Its environment, with a home where the document has none; of two values the last counts.
fn environment(process: &BundleProcess, home: &str) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut all: Vec<String> = Vec::with_capacity(process.env.len() + 1);
    let mut places = std::collections::HashMap::new();
    for variable in &process.env {
        match places.get(&name(variable)) {
            Some(place) => all[*place] = variable.clone(),
            None => {
                places.insert(name(variable), all.len());
                all.push(variable.clone());
            }
        }
    }
    if !places.contains_key("HOME") {
        all.push(format!("HOME={home}"));
    }
    all
}

impl<'a> Prepared<'a> {
    /// To be called in the container's root. Fails where there is no such program.
    pub fn new(process: &'a BundleProcess, passwd: &str) -> Result<Self> {
        let user = user(process, passwd);
        let none = || Error::Invalid("the process has no arguments".into());
        let name = process.args.first().ok_or_else(none)?;
        let program = Program::exact(name, &process.args, &environment(process, &user.home))?;
        // As root first: the directory may be one that only root may enter.
        let entered = std::env::set_current_dir(&process.cwd).is_ok();
        program.look()?;
        // Here, so that whoever creates the container is told what cannot be had.
        process.ulimits.iter().try_for_each(|limit| limit.set())?;
        Ok(Self {
            process,
            user,
            program,
            entered,
        })
    }

    /// Becomes the user, with no more rights than it is to have, and the program. `last` is called right before
    /// that, when only what the filter lets through can be done.
    pub fn begin(
        self,
        users: Option<&Users>,
        last: impl FnOnce() -> Result<()>,
    ) -> Result<Infallible> {
        let process = self.process;
        reset::umask_to(process.umask);
        if process.keyring {
            // A kernel without keys, or one that has no room for more, is no reason not to run.
            let _ = cairn_sys::new_session_keyring();
        }
        if let Some(priority) = process.io_priority {
            cairn_sys::set_io_priority(priority).step("set the priority of disk accesses")?;
        }
        if let Some(s) = &process.scheduler {
            let wanted = cairn_sys::Scheduling {
                policy: s.policy,
                flags: s.flags,
                nice: s.nice,
                priority: s.priority,
                runtime: s.runtime,
                deadline: s.deadline,
                period: s.period,
            };
            cairn_sys::set_scheduling(&wanted).step("set the scheduler")?;
        }
        let sets = &process.capabilities;
        let rights = Rights {
            bounding: sets.bounding.set(),
            effective: sets.effective.set(),
            permitted: sets.permitted.set(),
            inheritable: sets.inheritable.set(),
            ambient: sets.ambient.set(),
            no_new_privileges: process.no_new_privileges,
            seccomp: process.seccomp.as_ref(),
        };
        let namespace = users.map(|users| &users.namespace);
        become_one(&rights, &self.user, namespace)?;
        crate::init::stay_in_directory(std::ffi::OsStr::new(&process.cwd), self.entered)?;
        cairn_sys::close_on_exec_from(3 + process.preserved).step("close descriptors")?;
        reset::signals()?;
        shut_with(process.no_new_privileges, process.seccomp.as_ref())?;
        last()?;
        self.program.execute()
    }
}

/// Standard streams: a terminal of the container, made by `open`, or those that this process was started with.
/// Pipes and terminals belong to the user then, so that `/dev/stdout` opens; nothing else changes its owner.
pub fn connect(
    process: &BundleProcess,
    users: Option<&Users>,
    socket: &OwnedFd,
    open: impl FnOnce() -> Result<(OwnedFd, OwnedFd)>,
) -> Result<()> {
    let connected = "connect standard streams";
    if process.terminal {
        let (master, slave) = open()?;
        if let Some((rows, columns)) = process.size {
            let size = rustix::termios::Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            rustix::termios::tcsetwinsize(&slave, size).step("set the terminal's size")?;
        }
        crate::wire::send_terminal(socket, &master)?;
        rustix::process::ioctl_tiocsctty(&slave).step("take the terminal")?;
        rustix::stdio::dup2_stdin(&slave).step(connected)?;
        rustix::stdio::dup2_stdout(&slave).step(connected)?;
        rustix::stdio::dup2_stderr(&slave).step(connected)?;
    }
    let (uid, gid) = match users {
        Some(users) => users.ids.owner(process.uid, process.gid)?,
        None => (process.uid, process.gid),
    };
    let (stdin, stdout, stderr) = (
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    );
    for fd in [stdin, stdout, stderr] {
        // The caller may have closed one.
        let Ok(stat) = rustix::fs::fstat(fd) else {
            continue;
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let given = match kind {
            FileType::Fifo | FileType::Socket => {
                (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            }
            // A terminal keeps its group, which is that of terminals.
            FileType::CharacterDevice if process.terminal => (Some(Uid::from_raw(uid)), None),
            _ => continue,
        };
        // One that belongs to somebody else stays so: the caller passed it on as it is.
        let _ = rustix::fs::fchown(fd.as_fd(), given.0, given.1);
    }
    Ok(())
}

/// The file that takes the label of the next program; opened as long as the host's `/proc` is there.
pub fn label_file(process: &BundleProcess) -> Result<Option<(std::fs::File, &str)>> {
    let Some((text, file)) = &process.label else {
        return Ok(None);
    };
    let path = format!("/proc/self/attr/{file}");
    let opened = std::fs::File::options().write(true).open(&path);
    let opened = opened.step(format!("set the security label {text:?} ({path})"))?;
    Ok(Some((opened, text)))
}
