//! A user namespace for this process: by itself with one id, or with more by newuidmap(1) and newgidmap(1).

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::subids::{Line, Maps, text};
use crate::error::{Error, Result, Step};

const STEP: &str = "create a user namespace (they may be disabled on this system)";

/// Makes a namespace with the ids that every user may map: their own.
pub(super) fn alone(maps: &Maps) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER).step(STEP)?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", text(&maps.uids)),
        ("gid_map", text(&maps.gids)),
    ] {
        std::fs::write(format!("/proc/self/{file}"), text)
            .step(format!("write {file} of the user namespace"))?;
    }
    Ok(())
}

/// Makes one with subordinate ids and enters it. A child is in it first: the helpers have to be started
/// outside.
pub(super) fn with_helpers(maps: &Maps) -> Result<()> {
    let (answer, say) = std::io::pipe().step(STEP)?;
    let (wait, let_go) = std::io::pipe().step(STEP)?;
    let Some(child) = cairn_sys::fork_alone(false).step(STEP)? else {
        drop((answer, let_go));
        hold(say, wait)
    };
    drop((say, wait));
    let entered = map_and_enter(child, answer, maps);
    drop(let_go);
    let _ = waitpid(Pid::from_raw(child), None);
    entered
}

/// In the child: makes the namespace and keeps it until the parent is in it.
fn hold(mut say: PipeWriter, mut wait: PipeReader) -> ! {
    let done = unshare(CloneFlags::CLONE_NEWUSER);
    let code = done.err().map_or(0, |e| e as i32);
    // Where nobody listens any more there is nothing to hold.
    let _ = say.write_all(&code.to_ne_bytes());
    let _ = wait.read(&mut [0]);
    std::process::exit(0)
}

fn map_and_enter(child: i32, mut answer: PipeReader, maps: &Maps) -> Result<()> {
    let mut code = [0; 4];
    answer.read_exact(&mut code).step(STEP)?;
    match i32::from_ne_bytes(code) {
        0 => {}
        code => return Err(std::io::Error::from_raw_os_error(code)).step(STEP),
    }
    help("newuidmap", child, &maps.uids)?;
    help("newgidmap", child, &maps.gids)?;
    let path = format!("/proc/{child}/ns/user");
    let namespace = File::open(&path).step(format!("open {path}"))?;
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWUSER).step("enter the user namespace")
}

/// Has a helper with the privilege to do so write a map.
fn help(program: &str, child: i32, lines: &[Line]) -> Result<()> {
    let numbers = lines
        .iter()
        .flat_map(|line| [line.inside, line.outside, line.count]);
    let done = Command::new(program)
        .arg(child.to_string())
        .args(numbers.map(|number| number.to_string()))
        .output();
    let output = match done {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Invalid(format!(
                "{program} is not installed; it comes with the package uidmap (or shadow-utils)"
            )));
        }
        done => done.step(format!("start {program}"))?,
    };
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Invalid(format!("{program} refused: {words}")))
}
