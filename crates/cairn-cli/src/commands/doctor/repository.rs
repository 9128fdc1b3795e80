//! The repository: whether it opens, what it is, when it was looked after, and whether anything is known to be wrong.

use cairn_repo::{Repo, Retention, time};

use crate::commands::Env;
use crate::output::ago;
use crate::report::doctor::Finding;

const AREA: &str = "repository";
/// A clock that is this far behind what was written down was set back.
const CLOCK_SECS_MAX: i64 = 3600;
const DAY_SECS: i64 = 86_400;
/// A check that is older than this is worth a word.
const CHECK_DAYS_MAX: i64 = 90;

pub(super) fn look(env: &Env) -> Vec<Finding> {
    let place = env.root.display().to_string();
    if !env.root.join("format").exists() && !env.root.join("packs").exists() {
        let says = format!("none at {place} yet");
        return vec![Finding::ok(AREA, "format", says)];
    }
    let settings = match env.settings() {
        Ok(settings) => settings,
        Err(e) => {
            let found = Finding::ok(AREA, "settings", cairn_model::one_line(e.as_ref()));
            return vec![found.problem("correct the line, or remove it")];
        }
    };
    let rules = rules(&settings.retention);
    match Repo::open(&env.root, env.options_by(&settings)) {
        Err(e) => {
            let found = Finding::ok(AREA, "format", cairn_model::one_line(&e));
            vec![found.problem(format!("run \"cairn check\"; the repository is at {place}"))]
        }
        Ok(repo) => {
            let mut all = vec![format(&repo), writable(&repo), driver(&repo), images(&repo)];
            all.extend([rules, last_gc(&repo), last_check(&repo), clock(&repo)]);
            all
        }
    }
}

fn format(repo: &Repo) -> Finding {
    let mut features = Vec::new();
    if let Some(base) = repo.store().base() {
        features.push(format!("feature base, above {}", base.root().display()));
    }
    if repo.store().has_frames() {
        features.push("feature frames".to_owned());
    }
    let features = match features.is_empty() {
        true => "no features".to_owned(),
        false => features.join(", "),
    };
    let says = format!("{}, {features}", repo.root().display());
    Finding::ok(AREA, "format", says)
}

fn writable(repo: &Repo) -> Finding {
    match cairn_store::can_write(repo.root()) {
        true => Finding::ok(AREA, "access", "can be written"),
        false => Finding::ok(AREA, "access", "can only be read")
            .warn("import, run and gc need to write; use the owner's account, or remount it"),
    }
}

fn driver(repo: &Repo) -> Finding {
    let report = match repo.views().report() {
        Ok(report) => report,
        Err(e) => {
            return Finding::ok(AREA, "driver", cairn_model::one_line(&e))
                .warn("views cannot be tried here; \"cairn export\" works without");
        }
    };
    let why = match (report.forced, report.refused.first()) {
        (true, _) => "named with --driver or in cairn.toml".to_owned(),
        (_, None) => "the best there is".to_owned(),
        (_, Some((better, why))) => format!("the best that works; {better} does not: {why}"),
    };
    let packs = super::super::driver::packs(&report.packs);
    let found = Finding::ok(
        AREA,
        "driver",
        format!("{} ({why}); {packs}", report.driver),
    );
    match report.driver {
        cairn_model::Driver::Copy if !report.forced => found.warn(
            "every container takes a full copy of its image; see \"Which driver you get\" in docs/install.md",
        ),
        _ => found,
    }
}

fn images(repo: &Repo) -> Finding {
    let listed = match repo.images().list() {
        Ok(listed) => listed,
        Err(e) => {
            return Finding::ok(AREA, "images", cairn_model::one_line(&e))
                .problem("run \"cairn check --repair\"");
        }
    };
    let damaged = listed.iter().filter(|image| image.image.is_err()).count();
    let found = Finding::ok(
        AREA,
        "images",
        format!("{}, {damaged} damaged", listed.len()),
    );
    match damaged {
        0 => found,
        _ => found.problem("\"cairn images\" names them; import them again, or remove them"),
    }
}

fn rules(retention: &Retention) -> Finding {
    let count = retention.rules.len();
    let found = Finding::ok(AREA, "rules", format!("{count} rules for gc"));
    match retention.contradictions().into_iter().next() {
        None => found,
        Some(why) => found.warn(format!("{why}; see \"cairn config get gc.rules\"")),
    }
}

fn last_gc(repo: &Repo) -> Finding {
    let behind = repo.gc().behind();
    let says = match repo.last_job() {
        None => "has not run here yet".to_owned(),
        Some(last) => format!(
            "{}, freed {}",
            ago(last.ended_secs),
            crate::output::size(last.freed_bytes)
        ),
    };
    let found = Finding::ok(AREA, "last gc", says);
    match behind {
        None => found,
        Some(why) => found.warn(format!(
            "{why}; run \"cairn gc\", or use its timer (contrib/systemd)"
        )),
    }
}

fn last_check(repo: &Repo) -> Finding {
    let Some(last) = repo.last_check() else {
        return Finding::ok(AREA, "last check", "has not run here yet");
    };
    let says = format!("{} ({})", ago(last.ended_secs), last.extent);
    let found = Finding::ok(AREA, "last check", says);
    if !last.sound {
        let advice = format!(
            "it found {} faults; run \"cairn check\", then \"cairn check --repair\"",
            last.faults
        );
        return found.problem(advice);
    }
    match time::now_secs() - last.ended_secs > CHECK_DAYS_MAX * DAY_SECS {
        true => found.warn("run \"cairn check --max-age 30d\" from a timer"),
        false => found,
    }
}

/// The newest moment that anything here was written down at.
fn newest(repo: &Repo) -> i64 {
    let listed = repo.images().list().unwrap_or_default();
    let imported = listed.iter().map(|image| image.row.imported);
    let done = [
        repo.last_job().map(|last| last.ended_secs),
        repo.last_check().map(|last| last.ended_secs),
    ];
    imported
        .chain(done.into_iter().flatten())
        .max()
        .unwrap_or(0)
}

fn clock(repo: &Repo) -> Finding {
    let ahead = newest(repo) - time::now_secs();
    match ahead > CLOCK_SECS_MAX {
        false => Finding::ok(AREA, "clock", "nothing here is from the future"),
        true => {
            let says = format!("something here is {} hours from the future", ahead / 3600);
            Finding::ok(AREA, "clock", says)
                .warn("set the clock; rules of gc take what is from the future for new")
        }
    }
}
