//! `cairn oci ps`

use std::process::Command;

use anyhow::{Context, Result, bail};
use cairn_oci::Container;
use cairn_runtime::group_members;

use crate::output;

/// Prints the numbers of a container's processes, or their lines of ps(1).
pub fn ps(container: &Container, json: bool, options: Vec<String>) -> Result<()> {
    let members = group_members(container.group());
    if json {
        return Ok(output::report(&members)?);
    }
    let options = match options.is_empty() {
        true => vec!["-ef".to_owned()],
        false => options,
    };
    let done = Command::new("ps")
        .args(options)
        .output()
        .context("run ps")?;
    if !done.status.success() {
        bail!("ps: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    let text = String::from_utf8_lossy(&done.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|word| word == "PID");
    let column = column.context("the output of ps has no column PID")?;
    println!("{head}");
    for line in lines {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|word| word.parse().ok());
        if pid.is_some_and(|pid: i32| members.contains(&pid)) {
            println!("{line}");
        }
    }
    Ok(())
}
