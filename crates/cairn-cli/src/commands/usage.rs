//! `cairn stats CONTAINER…`: what containers use now.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use cairn_container::{Measured, Usage};

use super::Env;
use crate::output::{self, Table, size};

const INTERVAL: Duration = Duration::from_secs(1);

/// `cairn stats CONTAINER…`
pub fn usage(env: &Env, names: &[String], once: bool) -> Result<()> {
    let repo = env.open()?;
    let all = names.iter().map(|name| Measured::find(&repo, name));
    let mut all = all.collect::<cairn_container::Result<Vec<_>>>()?;
    // From here on nothing holds the database.
    drop(repo);
    // Shares of time need two moments.
    all.iter_mut().for_each(|one| drop(one.measure()));
    let screen = !once && !env.json && std::io::stdout().is_terminal();
    loop {
        std::thread::sleep(INTERVAL);
        let (mut usages, mut left) = (Vec::new(), Vec::new());
        for mut one in all {
            if let Some(usage) = one.measure() {
                usages.push(usage);
                left.push(one);
            }
        }
        all = left;
        if screen {
            // The top left corner, and nothing below it.
            output::raw(b"\x1b[H\x1b[J");
        }
        match (env.json, once) {
            (true, true) => output::report(&usages)?,
            (true, false) => {
                for usage in &usages {
                    let line = output::json_line(&serde_json::to_value(usage)?)?;
                    output::raw(line.as_bytes());
                }
            }
            (false, _) => print(&usages)?,
        }
        std::io::Write::flush(&mut output::Stdout).ok();
        if once || all.is_empty() || output::is_broken() {
            return Ok(());
        }
    }
}

fn print(usages: &[Usage]) -> Result<()> {
    let mut table = Table::new(&[
        "NAME",
        ">CPU",
        ">MEMORY",
        ">LIMIT",
        ">MEM %",
        ">PIDS",
        ">NET IN/OUT",
        ">DISK IN/OUT",
    ]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let percent = |share: Option<f64>| or_dash(share.map(|share| format!("{share:.1}%")));
    let bytes = |bytes: Option<u64>| or_dash(bytes.map(size));
    for usage in usages {
        table.row(vec![
            usage.name.clone(),
            percent(usage.cpu_percent),
            bytes(usage.memory_bytes),
            bytes(usage.memory_limit_bytes),
            percent(usage.memory_percent),
            or_dash(usage.pids.map(|pids| pids.to_string())),
            format!(
                "{}/{}",
                bytes(usage.network_received_bytes),
                bytes(usage.network_sent_bytes)
            ),
            format!(
                "{}/{}",
                bytes(usage.block_read_bytes),
                bytes(usage.block_written_bytes)
            ),
        ]);
    }
    Ok(table.print()?)
}
