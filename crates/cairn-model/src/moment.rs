//! A point in time, as documents and logs write it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A point in time to the nanosecond, in UTC; written as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    secs: i64,
    nanos: u32,
}

/// Text that is not a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 2026-11-26T08:30:00Z, or seconds since 1970")]
pub struct NotAMoment;

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let now = crate::clock::timestamp();
        Self {
            secs: now.secs,
            nanos: now.nanos,
        }
    }

    /// A number of seconds after the beginning of 1970.
    pub fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }

    /// Seconds since the beginning of 1970.
    pub fn secs(&self) -> i64 {
        self.secs
    }

    /// The moment that lies this much earlier.
    pub fn earlier(self, by: Duration) -> Self {
        let secs = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        let (borrow, nanos) = match self.nanos.checked_sub(by.subsec_nanos()) {
            Some(nanos) => (0, nanos),
            None => (1, self.nanos + 1_000_000_000 - by.subsec_nanos()),
        };
        Self {
            secs: self.secs.saturating_sub(secs).saturating_sub(borrow),
            nanos,
        }
    }
}

/// Year, month and day of a day counted from 1970 (civil-from-days of H. Hinnant's "chrono-Compatible
/// Low-Level Date Algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days.saturating_add(719_468);
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month, doy - (153 * mp + 2) / 5 + 1)
}

/// The day, counted from 1970, of a date: the way back.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.secs.div_euclid(86_400));
        let rest = self.secs.rem_euclid(86_400);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
            rest / 3600,
            rest / 60 % 60,
            rest % 60,
            self.nanos
        )
    }
}

/// The number that these digits are.
fn number(digits: &str) -> Option<i64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Nanoseconds of the digits behind a point.
fn fraction(digits: &str) -> Option<u32> {
    let kept = &digits.get(..digits.len().min(9))?;
    let plain = number(digits.get(..digits.len().min(18))?).is_some();
    let value = u32::try_from(number(kept)?).ok()?;
    plain.then(|| value * 10_u32.pow(9 - kept.len() as u32))
}

fn rfc3339(text: &str) -> Option<Moment> {
    let (date, time) = text
        .split_once(['T', 't', ' '])
        .unwrap_or((text, "00:00:00Z"));
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else {
        return None;
    };
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    let zone = time.find(['Z', 'z', '+', '-']);
    let (time, zone) = zone.map_or((time, "Z"), |at| time.split_at(at));
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let seconds = number(hours)? * 3600 + number(minutes)? * 60;
            if zone.starts_with('-') {
                -seconds
            } else {
                seconds
            }
        }
    };
    let (time, nanos) = match time.split_once('.') {
        Some((time, digits)) => (time, fraction(digits)?),
        None => (time, 0),
    };
    let mut parts = time.split(':').map(number);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let valid = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..=9999).contains(&year)
        && hour < 24
        && minute < 60
        && second <= 60
        && offset.abs() < 86_400
        && parts.next().is_none();
    let secs = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    valid.then_some(Moment { secs, nanos })
}

impl FromStr for Moment {
    type Err = NotAMoment;

    /// RFC 3339, whose time of day, seconds and zone may be left out, or seconds since 1970 with an optional
    /// fraction.
    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        let (secs, digits) = text.split_once('.').unwrap_or((text, "0"));
        if let Some(secs) = number(secs) {
            let nanos = fraction(digits).ok_or(NotAMoment)?;
            return Ok(Self { secs, nanos });
        }
        rfc3339(text).ok_or(NotAMoment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read_back() {
        for (secs, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_827_696, 5, "2000-02-29T12:34:56.000000005Z"),
            (4_102_444_800, 999_999_999, "2100-01-01T00:00:00.999999999Z"),
        ] {
            let moment = Moment { secs, nanos };
            assert_eq!(moment.to_string(), text);
            assert_eq!(text.parse(), Ok(moment));
        }
        let at = |text: &str| text.parse::<Moment>().map(|m| (m.secs, m.nanos));
        assert_eq!(at("2000-02-29"), Ok((951_782_400, 0)));
        assert_eq!(at("2000-02-29T14:34+02:00"), Ok((951_827_640, 0)));
        assert_eq!(at("951827696.25"), Ok((951_827_696, 250_000_000)));
        assert_eq!(at("0"), Ok((0, 0)));
        for bad in [
            "",
            "x",
            "2000-13-01",
            "2000-02",
            "1.x",
            "2000-02-29T25:00Z",
            "-5",
            "2000-02-29T12:00:00+5",
            "2000-02-29T12:00:00.Z",
            "99999999999999999999",
            "é-1-1",
        ] {
            assert_eq!(at(bad), Err(NotAMoment), "{bad}");
        }
    }

    #[test]
    fn earlier_borrows_seconds() {
        let moment = Moment { secs: 10, nanos: 1 };
        assert_eq!(
            moment.earlier(Duration::new(2, 2)),
            Moment {
                secs: 7,
                nanos: 999_999_999
            }
        );
        assert_eq!(moment.earlier(Duration::MAX).secs, 10 - i64::MAX - 1);
    }
}
