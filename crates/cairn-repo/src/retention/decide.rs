//! What becomes of each image, by rules, pins and dates. Pure: everything it looks at is handed in.

use std::collections::{BTreeMap, HashMap};

use cairn_model::{Digest, ImageRef};
use serde::Serialize;

use super::rule::Rule;

/// What is known of an image.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub id: Digest,
    pub names: Vec<ImageRef>,
    pub labels: BTreeMap<String, String>,
    /// When it came, seconds since 1970.
    pub imported: i64,
    /// When it was last prepared for use.
    pub used: i64,
    pub pinned: bool,
    /// When it is to go, whatever the rules say.
    pub expires: Option<i64>,
    /// Why it cannot be removed now.
    pub in_use: Option<String>,
}

impl Candidate {
    /// The decision that it goes because others need the room.
    pub(crate) fn going_for_room(&self) -> Decision {
        Decision {
            id: self.id,
            name: None,
            remove: true,
            rule: None,
            why: "used least lately, and room is needed".to_owned(),
        }
    }
}

/// What becomes of one name of an image, or of an image without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// Id of the image.
    #[serde(serialize_with = "crate::report::text")]
    pub id: Digest,
    /// The name that it is about.
    pub name: Option<String>,
    /// True where it is removed.
    pub remove: bool,
    /// The rule that decided, counted from 1.
    pub rule: Option<usize>,
    /// Why, in words.
    pub why: String,
}

/// A name among those that a rule decides over.
struct Place<'a> {
    image: &'a Candidate,
    name: Option<&'a ImageRef>,
}

/// Decides over all names and all images without one. The clock may have jumped: what seems to come from the
/// future is new.
pub(crate) fn decide(images: &[Candidate], rules: &[Rule], now: i64) -> Vec<Decision> {
    let places = images.iter().flat_map(|image| {
        let names = image.names.iter().map(move |name| Place {
            image,
            name: Some(name),
        });
        let none = image
            .names
            .is_empty()
            .then_some(Place { image, name: None });
        names.chain(none)
    });
    let places: Vec<Place<'_>> = places.collect();
    let fitting: Vec<Option<usize>> = places.iter().map(|place| place.rule(rules)).collect();
    let ranks = ranks(&places, &fitting);
    let decided = places.iter().zip(&fitting).zip(&ranks);
    decided
        .map(|((place, rule), rank)| place.decision(*rule, rules, *rank, now))
        .collect()
}

/// How many of the same rule and repository name are newer.
fn ranks(places: &[Place<'_>], fitting: &[Option<usize>]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    // Of those that came in the same second, the one with the higher name counts as newer.
    order.sort_by(|a, b| {
        let age = |at: &usize| {
            let place = &places[*at];
            (place.image.imported, place.name, place.image.id)
        };
        age(b).cmp(&age(a))
    });
    let mut counts: HashMap<(Option<usize>, &str), u32> = HashMap::new();
    let mut ranks = vec![0; places.len()];
    for at in order {
        let repository = places[at].name.map_or("", ImageRef::repository);
        let count = counts.entry((fitting[at], repository)).or_default();
        ranks[at] = *count;
        *count += 1;
    }
    ranks
}

impl Place<'_> {
    fn rule(&self, rules: &[Rule]) -> Option<usize> {
        let name = self.name.map(ToString::to_string);
        let label = |key: &str| self.image.labels.get(key).cloned();
        rules
            .iter()
            .position(|rule| rule.fits(name.as_deref(), &label))
    }

    fn decision(&self, rule: Option<usize>, rules: &[Rule], rank: u32, now: i64) -> Decision {
        let image = self.image;
        let expired = image.expires.is_some_and(|at| at <= now);
        let (remove, why) = match (rule, &image.in_use) {
            _ if image.pinned => (false, "pinned".to_owned()),
            // A name can go where another one stays, but then the image is not removed for it.
            (_, Some(user)) => (false, user.clone()),
            _ if expired => (true, "its time has expired".to_owned()),
            (None, None) => (false, "no rule is about it".to_owned()),
            (Some(number), None) => self.by_rule(&rules[number], rank, now),
        };
        Decision {
            id: image.id,
            name: self.name.map(ToString::to_string),
            remove,
            rule: rule
                .filter(|_| !image.pinned && image.in_use.is_none() && !expired)
                .map(|n| n + 1),
            why,
        }
    }

    fn by_rule(&self, rule: &Rule, rank: u32, now: i64) -> (bool, String) {
        let age = |since: i64| u64::try_from(now - since).unwrap_or(0);
        if rule.keep {
            return (false, "kept by name or label".to_owned());
        }
        if rule.keep_last.is_some_and(|last| rank < last) {
            return (false, "among the newest of its name".to_owned());
        }
        if rule
            .keep_within
            .is_some_and(|within| age(self.image.imported) < within.as_secs())
        {
            return (false, "it came lately".to_owned());
        }
        if rule
            .unused_for
            .is_some_and(|unused| age(self.image.used) < unused.as_secs())
        {
            return (false, "it was used lately".to_owned());
        }
        (true, "nothing in the rule keeps it".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rule::parse_rules;
    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1000 * DAY;

    fn image(number: u8, names: &[&str], days: i64) -> Candidate {
        Candidate {
            id: Digest::from_bytes([number; 32]),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            labels: BTreeMap::new(),
            imported: NOW - days * DAY,
            used: NOW - days * DAY,
            pinned: false,
            expires: None,
            in_use: None,
        }
    }

    fn removed(images: &[Candidate], rules: &str) -> Vec<String> {
        let rules = parse_rules(rules).unwrap();
        let decided = decide(images, &rules, NOW).into_iter();
        let name = |d: Decision| d.name.unwrap_or_else(|| d.id.hex()[..2].to_owned());
        decided.filter(|d| d.remove).map(name).collect()
    }

    #[test]
    fn the_newest_of_each_name_stay() {
        let images = [
            image(1, &["app:1"], 30),
            image(2, &["app:2"], 20),
            image(3, &["app:3", "web:1"], 10),
            image(4, &["web:2"], 40),
        ];
        assert_eq!(removed(&images, "keep-last=1"), ["app:1", "app:2", "web:2"]);
        assert_eq!(removed(&images, "match=app:*,keep-last=2"), ["app:1"]);
        assert_eq!(
            removed(&images, "match=app:*,keep-last=1,keep-within=25d"),
            ["app:1"]
        );
        assert_eq!(
            removed(&images, "match=web:*,keep; remove"),
            ["app:1", "app:2", "app:3"]
        );
        assert_eq!(removed(&images, ""), [""; 0]);
    }

    #[test]
    fn pins_and_users_win_over_rules_and_dates_over_no_rule() {
        let mut images = [
            image(1, &["a:1"], 5),
            image(2, &["b:1"], 5),
            image(3, &["c:1"], 5),
            image(4, &[], 5),
        ];
        images[0].pinned = true;
        images[1].in_use = Some("container web uses it".to_owned());
        images[2].expires = Some(NOW - 1);
        assert_eq!(removed(&images, "remove"), ["c:1"]);
        assert_eq!(removed(&images, "keep"), ["c:1"]);
        assert_eq!(removed(&images, "unnamed,remove"), ["c:1", "04"]);
        images[0].expires = Some(0);
        images[1].expires = Some(0);
        assert_eq!(removed(&images, ""), ["c:1"]);
    }

    #[test]
    fn what_seems_to_come_from_the_future_is_new() {
        let images = [image(1, &["a:1"], -5000)];
        assert_eq!(removed(&images, "keep-within=1d"), [""; 0]);
        assert_eq!(removed(&images, "unused-for=1d"), [""; 0]);
    }

    proptest! {
        #[test]
        fn what_is_pinned_or_in_use_is_never_removed(
            flags in prop::collection::vec((any::<bool>(), any::<bool>(), -50_i64..100), 0..8),
            rules in prop::sample::select(vec!["remove", "keep-last=1", "unused-for=1d;remove", "unnamed,remove;remove", ""]),
        ) {
            let images: Vec<Candidate> = flags.iter().zip(1..).map(|((pinned, used, days), n)| {
                let name = format!("i{}:{n}", n % 3);
                Candidate {
                    pinned: *pinned,
                    in_use: used.then(|| "x".to_owned()),
                    expires: (days % 2 == 0).then_some(0),
                    ..image(n, &[&name], *days)
                }
            }).collect();
            let decided = decide(&images, &parse_rules(rules).unwrap(), NOW);
            prop_assert_eq!(decided.len(), images.len());
            for (decision, image) in decided.iter().zip(&images) {
                prop_assert!(!(decision.remove && (image.pinned || image.in_use.is_some())));
            }
        }
    }
}
