//! Architectures, and the numbers that system calls have on them.

/// An architecture whose calls a filter can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    X86_64,
    X86,
    Aarch64,
    Arm,
}

/// Architectures of libseccomp that no machine which runs this program can execute beside its own.
const FOREIGN: [&str; 17] = [
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PPC",
    "PPC64",
    "PPC64LE",
    "S390",
    "S390X",
    "PARISC",
    "PARISC64",
    "RISCV64",
    "LOONGARCH64",
    "M68K",
    "SHEB",
];

impl Architecture {
    /// That of this program; none where there are no tables for it.
    pub fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// By its name in documents, as `SCMP_ARCH_X86`. `Ok(None)` for those that cannot occur here, and for x32,
    /// whose calls answer ENOSYS in any case.
    pub fn named(name: &str) -> Result<Option<Self>, ()> {
        match name.strip_prefix("SCMP_ARCH_").ok_or(())? {
            "X86_64" => Ok(Some(Self::X86_64)),
            "X86" => Ok(Some(Self::X86)),
            "AARCH64" => Ok(Some(Self::Aarch64)),
            "ARM" => Ok(Some(Self::Arm)),
            "X32" => Ok(None),
            other if FOREIGN.contains(&other) => Ok(None),
            _ => Err(()),
        }
    }

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// True where a machine of architecture `native` can execute programs of this one.
    pub fn runs_on(self, native: Self) -> bool {
        self == native
            || (self, native) == (Self::X86, Self::X86_64)
            || (self, native) == (Self::Arm, Self::Aarch64)
    }

    /// As Docker's documents call it in conditions.
    pub fn in_conditions(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// As the kernel tells it to filters (linux/audit.h).
    pub fn audit_number(self) -> u32 {
        const MACHINE_X86_64: u32 = 62;
        const MACHINE_386: u32 = 3;
        const MACHINE_AARCH64: u32 = 183;
        const MACHINE_ARM: u32 = 40;
        const BITS_64: u32 = 0x8000_0000;
        const LITTLE_ENDIAN: u32 = 0x4000_0000;
        match self {
            Self::X86_64 => MACHINE_X86_64 | BITS_64 | LITTLE_ENDIAN,
            Self::X86 => MACHINE_386 | LITTLE_ENDIAN,
            Self::Aarch64 => MACHINE_AARCH64 | BITS_64 | LITTLE_ENDIAN,
            Self::Arm => MACHINE_ARM | LITTLE_ENDIAN,
        }
    }

    /// The number of a call on it.
    pub fn number(self, call: &str) -> Option<u32> {
        let number = match self {
            Self::X86_64 => call.parse::<syscalls::x86_64::Sysno>().ok()?.id(),
            Self::X86 => call.parse::<syscalls::x86::Sysno>().ok()?.id(),
            Self::Aarch64 => call.parse::<syscalls::aarch64::Sysno>().ok()?.id(),
            Self::Arm => match call {
                // Of its own, and not in the table.
                "breakpoint" => 0xf_0001,
                "cacheflush" => 0xf_0002,
                "set_tls" => 0xf_0005,
                "sync_file_range2" => return self.number("arm_sync_file_range"),
                call => call.parse::<syscalls::arm::Sysno>().ok()?.id(),
            },
        };
        u32::try_from(number).ok()
    }
}

/// True for the name of a call that some architecture has.
pub fn is_known(call: &str) -> bool {
    use Architecture::{Aarch64, Arm, X86, X86_64};
    let known = |architecture: &Architecture| architecture.number(call).is_some();
    [X86_64, X86, Aarch64, Arm].iter().any(known)
}
