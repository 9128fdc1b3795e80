//! Sizes, times and shares as people write them.

use std::time::Duration;

use crate::Moment;

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    text.split_at(end.unwrap_or(text.len()))
}

fn number(text: &str) -> Result<f64, String> {
    let bad = || format!("{text:?} is not a number");
    text.parse().map_err(|_| bad())
}

/// `30d`, `12h`, `90m`, `45s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (amount, unit) = split(text);
    let secs = match unit {
        "d" => 86_400.0,
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        _ => return Err("expected a duration such as 30d, 12h, 90m or 45s".into()),
    };
    Duration::try_from_secs_f64(number(amount)? * secs).map_err(|e| e.to_string())
}

/// A time, or how long ago it was: `2026-11-26T08:30:00Z`, `10m`.
pub fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(ago) = duration(text) {
        return Ok(Moment::now().earlier(ago));
    }
    let expected = "expected a time such as 2026-11-26T08:30:00Z, or a duration such as 10m";
    text.parse().map_err(|_| expected.into())
}

/// `20M`, `512K`, `1G`, `1000000`; powers of 1000.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (amount, unit) = split(text);
    let factor = match unit.trim_end_matches('B') {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return Err("expected a size such as 512K, 20M or 1G".into()),
    };
    match number(amount)? * factor {
        bytes if (1.0..1e18).contains(&bytes) => Ok(bytes as u64),
        _ => Err("must be at least 1".into()),
    }
}

/// `5%` or `5`, as a share of 1.
pub fn percent(text: &str) -> Result<f64, String> {
    let percent = number(text.strip_suffix('%').unwrap_or(text))?;
    if percent > 0.0 && percent <= 100.0 {
        Ok(percent / 100.0)
    } else {
        Err("must be above 0% and at most 100%".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_nonsense_is_refused() {
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!((bytes("20M"), bytes("7")), (Ok(20_000_000), Ok(7)));
        assert_eq!((percent("5%"), percent("100")), (Ok(0.05), Ok(1.0)));
        for bad in ["", "d", "5", "5y", "-1d", "1..2d", "999999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "M", "0", "5T", "-3", "nan"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        for bad in ["", "0", "101%", "nan", "-5%"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }
}
