//! `pin`, `unpin`, `expire`.

use std::time::Duration;

use anyhow::Result;
use cairn_repo::{Images, Repo, time};

use super::Env;
use super::stop::told_of;
use crate::args::AgeOrNever;
use crate::output::Usage;

/// The end of the year 9999.
const LAST_SECS: i64 = 253_402_300_799;

/// Does the same to each image, and says what became of each.
fn each(
    env: &Env,
    verb: &str,
    references: &[String],
    change: impl Fn(&Images<'_>, &str) -> cairn_repo::Result<bool>,
) -> Result<u8> {
    let repo: Repo = env.open()?;
    let images = repo.images();
    let outcomes = references
        .iter()
        .map(|reference| (reference.clone(), change(&images, reference).map(drop)));
    told_of(env, verb, outcomes.collect())
}

/// `cairn pin`
pub fn pin(env: &Env, images: &[String]) -> Result<u8> {
    each(env, "pinned", images, |images, reference| {
        images.pin(reference)
    })
}

/// `cairn unpin`
pub fn unpin(env: &Env, images: &[String]) -> Result<u8> {
    each(env, "unpinned", images, |images, reference| {
        images.unpin(reference)
    })
}

/// The time after this one, seconds since 1970.
pub fn from_now(age: Duration) -> Result<i64> {
    let age = i64::try_from(age.as_secs()).ok();
    let at = age.and_then(|age| time::now_secs().checked_add(age));
    // A year of more than four digits is no date of RFC 3339.
    let at = at.filter(|at| *at <= LAST_SECS);
    Ok(at.ok_or_else(|| Usage("the time is too far away; let it never expire".to_owned()))?)
}

/// `cairn expire`
pub fn expire(env: &Env, after: AgeOrNever, images: &[String]) -> Result<u8> {
    let at = match after {
        AgeOrNever::Never => None,
        AgeOrNever::After(age) => Some(from_now(age)?),
    };
    each(env, "changed", images, |images, reference| {
        images.expire(reference, at)
    })
}
