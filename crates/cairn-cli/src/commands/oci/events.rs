//! `cairn oci events`

use std::time::Duration;

use anyhow::Result;
use cairn_oci::{Container, Root, Status, figures};
use serde_json::{Value, json};

use crate::output::{self, Usage};

/// How often it is looked whether the container ended or ran out of memory.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Prints figures once, or again and again until the container has ended.
pub fn events(root: &Root, id: &str, once: bool, interval: &str) -> Result<()> {
    let container = root.get(id)?;
    if container.status() == Status::Stopped {
        return Err(cairn_oci::Error::Refused(format!("container not running: {id}")).into());
    }
    if once {
        return print("stats", id, serde_json::to_value(figures(&container))?);
    }
    let every = duration(interval)?;
    let mut waited = every;
    let mut kills = figures(&container).memory.oom_kills;
    while container.status() != Status::Stopped && !output::is_broken() {
        if waited >= every {
            print("stats", id, serde_json::to_value(figures(&container))?)?;
            waited = Duration::ZERO;
        }
        kills = out_of_memory(&container, kills)?;
        std::thread::sleep(LOOK_AGAIN);
        waited += LOOK_AGAIN;
    }
    Ok(())
}

fn out_of_memory(container: &Container, before: u64) -> Result<u64> {
    let now = figures(container).memory.oom_kills;
    if now > before {
        print("oom", container.id(), Value::Null)?;
    }
    Ok(now)
}

/// One object on one line.
fn print(kind: &str, id: &str, data: Value) -> Result<()> {
    let mut event = json!({"type": kind, "id": id});
    if !data.is_null() {
        event["data"] = data;
    }
    println!("{event}");
    Ok(())
}

/// As Go writes it: `5s`, `500ms`, `2m`.
fn duration(text: &str) -> Result<Duration> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let all = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(milliseconds));
    match all.filter(|all| *all > 0) {
        Some(all) => Ok(Duration::from_millis(all)),
        None => Err(Usage(format!("--interval {text}: write a time as 5s")).into()),
    }
}
