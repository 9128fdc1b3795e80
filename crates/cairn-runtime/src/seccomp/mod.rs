//! Which system calls a process may make: a seccomp document, compiled to a filter program for the kernel
//! (seccomp(2)).
//!
//! A [`Document`] is JSON as Docker (`archMap`, rules that depend on capabilities, architecture and kernel) or
//! the OCI runtime specification (`architectures`, `flags`) have it. [`Document::compile`] chooses its rules
//! for a process and turns them into a [`Filter`]. What the document says and this launcher cannot do is
//! refused by name, and so is a document that would come out laxer than it reads.
//!
//! Three things hold whatever the document says:
//! - Calls of an architecture that it does not name end the process; x32 calls answer ENOSYS.
//! - Where its default is an errno, calls with a higher number than any that it names answer ENOSYS: they are
//!   newer than the document, and C libraries fall back to older ones.
//! - Of the rules for a call, those with conditions are tried first, in their order; of those without, the
//!   strictest counts.

mod calls;
mod document;
mod program;
mod rules;
mod written;

use serde::{Deserialize, Serialize};

pub use self::document::Document;
use crate::capability::Capabilities;
use crate::error::{Error, Result, Step};

/// As many instructions as the kernel takes (BPF_MAXINSNS).
const INSTRUCTIONS_MAX: usize = 4096;

/// What rules of a document may depend on.
#[derive(Debug, Clone)]
pub struct Circumstances<'a> {
    /// What the process may do at most.
    pub capabilities: &'a Capabilities,
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
}

impl<'a> Circumstances<'a> {
    /// A process with these capabilities on this kernel.
    pub fn here(capabilities: &'a Capabilities) -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            capabilities,
            // A kernel that does not say is taken for an old one.
            kernel: document::version(&release).unwrap_or((0, 0)),
        }
    }
}

/// A filter program, ready for the kernel.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Where its rules are from, for people: `default` or the path of a document.
    pub profile: String,
    /// Flags of seccomp(2).
    flags: u32,
    /// Its instructions, each as 16 hexadecimal digits.
    program: String,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.program.len() / 16;
        write!(f, "Filter({}, {count} instructions)", self.profile)
    }
}

impl Filter {
    fn new(profile: &str, flags: u32, program: &[program::Instruction]) -> Result<Self> {
        if program.len() > INSTRUCTIONS_MAX {
            return Err(Error::Invalid(format!(
                "seccomp profile {profile}: its filter has {} instructions, but the kernel takes at most {INSTRUCTIONS_MAX}; use fewer rules with conditions",
                program.len()
            )));
        }
        let words = program
            .iter()
            .map(|i| format!("{:04x}{:02x}{:02x}{:08x}", i.code, i.jt, i.jf, i.k));
        Ok(Self {
            profile: profile.to_owned(),
            flags,
            program: words.collect(),
        })
    }

    fn instructions(&self) -> Result<Vec<program::Instruction>> {
        let broken = || Error::Invalid("the launch spec holds a broken seccomp filter".into());
        let words = self.program.as_bytes().chunks(16).map(|word| {
            let word = std::str::from_utf8(word).ok();
            let word = word.and_then(|word| u64::from_str_radix(word, 16).ok())?;
            Some(program::Instruction {
                code: (word >> 48) as u16,
                jt: (word >> 40) as u8,
                jf: (word >> 32) as u8,
                k: word as u32,
            })
        });
        words.collect::<Option<_>>().ok_or_else(broken)
    }

    /// Puts the calling thread, and what it becomes, under the filter for good. Needs no_new_privs, or
    /// CAP_SYS_ADMIN in its user namespace.
    pub fn install(&self) -> Result<()> {
        cairn_sys::install_seccomp_filter(&self.instructions()?, self.flags)
            .step("install the seccomp filter")
    }
}

#[cfg(test)]
mod tests;
