//! `cairn events`, and the events of images that commands cause.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use cairn_model::{ImageRef, Moment};
use cairn_repo::Repo;
use cairn_runtime::{Event, EventReader};

use super::Env;
use crate::args::Events;
use crate::output::{self, Usage};

/// How often a follower looks.
const INTERVAL: Duration = Duration::from_millis(200);

/// Writes down what happened to an image.
pub fn image(repo: &Repo, action: &str, id: &impl ToString, name: Option<&ImageRef>) {
    let event = Event::now("image", action, &id.to_string());
    let event = match name {
        Some(name) => event.named(&name.to_string()),
        None => event,
    };
    event.write(repo.root());
}

/// Writes down that a collection freed so many bytes.
pub fn gc(repo: &Repo, freed_bytes: u64) {
    Event::now("repository", "gc", "gc")
        .with("freed_bytes", freed_bytes)
        .write(repo.root());
}

/// `cairn events`
pub fn events(env: &Env, args: &Events) -> Result<()> {
    let filters = args.filter.iter().map(|text| Filter::parse(text));
    let filters = filters.collect::<Result<Vec<_>>>()?;
    Repo::require(&env.root)?;
    let mut reader = match args.since {
        Some(_) => EventReader::from_start(&env.root),
        None if args.until.is_some_and(|until| until <= Moment::now()) => {
            EventReader::from_start(&env.root)
        }
        None => EventReader::from_end(&env.root),
    };
    loop {
        // Before they are read: what happens later is for the next time.
        let over = args.until.is_some_and(|until| until <= Moment::now());
        for event in reader.read()? {
            let Ok(time) = event.time.parse::<Moment>() else {
                continue;
            };
            let within = args.since.is_none_or(|since| time >= since)
                && args.until.is_none_or(|until| time < until);
            if within && matches(&filters, &event) {
                print(env, &event)?;
            }
        }
        output::Stdout.flush().ok();
        if over || output::is_broken() {
            return Ok(());
        }
        std::thread::sleep(INTERVAL);
    }
}

fn print(env: &Env, event: &Event) -> Result<()> {
    if env.json {
        let line = output::json_line(&serde_json::to_value(event)?)?;
        output::raw(line.as_bytes());
        return Ok(());
    }
    let name = event.name.as_ref().map(|name| format!(" ({name})"));
    let attributes = event.attributes.iter();
    let attributes: String = attributes
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    println!(
        "{} {} {} {}{}{attributes}",
        event.time,
        event.kind,
        event.action,
        event.id,
        name.unwrap_or_default()
    );
    Ok(())
}

/// What an event has to be to be shown; of several values for one name any will do.
struct Filter {
    name: &'static str,
    value: String,
}

const NAMES: [&str; 5] = ["type", "event", "container", "image", "volume"];

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('=');
        let known = parts.and_then(|(name, value)| {
            let name = NAMES.into_iter().find(|known| *known == name)?;
            Some((name, value))
        });
        match known {
            Some((name, value)) if !value.is_empty() => Ok(Self {
                name,
                value: value.to_owned(),
            }),
            _ => Err(Usage(format!(
                "--filter {text}: must be type=, event=, container=, image= or volume= with a value"
            ))
            .into()),
        }
    }

    fn accepts(&self, event: &Event) -> bool {
        let value = &self.value;
        let is_it = || {
            let of_attributes = event.attributes.get("image").map(String::as_str);
            let begins =
                value.len() >= 4 && event.id.trim_start_matches("sha256:").starts_with(value);
            let named = event.name.as_deref() == Some(value) || event.id == *value;
            named || begins || self.name == "image" && of_attributes == Some(value)
        };
        match self.name {
            "type" => event.kind == *value,
            "event" => event.action == *value,
            // Containers have an image, too.
            "image" => (event.kind == "image" || event.attributes.contains_key("image")) && is_it(),
            kind => event.kind == kind && is_it(),
        }
    }
}

fn matches(filters: &[Filter], event: &Event) -> bool {
    NAMES.iter().all(|name| {
        let mut of_name = filters.iter().filter(|f| f.name == *name).peekable();
        of_name.peek().is_none() || of_name.any(|filter| filter.accepts(event))
    })
}
