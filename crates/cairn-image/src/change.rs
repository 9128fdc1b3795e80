//! Dockerfile instructions applied to what an image document says of its process: `--change` of `commit`.
//!
//! CMD, ENTRYPOINT, ENV, LABEL, EXPOSE, VOLUME, STOPSIGNAL, HEALTHCHECK, ONBUILD, USER and WORKDIR, with
//! the grammar of a Dockerfile: quotes, escapes, several pairs in one line, the JSON form. Variables
//! (`$NAME`) are expanded from the environment of the configuration where a Dockerfile expands them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

mod words;

#[cfg(test)]
use words::unquoted;
use words::{expand, pairs, split_words};

const KNOWN: &str =
    "CMD, ENTRYPOINT, ENV, LABEL, EXPOSE, VOLUME, STOPSIGNAL, HEALTHCHECK, ONBUILD, USER, WORKDIR";

/// The field `config` of a document after these instructions, one after the other.
pub fn apply(config: Value, instructions: &[String]) -> Result<Value> {
    let mut change = Change {
        config: match config {
            Value::Object(fields) => fields,
            _ => Map::new(),
        },
        cmd_given: false,
    };
    for instruction in instructions {
        change.instruction(instruction).map_err(|why| {
            let shown: String = instruction.chars().take(100).collect();
            Error::invalid(format!("change {shown:?}"), why)
        })?;
    }
    Ok(Value::Object(change.config))
}

struct Change {
    config: Map<String, Value>,
    /// True after a CMD: an ENTRYPOINT then does not take it back.
    cmd_given: bool,
}

type Outcome<T = ()> = std::result::Result<T, String>;

impl Change {
    fn instruction(&mut self, text: &str) -> Outcome {
        let text = text.trim();
        // `NAME=VALUE` is taken for `NAME VALUE`, as Docker's older clients wrote it.
        let (name, rest) = text
            .find(|c: char| c.is_whitespace() || c == '=')
            .map_or((text, ""), |at| (&text[..at], &text[at + 1..]));
        let rest = rest.trim();
        let name = name.to_ascii_uppercase();
        if rest.is_empty() && !matches!(name.as_str(), "CMD" | "ENTRYPOINT") {
            return Err(if KNOWN.split(", ").any(|known| known == name) {
                format!("{name} needs an argument")
            } else {
                format!("supported are {KNOWN}")
            });
        }
        match name.as_str() {
            "CMD" => {
                let words = self.command(rest)?;
                self.set("Cmd", words);
                self.cmd_given = true;
            }
            "ENTRYPOINT" => {
                let words = self.command(rest)?;
                self.set("Entrypoint", words);
                // The command of the image below is that of another entrypoint.
                if !self.cmd_given {
                    self.config.remove("Cmd");
                }
            }
            "ENV" => {
                let env = self.environment();
                for (name, value) in pairs(rest)? {
                    self.set_env(&expand(&name, &env)?, &expand(&value, &env)?)?;
                }
            }
            "LABEL" => {
                let env = self.environment();
                for (name, value) in pairs(rest)? {
                    let (name, value) = (expand(&name, &env)?, expand(&value, &env)?);
                    self.object("Labels").insert(name, json!(value));
                }
            }
            "EXPOSE" => self.expose(rest)?,
            "VOLUME" => self.volume(rest)?,
            "STOPSIGNAL" => self.stop_signal(rest)?,
            "HEALTHCHECK" => {
                let check = healthcheck(rest)?;
                self.set("Healthcheck", check);
            }
            "ONBUILD" => self.on_build(rest)?,
            "USER" => {
                let user = expand(rest, &self.environment())?;
                if split_words(rest).len() != 1 {
                    return Err("USER takes one argument".into());
                }
                self.set("User", json!(user));
            }
            "WORKDIR" => {
                let directory = expand(rest, &self.environment())?;
                let before = self.config.get("WorkingDir").and_then(Value::as_str);
                let directory = below(before.unwrap_or_default(), &directory);
                self.set("WorkingDir", json!(directory));
            }
            _ => return Err(format!("supported are {KNOWN}")),
        }
        Ok(())
    }

    fn expose(&mut self, rest: &str) -> Outcome {
        let env = self.environment();
        for word in split_words(rest) {
            for port in ports(&expand(&word, &env)?)? {
                self.object("ExposedPorts").insert(port, json!({}));
            }
        }
        Ok(())
    }

    fn volume(&mut self, rest: &str) -> Outcome {
        let env = self.environment();
        let volumes = match json_words(rest)? {
            Some(words) => words,
            None => split_words(rest),
        };
        if volumes.is_empty() {
            return Err("VOLUME needs an argument".into());
        }
        for volume in volumes {
            let volume = expand(&volume, &env)?;
            if volume.trim().is_empty() {
                return Err("a volume needs a name".into());
            }
            self.object("Volumes").insert(volume, json!({}));
        }
        Ok(())
    }

    fn stop_signal(&mut self, rest: &str) -> Outcome {
        let signal = expand(rest, &self.environment())?;
        if is_signal(&signal) {
            self.set("StopSignal", json!(signal));
            return Ok(());
        }
        let help = "use a name or number, such as SIGTERM or 15";
        Err(format!("{signal:?} is not a signal; {help}"))
    }

    fn on_build(&mut self, rest: &str) -> Outcome {
        let trigger = rest.split_whitespace().next().unwrap_or_default();
        let trigger = trigger.to_ascii_uppercase();
        if matches!(trigger.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            return Err(format!("{trigger} cannot be used in ONBUILD"));
        }
        match self.config.get_mut("OnBuild") {
            Some(Value::Array(triggers)) => triggers.push(json!(rest)),
            _ => self.set("OnBuild", json!([rest])),
        }
        Ok(())
    }

    /// A JSON list, or a line for the image's shell.
    fn command(&self, text: &str) -> Outcome<Value> {
        if let Some(words) = json_words(text)? {
            return Ok(json!(words));
        }
        if text.is_empty() {
            return Ok(json!([]));
        }
        let mut words = match self.config.get("Shell") {
            Some(Value::Array(shell)) if !shell.is_empty() => shell.clone(),
            _ => vec![json!("/bin/sh"), json!("-c")],
        };
        words.push(json!(text));
        Ok(Value::Array(words))
    }

    fn set(&mut self, field: &str, value: Value) {
        self.config.insert(field.to_owned(), value);
    }

    /// The object in a field, made if there is none.
    fn object(&mut self, field: &str) -> &mut Map<String, Value> {
        let value = self.config.entry(field).or_insert_with(|| json!({}));
        if !value.is_object() {
            *value = json!({});
        }
        match value {
            Value::Object(fields) => fields,
            _ => unreachable!("BUG: it was made an object"),
        }
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let env = self.config.get("Env").and_then(Value::as_array);
        env.into_iter()
            .flatten()
            .filter_map(|variable| variable.as_str()?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn set_env(&mut self, name: &str, value: &str) -> Outcome {
        if name.is_empty() {
            return Err("a variable needs a name".into());
        }
        let mut env = match self.config.remove("Env") {
            Some(Value::Array(env)) => env,
            _ => Vec::new(),
        };
        let full = json!(format!("{name}={value}"));
        let has_name = |variable: &Value| {
            let text = variable.as_str().unwrap_or_default();
            text.split_once('=').map_or(text, |(name, _)| name) == name
        };
        // A variable keeps its place.
        match env.iter().position(has_name) {
            Some(at) => env[at] = full,
            None => env.push(full),
        }
        self.set("Env", Value::Array(env));
        Ok(())
    }
}

/// The words of the JSON form; `None` where the text is none.
fn json_words(text: &str) -> Outcome<Option<Vec<String>>> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    match serde_json::from_str::<Vec<Value>>(text) {
        Ok(words) => {
            let word = |word: &Value| word.as_str().map(str::to_owned);
            let words: Option<Vec<String>> = words.iter().map(word).collect();
            let why = || "the words of a JSON list must be strings".to_owned();
            Ok(Some(words.ok_or_else(why)?))
        }
        // `[ -f x ] && y` is a command for the shell, as in a Dockerfile.
        Err(_) => Ok(None),
    }
}

/// `PORT[-PORT][/PROTOCOL]`, as single ports.
fn ports(text: &str) -> Outcome<Vec<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(format!(
            "{text:?} is not a port; use for example 80, 80/udp or 8000-8010"
        )),
    };
    let (first, last) = (number(first)?, number(last)?);
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!(
            "{protocol:?} is not a protocol; use tcp, udp or sctp"
        ));
    }
    if first > last {
        return Err(format!("the range {range} ends before it starts"));
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

fn is_signal(text: &str) -> bool {
    const NAMES: &str = " ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU UNUSED URG USR1 USR2 VTALRM WINCH XCPU XFSZ ";
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let realtime = |offset: Option<&str>, max: u8| {
        offset
            .is_some_and(|o| o.is_empty() || o[1..].parse::<u8>().is_ok_and(|n| n > 0 && n <= max))
    };
    let after = |prefix: &str, sign: char| {
        let rest = name.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with(sign)).then_some(rest)
    };
    NAMES.contains(&format!(" {name} "))
        || realtime(after("RTMIN", '+'), 15)
        || realtime(after("RTMAX", '-'), 14)
}

/// `NONE`, or options and `CMD …`.
fn healthcheck(text: &str) -> Outcome<Value> {
    let mut check = Map::new();
    let mut rest = text;
    loop {
        let (word, after) = rest
            .split_once(char::is_whitespace)
            .map_or((rest, ""), |(word, after)| (word, after.trim_start()));
        if let Some(option) = word.strip_prefix("--") {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| format!("write --{option}=VALUE"))?;
            let (field, value) = match name {
                "interval" => ("Interval", json!(duration(value)?)),
                "timeout" => ("Timeout", json!(duration(value)?)),
                "start-period" => ("StartPeriod", json!(duration(value)?)),
                "start-interval" => ("StartInterval", json!(duration(value)?)),
                "retries" => {
                    let why = |_| format!("{value:?} is not a number of retries");
                    ("Retries", json!(value.parse::<u32>().map_err(why)?))
                }
                _ => return Err(format!("HEALTHCHECK has no option --{name}")),
            };
            check.insert(field.to_owned(), value);
            rest = after;
            continue;
        }
        let test = match word.to_ascii_uppercase().as_str() {
            "NONE" if after.is_empty() && check.is_empty() => json!(["NONE"]),
            "NONE" => return Err("HEALTHCHECK NONE takes no arguments".into()),
            "CMD" if after.is_empty() => return Err("HEALTHCHECK CMD needs a command".into()),
            "CMD" => match json_words(after)? {
                Some(words) if words.is_empty() => {
                    return Err("HEALTHCHECK CMD needs a command".into());
                }
                Some(words) => {
                    let words = std::iter::once("CMD".to_owned()).chain(words);
                    json!(words.collect::<Vec<_>>())
                }
                None => json!(["CMD-SHELL", after]),
            },
            _ => return Err("HEALTHCHECK takes options, then CMD or NONE".into()),
        };
        check.insert("Test".to_owned(), test);
        return Ok(Value::Object(check));
    }
}

/// A time as Go writes it, `1m30s`, in nanoseconds.
fn duration(text: &str) -> Outcome<i64> {
    let bad = || format!("{text:?} is not a duration; use for example 30s, 5m or 1h30m");
    let mut rest = text;
    let mut total: f64 = 0.0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() && rest != "0" {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(bad()),
            };
        rest = &rest[unit..];
    }
    // Docker takes none below a millisecond, and zero for its default.
    if total != 0.0 && !(1e6..9e18).contains(&total) {
        return Err(format!("{text:?} is shorter than 1ms, or too long"));
    }
    Ok(total as i64)
}

/// A directory as seen from another one.
fn below(before: &str, directory: &str) -> String {
    let full = if directory.starts_with('/') {
        directory.to_owned()
    } else {
        format!("/{before}/{directory}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in full.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests;
