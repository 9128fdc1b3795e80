//! `cairn generate`.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use cairn_repo::Repo;

use super::Env;
use crate::args::Generate;
use crate::output;

/// Beyond the time that a container has to stop, the manager waits this long before it kills, seconds.
const GRACE_SECS: u64 = 20;
/// What `cairn stop` waits where the container says nothing, seconds.
const STOP_SECS: u64 = 10;

/// `cairn generate …`
pub fn run(env: &Env, command: &Generate) -> Result<()> {
    match command {
        Generate::Systemd { container } => systemd(env, container),
    }
}

/// `cairn generate systemd`
fn systemd(env: &Env, name: &str) -> Result<()> {
    let repo = env.open()?;
    let container = repo.containers().find(name)?;
    let (_, spec) = cairn_container::info(&repo, name)?;
    let stop = spec
        .and_then(|spec| spec.stop_timeout_secs)
        .unwrap_or(STOP_SECS);
    let unit = unit(&repo, &container.name, stop)?;
    output::raw(unit.as_bytes());
    Ok(())
}

fn unit(repo: &Repo, name: &str, stop_secs: u64) -> Result<String> {
    let program = std::env::current_exe().context("find this program")?;
    let (program, root) = (program.to_string_lossy(), repo.root().to_string_lossy());
    let cairn = format!("{} --root {}", word(&program), word(&root));
    let name = word(name);
    let mut unit = String::new();
    let _ = write!(
        unit,
        "\
# The monitor of the container is the main process of this service: it says when the container runs, and its
# exit code is the container's. Output goes to the journal, and to \"cairn logs\" as ever.
[Unit]
Description=Cairn container {name}
Wants=network-online.target
After=network-online.target
RequiresMountsFor={}

[Service]
Type=notify
NotifyAccess=all
ExecStart={cairn} start --attach {name}
ExecStop={cairn} stop {name}
TimeoutStopSec={}
Restart=on-failure
KillMode=mixed
Delegate=yes

[Install]
WantedBy=multi-user.target
",
        word(&root),
        stop_secs.saturating_add(GRACE_SECS)
    );
    Ok(unit)
}

/// A word of a command line, as systemd reads it (systemd.service(5), systemd.unit(5)).
fn word(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' | '$' => out.extend([c, c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+,".contains(c);
    match text.chars().all(is_plain) && !text.is_empty() {
        true => text.to_owned(),
        false => out,
    }
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn words_are_what_systemd_reads_back() {
        for (text, written) in [
            ("/usr/bin/cairn", "/usr/bin/cairn"),
            ("a b", "\"a b\""),
            ("50%", "\"50%%\""),
            ("$HOME", "\"$$HOME\""),
            ("a\"b\\", "\"a\\\"b\\\\\""),
            ("a\nb", "\"a\\u000ab\""),
            ("", "\"\""),
        ] {
            assert_eq!(word(text), written);
        }
    }
}
