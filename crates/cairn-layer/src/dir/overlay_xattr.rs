//! A file's own attributes of overlayfs's namespace, `trusted.overlay.*`, or `user.overlay.*` where it is
//! mounted in a user namespace (`userxattr`).
//!
//! They are kept everywhere. Where overlayfs reads a directory, they stand there escaped by one more
//! `overlay.`, which it takes away again in the mount and adds to what a process sets (Linux 6.7,
//! Documentation/filesystems/overlayfs.rst, "Nesting overlayfs mounts").

/// Which attributes overlayfs keeps its own things in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayAttributes {
    /// `trusted.overlay.*`, for root of the host.
    Trusted,
    /// `user.overlay.*`, for mounts with `userxattr`.
    User,
}

impl OverlayAttributes {
    /// How their names begin.
    pub fn prefix(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }

    fn escape(self) -> Vec<u8> {
        [self.prefix(), b"overlay."].concat()
    }

    /// The name under which overlayfs finds this attribute of a file; `None` where it is the same.
    pub fn escaped(self, name: &[u8]) -> Option<Vec<u8>> {
        Some([&self.escape(), name.strip_prefix(self.prefix())?].concat())
    }

    /// The name a file's own attribute has in the mount; `None` for overlayfs's own and for all others.
    pub fn unescaped(self, name: &[u8]) -> Option<Vec<u8>> {
        let own = name.strip_prefix(&self.escape()[..])?;
        Some([self.prefix(), own].concat())
    }
}
