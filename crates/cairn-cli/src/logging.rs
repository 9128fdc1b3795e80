//! The log that `--log` and `CAIRN_LOG` ask for: spans and events of all crates, on standard error. Without a
//! filter nothing is set up, and an event costs one look at a number.
//!
//! A container in the background has no standard error, and its init none of the caller's variables: neither
//! logs. A monitor in the foreground does where `CAIRN_LOG` is set.

use clap::ValueEnum;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// `debug`, `cairn_store=trace,info`: a level, levels of crates or modules, or both. Nothing, as in a variable that was
/// emptied, is off.
pub fn filter(text: &str) -> Result<Targets, String> {
    if text.is_empty() {
        return Ok(Targets::new());
    }
    for part in text.split(',') {
        let (target, level) = part.rsplit_once('=').unwrap_or(("cairn", part));
        if !LEVELS.contains(&level) || !target.starts_with("cairn") {
            return Err(format!(
                "{part:?} is not a filter; use error, warn, info, debug, trace or off, as in info or \
                 cairn_store=debug"
            ));
        }
    }
    text.parse::<Targets>().map_err(|e| e.to_string())
}

/// Starts the log; from here on events that pass the filter are written.
pub fn start(filter: Targets, format: LogFormat) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Standard error may be gone; there is nobody left to tell.
        .log_internal_errors(false)
        .with_span_events(FmtSpan::CLOSE);
    let registry = tracing_subscriber::registry().with(filter);
    // It is only refused where there is one already, and this is the only call.
    let _ = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(registry.with(lines)),
        LogFormat::Json => tracing::subscriber::set_global_default(
            registry.with(lines.json().flatten_event(true).with_current_span(false)),
        ),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_and_targets_and_nothing_else() {
        for good in [
            "info",
            "off",
            "",
            "cairn_store=trace",
            "cairn_repo::gc=debug,warn",
        ] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in [
            "loud",
            "store=debug",
            "cairn_store=",
            "info,",
            "=debug",
            "sled=trace",
        ] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
