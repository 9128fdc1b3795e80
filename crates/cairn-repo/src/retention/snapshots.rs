//! What becomes of each snapshot that has a date or that a rule is about. Pure: everything it looks at is handed in.

use std::collections::{HashMap, HashSet};

use cairn_model::{Moment, SnapshotKey};
use cairn_snapshot::Labels;
use serde::Serialize;

use super::rule::Rule;

/// Label of a snapshot that goes with the first collection after this time (RFC 3339).
pub const EXPIRES: &str = "cairn.expires";

/// What is known of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotCandidate {
    pub key: SnapshotKey,
    pub parent: Option<SnapshotKey>,
    pub labels: Labels,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// Why it cannot be removed now.
    pub in_use: Option<String>,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SnapshotDecision {
    /// Its key or name.
    #[serde(serialize_with = "crate::report::text")]
    pub name: SnapshotKey,
    /// True where it is removed.
    pub remove: bool,
    /// The rule that decided, counted from 1.
    pub rule: Option<usize>,
    /// Why, in words.
    pub why: String,
}

/// Decides over snapshots that have a date or are those of a rule; nothing is said of the others. One that others
/// stand on goes only if all of these go. In the order in which they are to be removed.
pub(crate) fn decide_snapshots(
    all: &[SnapshotCandidate],
    rules: &[Rule],
    now: i64,
) -> Vec<SnapshotDecision> {
    let mut out: Vec<SnapshotDecision> = all
        .iter()
        .filter_map(|snapshot| snapshot.decision(rules, now))
        .collect();
    loop {
        let going: HashSet<&SnapshotKey> =
            out.iter().filter(|d| d.remove).map(|d| &d.name).collect();
        let kept = all.iter().filter(|snapshot| !going.contains(&snapshot.key));
        let found = kept.filter_map(|child| Some((child, child.parent.as_ref()?)));
        let found = found.filter(|(_, parent)| going.contains(parent));
        let stays: Vec<(SnapshotKey, String)> = found
            .map(|(child, parent)| {
                (
                    parent.clone(),
                    format!("snapshot {} stands on it", child.key),
                )
            })
            .collect();
        if stays.is_empty() {
            break;
        }
        for decision in &mut out {
            if let Some((_, why)) = stays.iter().find(|(key, _)| *key == decision.name) {
                (decision.remove, decision.rule) = (false, None);
                decision.why.clone_from(why);
            }
        }
    }
    sort_from_the_top(&mut out, all);
    out
}

/// Those that stand on others first.
fn sort_from_the_top(decisions: &mut [SnapshotDecision], all: &[SnapshotCandidate]) {
    let parents = all
        .iter()
        .filter_map(|snapshot| Some((&snapshot.key, snapshot.parent.as_ref()?)));
    let parents: HashMap<&SnapshotKey, &SnapshotKey> = parents.collect();
    decisions.sort_by_cached_key(|decision| {
        let chain = std::iter::successors(Some(&decision.name), |key| parents.get(*key).copied());
        // No chain is longer; a circle is damage, and not looked at here.
        let depth = chain.take(all.len()).count();
        (std::cmp::Reverse(depth), decision.name.to_string())
    });
}

impl SnapshotCandidate {
    fn decision(&self, rules: &[Rule], now: i64) -> Option<SnapshotDecision> {
        let expires = self.labels.get(EXPIRES).map(|text| text.parse::<Moment>());
        let name = self.key.to_string();
        let label = |key: &str| self.labels.get(key).cloned();
        let rule = rules
            .iter()
            .position(|rule| rule.fits_snapshot(&name, &label));
        if expires.is_none() && rule.is_none() {
            return None;
        }
        let is_over = matches!(&expires, Some(Ok(at)) if at.secs() <= now);
        let (remove, rule, why) = match (&self.in_use, rule) {
            (Some(user), _) => (false, None, user.clone()),
            _ if is_over => (true, None, "its time has expired".to_owned()),
            (None, Some(number)) => {
                let (remove, why) = self.by_rule(&rules[number], now);
                (remove, Some(number + 1), why)
            }
            _ => match expires {
                Some(Err(e)) => (
                    false,
                    None,
                    format!("its label {EXPIRES} says nothing: {e}"),
                ),
                _ => (false, None, "its time has not come".to_owned()),
            },
        };
        Some(SnapshotDecision {
            name: self.key.clone(),
            remove,
            rule,
            why,
        })
    }

    fn by_rule(&self, rule: &Rule, now: i64) -> (bool, String) {
        // What seems to come from the future is new: the clock may have jumped.
        let age = u64::try_from(now.saturating_sub(self.created)).unwrap_or(0);
        if rule.keep {
            return (false, "kept by name or label".to_owned());
        }
        match rule.keep_within {
            Some(within) if age < within.as_secs() => (false, "it was made lately".to_owned()),
            _ => (true, "nothing in the rule keeps it".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_rules;
    use super::*;

    const NOW: i64 = 1_000_000;

    fn snapshot(key: &str, parent: Option<&str>, expires: Option<i64>) -> SnapshotCandidate {
        let label = |secs| (EXPIRES.to_owned(), Moment::from_secs(secs).to_string());
        SnapshotCandidate {
            key: key.parse().unwrap(),
            parent: parent.map(|parent| parent.parse().unwrap()),
            labels: expires.map(label).into_iter().collect(),
            created: NOW - 1000,
            in_use: None,
        }
    }

    fn removed(all: &[SnapshotCandidate], rules: &str) -> Vec<String> {
        let decided = decide_snapshots(all, &parse_rules(rules).unwrap(), NOW);
        let going = decided.into_iter().filter(|d| d.remove);
        going.map(|d| d.name.to_string()).collect()
    }

    #[test]
    fn what_has_expired_goes_from_the_top_down_and_what_others_stand_on_stays() {
        let mut all = [
            snapshot("base", None, Some(NOW)),
            snapshot("middle", Some("base"), Some(NOW - 1)),
            snapshot("top", Some("middle"), Some(NOW - 1)),
            snapshot("other", None, Some(NOW + 1)),
            snapshot("none", None, None),
        ];
        assert_eq!(removed(&all, ""), ["top", "middle", "base"]);
        assert_eq!(decide_snapshots(&all, &[], NOW).len(), 4);
        all[2].in_use = Some("container web uses it".to_owned());
        assert_eq!(removed(&all, ""), [""; 0]);
        let decided = decide_snapshots(&all, &[], NOW);
        let why = |key: &str| {
            &decided
                .iter()
                .find(|d| d.name.to_string() == key)
                .unwrap()
                .why
        };
        assert_eq!(why("top"), "container web uses it");
        assert_eq!(why("middle"), "snapshot top stands on it");
        assert_eq!(why("base"), "snapshot middle stands on it");
        assert_eq!(why("other"), "its time has not come");
        all[2].in_use = None;
        all[0].labels.insert(EXPIRES.to_owned(), "soon".to_owned());
        assert_eq!(removed(&all, ""), ["top", "middle"]);
    }

    #[test]
    fn rules_are_about_snapshots_only_where_they_say_so() {
        let mut all = [
            snapshot("ci/1", None, None),
            snapshot("ci/2", None, None),
            snapshot("work", None, None),
        ];
        all[1].created = NOW - 100;
        all[2].labels.insert("owner".to_owned(), "me".to_owned());
        assert_eq!(removed(&all, "remove"), [""; 0]);
        assert_eq!(removed(&all, "snapshots,remove"), ["ci/1", "ci/2", "work"]);
        assert_eq!(
            removed(&all, "snapshots,match=ci/*,keep-within=200s"),
            ["ci/1"]
        );
        assert_eq!(
            removed(&all, "snapshots,label=owner,keep; snapshots,remove"),
            ["ci/1", "ci/2"]
        );
        // One from the future is new.
        all[0].created = NOW + 5000;
        assert_eq!(
            removed(&all, "snapshots,match=ci/*,keep-within=50s"),
            ["ci/2"]
        );
        for bad in [
            "snapshots,keep-last=1",
            "snapshots,unused-for=1d",
            "snapshots,unnamed,remove",
            "snapshots",
            "snapshots=x,remove",
        ] {
            assert!(parse_rules(bad).is_err(), "{bad}");
        }
    }
}
