//! What kind of failure an error is, the same for every crate: exit codes and the statuses of other edges
//! follow from it, each in one table of their own.

use std::io;

/// The class of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The call makes no sense, whatever the state of the repository.
    Usage,
    /// There is no such thing.
    NotFound,
    /// The name is taken.
    Exists,
    /// The call makes sense, but not as things are.
    FailedPrecondition,
    /// Something holds what was to be changed.
    InUse,
    /// Stored bytes are not what was written, or are gone.
    Corrupt,
    /// The system did not give what was needed: space, descriptors, memory, permission, a working disk.
    /// Nothing is known to be wrong with what is stored.
    Unavailable,
    /// Somebody ended it.
    Cancelled,
    /// A mistake of this program.
    Internal,
}

impl Class {
    /// The class of a refused system call. Never [`Class::Corrupt`]: a disk that is full, or that does not
    /// answer, says nothing about the bytes on it.
    pub fn of_io(error: &io::Error) -> Self {
        // What a reader or writer passed on of somebody's wish.
        let inner = error.get_ref();
        if inner.is_some_and(|inner| inner.is::<crate::Cancelled>()) {
            return Self::Cancelled;
        }
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::Interrupted => Self::Cancelled,
            io::ErrorKind::ResourceBusy | io::ErrorKind::ExecutableFileBusy => Self::InUse,
            io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory => Self::FailedPrecondition,
            _ => Self::Unavailable,
        }
    }
}

/// True where there is no room: no byte or no inode free, or a quota used up.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refused_system_call_is_damage() {
        for errno in 1..134 {
            let class = Class::of_io(&io::Error::from_raw_os_error(errno));
            assert_ne!(class, Class::Corrupt, "errno {errno}");
            assert_ne!(class, Class::Usage, "errno {errno}");
        }
        // ENOSPC, EMFILE, EIO, EACCES, EROFS, EDQUOT
        for errno in [28, 24, 5, 13, 30, 122] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(Class::of_io(&error), Class::Unavailable, "{error}");
        }
        assert!(is_full(&io::Error::from_raw_os_error(28)));
        assert!(is_full(&io::Error::from_raw_os_error(122)));
    }
}
