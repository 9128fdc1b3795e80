//! Rules and limits that contradict each other: each is followed as it is written, and what comes of it is told.

use super::{Retention, Rule};

impl Rule {
    /// True for a rule that is about every image with a name.
    fn fits_every_name(&self) -> bool {
        let any = |pattern: &String| pattern.chars().all(|c| c == '*');
        !self.unnamed && self.labels.is_empty() && self.pattern.as_ref().is_none_or(any)
    }

    /// True for a rule that is about images that `earlier` decides over already.
    fn is_hidden_by(&self, earlier: &Self) -> bool {
        let same = self.pattern == earlier.pattern
            && self.unnamed == earlier.unnamed
            && self.labels == earlier.labels;
        let all = earlier.fits_every_name() && !self.unnamed;
        self.snapshots == earlier.snapshots && (same || all)
    }
}

impl Retention {
    /// What of the rules and limits has no effect, in words.
    pub fn contradictions(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let hides = |earlier: &&Rule| rule.is_hidden_by(earlier);
            if let Some(earlier) = self.rules[..at].iter().find(hides) {
                out.push(format!(
                    "rule {} ({rule}) never decides, since {earlier:?} comes before it",
                    at + 1,
                    earlier = earlier.to_string()
                ));
            }
        }
        if self.used_max.is_some_and(|max| self.reserved >= max) {
            out.push(
                "gc.reserved is not below gc.max-used, so that nothing is removed to stay below it"
                    .to_owned(),
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_rules;
    use super::*;

    #[test]
    fn a_rule_that_never_decides_is_told() {
        let count = |rules: &str| {
            let rules = parse_rules(rules).unwrap();
            let retention = Retention {
                rules,
                ..Retention::default()
            };
            retention.contradictions().len()
        };
        for (rules, hidden) in [
            ("", 0),
            ("match=a,keep; remove", 0),
            ("remove; match=a,keep", 1),
            ("match=*,remove; match=a,keep; keep-last=1", 2),
            ("remove; unnamed,remove", 0),
            ("match=a,keep; match=a,remove", 1),
            ("label=x,keep; label=x=y,remove", 0),
            ("remove; snapshots,remove; snapshots,match=a,keep", 1),
        ] {
            assert_eq!(count(rules), hidden, "{rules}");
        }
        let limits = Retention {
            used_max: Some(10),
            reserved: 10,
            ..Retention::default()
        };
        assert_eq!(limits.contradictions().len(), 1);
    }
}
