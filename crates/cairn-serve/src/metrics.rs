//! Figures of the server as a text file, for Prometheus's node exporter or whoever reads its format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tonic::Code;

use crate::error::{At, Result};

/// Upper bounds of the buckets of times, seconds.
const BUCKETS: [f64; 8] = [0.001, 0.003, 0.01, 0.03, 0.1, 1.0, 10.0, 60.0];

#[derive(Default)]
struct Method {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
    by_code: BTreeMap<String, u64>,
}

/// Figures of all calls.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<&'static str, Method>>);

impl Metrics {
    /// Notes a call.
    pub fn count(&self, method: &'static str, code: Code, took: Duration) {
        let mut methods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = methods.entry(method).or_default();
        let seconds = took.as_secs_f64();
        of.count += 1;
        of.seconds += seconds;
        *of.by_code.entry(format!("{code:?}")).or_default() += 1;
        let buckets = of.buckets.iter_mut().zip(BUCKETS);
        buckets
            .filter(|(_, bound)| seconds <= *bound)
            .for_each(|(bucket, _)| *bucket += 1);
    }

    fn text(&self) -> String {
        let methods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        // A string takes all that is written to it.
        let _ = calls(&methods, &mut out).and_then(|()| times(&methods, &mut out));
        out
    }

    /// Puts the figures in place of the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = Path::new(&name);
        std::fs::write(new, self.text()).at("write", new)?;
        std::fs::rename(new, path).at("put in place", path)
    }
}

type Methods = BTreeMap<&'static str, Method>;

fn calls(methods: &Methods, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "# HELP cairn_serve_calls_total Calls answered, by code."
    )?;
    writeln!(out, "# TYPE cairn_serve_calls_total counter")?;
    for (name, method) in methods {
        for (code, count) in &method.by_code {
            writeln!(
                out,
                "cairn_serve_calls_total{{method=\"{name}\",code=\"{code}\"}} {count}"
            )?;
        }
    }
    Ok(())
}

fn times(methods: &Methods, out: &mut String) -> std::fmt::Result {
    let of = "cairn_serve_call_seconds";
    writeln!(out, "# HELP {of} Time until a call was answered.")?;
    writeln!(out, "# TYPE {of} histogram")?;
    for (name, method) in methods {
        for (count, bound) in method.buckets.iter().zip(BUCKETS) {
            writeln!(
                out,
                "{of}_bucket{{method=\"{name}\",le=\"{bound}\"}} {count}"
            )?;
        }
        let (count, seconds) = (method.count, method.seconds);
        writeln!(out, "{of}_bucket{{method=\"{name}\",le=\"+Inf\"}} {count}")?;
        writeln!(out, "{of}_sum{{method=\"{name}\"}} {seconds}")?;
        writeln!(out, "{of}_count{{method=\"{name}\"}} {count}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_counted_by_method_and_code() {
        let metrics = Metrics::default();
        metrics.count("Stat", Code::Ok, Duration::from_millis(2));
        metrics.count("Stat", Code::NotFound, Duration::from_millis(20));
        let text = metrics.text();
        for line in [
            "cairn_serve_calls_total{method=\"Stat\",code=\"NotFound\"} 1",
            "cairn_serve_call_seconds_bucket{method=\"Stat\",le=\"0.003\"} 1",
            "cairn_serve_call_seconds_bucket{method=\"Stat\",le=\"+Inf\"} 2",
            "cairn_serve_call_seconds_count{method=\"Stat\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
