//! Programs against the rules they were made of, whatever the rules.

use proptest::prelude::*;

use super::super::calls::Architecture;
use super::super::document::{Action, Comparison, Condition};
use super::super::program::assemble;
use super::super::rules::{Table, Verdict};
use super::{ALLOW, errno, run};

/// Conditions, and the errno where they hold.
type Case = (Vec<(u32, Comparison, u64)>, u32);

fn comparison() -> impl Strategy<Value = Comparison> {
    prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::Less),
        Just(Comparison::LessOrEqual),
        Just(Comparison::Greater),
        Just(Comparison::GreaterOrEqual),
        number().prop_map(Comparison::Masked),
    ]
}

/// Numbers close to each other, in both halves.
fn number() -> impl Strategy<Value = u64> {
    (0_u64..4, 0_u64..4).prop_map(|(high, low)| high << 32 | low)
}

fn holds(condition: &Condition, args: &[u64; 6]) -> bool {
    let arg = args[condition.index as usize];
    match condition.comparison {
        Comparison::Equal => arg == condition.value,
        Comparison::NotEqual => arg != condition.value,
        Comparison::Less => arg < condition.value,
        Comparison::LessOrEqual => arg <= condition.value,
        Comparison::Greater => arg > condition.value,
        Comparison::GreaterOrEqual => arg >= condition.value,
        Comparison::Masked(mask) => arg & mask == condition.value,
    }
}

proptest! {
    #[test]
    fn programs_do_what_rules_say(
        calls in proptest::collection::btree_map(
            0_u32..600,
            (
                proptest::collection::vec(
                    (proptest::collection::vec((0_u32..6, comparison(), number()), 1..4), 1_u32..4),
                    0..4,
                ),
                1_u32..4,
            ),
            0..60,
        ),
        asked in proptest::collection::vec((0_u32..620, proptest::array::uniform6(number())), 40),
    ) {
        let verdict = |(cases, otherwise): (Vec<Case>, u32)| Verdict {
            cases: cases
                .into_iter()
                .map(|(conditions, action)| {
                    let conditions = conditions
                        .into_iter()
                        .map(|(index, comparison, value)| Condition { index, comparison, value });
                    (conditions.collect(), Action::Errno(action))
                })
                .collect(),
            otherwise: Action::Errno(otherwise),
        };
        let table = Table {
            architecture: Architecture::X86_64,
            calls: calls.into_iter().map(|(n, v)| (n, verdict(v))).collect(),
            default: Action::Allow,
            newer: Action::Errno(38),
        };
        let program = assemble(std::slice::from_ref(&table));
        let named: Vec<u32> = table.calls.keys().copied().collect();
        let asked = asked.into_iter().chain(named.into_iter().map(|n| (n, [0; 6])));
        for (number, args) in asked {
            let newest = table.newest();
            let expected = match table.calls.get(&number) {
                Some(verdict) => verdict
                    .cases
                    .iter()
                    .find(|(conditions, _)| conditions.iter().all(|c| holds(c, &args)))
                    .map_or(verdict.otherwise, |(_, action)| *action),
                None if newest.is_some_and(|newest| number > newest) => table.newer,
                None => table.default,
            };
            let expected = match expected {
                Action::Errno(n) => errno(n),
                _ => ALLOW,
            };
            let audit = Architecture::X86_64.audit_number();
            prop_assert_eq!(run(&program, audit, number, args), expected);
        }
    }
}
