//! Assembles a filter program (linux/filter.h, linux/seccomp.h): architecture, then the call's number by a
//! binary search, then conditions on its arguments.
//!
//! Every piece ends in a return on each way through it and holds relative jumps only, so that pieces are put
//! together by putting one behind the other.

use super::document::{Action, Comparison, Condition};
use super::rules::{Table, Verdict};
pub use cairn_sys::BpfInstruction as Instruction;

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_GREATER_OR_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

/// Offsets in what a filter is given (struct seccomp_data).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Calls of x32 have this bit, and come as those of x86-64.
const X32: u32 = 0x4000_0000;
const ENOSYS: u32 = 38;

fn plain(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn test(code: u16, k: u32, jt: usize, jf: usize) -> Instruction {
    let near = |distance: usize| {
        u8::try_from(distance).unwrap_or_else(|_| unreachable!("BUG: a jump over {distance}"))
    };
    Instruction {
        code,
        jt: near(jt),
        jf: near(jf),
        k,
    }
}

fn result(action: Action) -> Instruction {
    let value = match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => 0,
        Action::Trap => 0x0003_0000,
        Action::Errno(number) => 0x0005_0000 | number,
        Action::Trace(data) => 0x7ff0_0000 | data,
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    };
    plain(RETURN, value)
}

/// The program for all tables. Calls of another architecture end the process.
pub fn assemble(tables: &[Table]) -> Vec<Instruction> {
    let mut program = vec![plain(LOAD, ARCHITECTURE)];
    for table in tables {
        let body = calls(table);
        let number = table.architecture.audit_number();
        // A far jump over the body for all others.
        program.push(test(IF_EQUAL, number, 1, 0));
        program.push(plain(JUMP, body.len() as u32));
        program.extend(body);
    }
    program.push(result(Action::KillProcess));
    program
}

/// What happens to the numbers from `first` on, up to the next leaf's.
struct Leaf {
    first: u32,
    code: Vec<Instruction>,
}

fn calls(table: &Table) -> Vec<Instruction> {
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut put = |first: u32, code: Vec<Instruction>| {
        // It begins anew at the same number, or goes on as before.
        leaves.pop_if(|last| last.first == first);
        if leaves.last().is_none_or(|last| last.code != code) {
            leaves.push(Leaf { first, code });
        }
    };
    let newest = table.newest();
    put(0, vec![result(table.default)]);
    for (number, verdict) in &table.calls {
        put(*number, leaf(verdict));
        let after = match newest {
            Some(newest) if *number >= newest => table.newer,
            _ => table.default,
        };
        put(number + 1, vec![result(after)]);
    }
    if table.architecture == super::calls::Architecture::X86_64 {
        put(X32, vec![result(Action::Errno(ENOSYS))]);
    }
    let mut code = vec![plain(LOAD, NUMBER)];
    code.extend(select(&leaves));
    code
}

/// Finds the leaf of the number that is loaded.
fn select(leaves: &[Leaf]) -> Vec<Instruction> {
    if let [only] = leaves {
        return only.code.clone();
    }
    let (low, high) = leaves.split_at(leaves.len() / 2);
    let Some(first) = high.first() else {
        return Vec::new();
    };
    let (low, above) = (select(low), select(high));
    let mut code = if low.len() <= usize::from(u8::MAX) {
        vec![test(IF_GREATER_OR_EQUAL, first.first, low.len(), 0)]
    } else {
        vec![
            test(IF_GREATER_OR_EQUAL, first.first, 0, 1),
            plain(JUMP, low.len() as u32),
        ]
    };
    code.extend(low);
    code.extend(above);
    code
}

fn leaf(verdict: &Verdict) -> Vec<Instruction> {
    let mut code = Vec::new();
    for (conditions, action) in &verdict.cases {
        // From the last to the first: a condition has to know how far it is to the end.
        let mut case = vec![result(*action)];
        for condition in conditions.iter().rev() {
            let mut longer = check(condition, case.len());
            longer.extend(case);
            case = longer;
        }
        code.extend(case);
    }
    code.push(result(verdict.otherwise));
    code
}

/// Goes on where the condition holds, and jumps over the `rest` that follows where it does not. An argument has
/// 64 bits, a program's word 32.
fn check(condition: &Condition, rest: usize) -> Vec<Instruction> {
    let low = plain(LOAD, ARGUMENTS + 8 * condition.index);
    let high = plain(LOAD, ARGUMENTS + 8 * condition.index + 4);
    let (h, l) = ((condition.value >> 32) as u32, condition.value as u32);
    // Greater or equal by this test of the lower half, or less where that is not wanted.
    let ordered = |test_of_low: u16, wanted: bool| {
        let (yes, no) = if wanted { (0, rest) } else { (rest, 0) };
        vec![
            high,
            test(IF_GREATER, h, 3 + yes, 0),
            test(IF_EQUAL, h, 0, 2 + no),
            low,
            test(test_of_low, l, yes, no),
        ]
    };
    match condition.comparison {
        Comparison::Equal => vec![
            high,
            test(IF_EQUAL, h, 0, 2 + rest),
            low,
            test(IF_EQUAL, l, 0, rest),
        ],
        Comparison::NotEqual => vec![
            high,
            test(IF_EQUAL, h, 0, 2),
            low,
            test(IF_EQUAL, l, rest, 0),
        ],
        Comparison::GreaterOrEqual => ordered(IF_GREATER_OR_EQUAL, true),
        Comparison::Greater => ordered(IF_GREATER, true),
        Comparison::Less => ordered(IF_GREATER_OR_EQUAL, false),
        Comparison::LessOrEqual => ordered(IF_GREATER, false),
        Comparison::Masked(mask) => vec![
            high,
            plain(AND, (mask >> 32) as u32),
            test(IF_EQUAL, h, 0, 3 + rest),
            low,
            plain(AND, mask as u32),
            test(IF_EQUAL, l, 0, rest),
        ],
    }
}
