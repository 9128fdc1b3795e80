//! How often to try, and how long to wait between two attempts.

use std::time::{Duration, Instant};

use cairn_model::Watch;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Again, Failure};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Longest wait that a registry may ask for; whoever wants more is told to come back later.
const ASKED_WAIT_MAX: Duration = Duration::from_secs(120);
/// A sleeper looks this often whether it is still wanted.
const STEP: Duration = Duration::from_millis(50);

/// Attempts at one thing.
#[derive(Debug)]
pub(crate) struct Tries {
    failed: u32,
    max: u32,
}

impl Tries {
    /// `retries` attempts after the first one.
    pub fn new(retries: u32) -> Self {
        Self {
            failed: 0,
            max: retries,
        }
    }

    /// Something came: what fails now fails for the first time.
    pub fn forgive(&mut self) {
        self.failed = 0;
    }

    /// Waits until it is time for the next attempt; gives the failure back where there is none.
    pub fn next(&mut self, failure: Failure, watch: &Watch) -> Result<(), Failure> {
        let asked = match failure.again {
            Again::Never => return Err(failure),
            Again::Soon => Duration::ZERO,
            Again::After(asked) if asked > ASKED_WAIT_MAX => {
                let why = format!("{}; try again in {} s", failure.why, asked.as_secs());
                return Err(Failure { why, ..failure });
            }
            Again::After(asked) => asked,
        };
        if self.failed >= self.max {
            let why = match self.max {
                0 => failure.why,
                _ => format!("{} ({} attempts)", failure.why, self.failed + 1),
            };
            return Err(Failure { why, ..failure });
        }
        let wait = backed_off(self.failed, random()).max(asked);
        self.failed += 1;
        tracing::info!(why = failure.why, ms = wait.as_millis() as u64, "try again");
        let until = Instant::now() + wait;
        loop {
            watch.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(STEP));
        }
    }
}

/// Twice as long each time, and by chance between half and all of it: those who failed together do not come
/// back together.
fn backed_off(failed: u32, chance: u8) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(1 << failed.min(16)).min(WAIT_MAX);
    whole / 2 + whole.mul_f64(f64::from(chance) / 512.0)
}

fn random() -> u8 {
    let mut byte = [0];
    // Without chance it is half the time, which is right as well.
    let _ = getrandom(&mut byte[..], GetRandomFlags::NONBLOCK);
    byte[0]
}

/// `Retry-After`: seconds. A date, which the specification allows as well, counts as "later".
pub(crate) fn retry_after(header: Option<&str>) -> Again {
    match header.map(|text| text.trim().parse::<u64>()) {
        Some(Ok(seconds)) => Again::After(Duration::from_secs(seconds)),
        _ => Again::Soon,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_bounded() {
        let ms = |failed, chance| backed_off(failed, chance).as_millis();
        assert_eq!((ms(0, 0), ms(1, 0), ms(2, 0)), (100, 200, 400));
        assert!(ms(0, 255) < 200 && ms(0, 255) > 190);
        assert!(ms(60, 255) <= WAIT_MAX.as_millis() && ms(u32::MAX, 0) >= WAIT_MAX.as_millis() / 2);
    }

    #[test]
    fn what_cannot_get_better_is_not_tried_again() {
        let watch = Watch::default();
        let mut tries = Tries::new(5);
        assert!(tries.next(Failure::wrong("x"), &watch).is_err());
        let far = Failure {
            again: retry_after(Some("86400")),
            ..Failure::passing("busy")
        };
        let told = tries.next(far, &watch).unwrap_err();
        assert_eq!(told.why, "busy; try again in 86400 s");
        assert_eq!(retry_after(Some("-1")), Again::Soon);
        assert_eq!(
            retry_after(Some(" 7 ")),
            Again::After(Duration::from_secs(7))
        );
        watch.cancel();
        assert!(tries.next(Failure::passing("x"), &watch).is_err());
    }

    #[test]
    fn attempts_are_counted_until_something_comes() {
        let watch = Watch::default();
        let mut tries = Tries::new(1);
        assert!(tries.next(Failure::passing("x"), &watch).is_ok());
        assert!(tries.next(Failure::passing("x"), &watch).is_err());
        tries.forgive();
        assert!(tries.next(Failure::passing("x"), &watch).is_ok());
    }
}
