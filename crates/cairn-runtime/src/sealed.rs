//! What a stage is started from and with: descriptors that nothing can change any more.
//!
//! The stages of a launch are this same binary, and the last of them runs where the image can look at it:
//! `/proc/self/exe` of a process that has not executed the image's program yet leads to the binary. So init
//! is executed through a read-only mount of it that is attached nowhere, which takes no change of mode,
//! owner, attribute or content (CVE-2019-5736 is the story of a runtime that did not); where no such mount
//! can be made, from a sealed copy in memory. What a stage has to do comes in a sealed memory file as well,
//! never from the command line alone: a hidden verb without one does nothing.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{
    CWD, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create,
};
use rustix::mount::{OpenTreeFlags, open_tree};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result, Step};

const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);
/// Documents are bounded where images are imported, command lines by the kernel.
const ORDER_BYTES_MAX: i64 = 64 << 20;

/// A sealed memory file with `value`, for the stage started next. Close-on-exec.
pub fn order<T: Serialize>(value: &T) -> Result<OwnedFd> {
    let bytes = serde_json::to_vec(value).map_err(std::io::Error::other);
    let bytes = bytes.step("encode the order for the next stage")?;
    let mut file = memory("cairn-order")?;
    file.write_all(&bytes).step("write to a memory file")?;
    file.rewind().step("write to a memory file")?;
    fcntl_add_seals(&file, SEALS).step("seal a memory file")?;
    Ok(file.into())
}

/// Reads what [`order`] wrote; refuses a descriptor that is not a sealed memory file.
pub fn read_order<T: DeserializeOwned>(fd: OwnedFd) -> Result<T> {
    let foreign = || Error::Invalid("this is an internal step of \"cairn run\"".into());
    let seals = fcntl_get_seals(&fd).map_err(|_| foreign())?;
    let stat = fstat(&fd).step("read the order for this stage")?;
    if !seals.contains(SEALS) || stat.st_size > ORDER_BYTES_MAX {
        return Err(foreign());
    }
    let mut file = File::from(fd);
    file.rewind().step("read the order for this stage")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .step("read the order for this stage")?;
    serde_json::from_slice(&bytes).map_err(|_| foreign())
}

/// An empty file in memory that can be sealed. Close-on-exec.
pub fn memory(name: &str) -> Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Executable where the kernel wants that said (Linux 6.3); older ones do not know the flag.
    let made = memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(name, flags));
    Ok(File::from(made.step("create a memory file")?))
}

/// This program, to be executed by descriptor where an image can reach it.
pub fn program() -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if let Ok(mount) = open_tree(CWD, "/proc/self/exe", flags)
        && cairn_sys::mount_read_only(&mount, false).is_ok()
    {
        return Ok(mount);
    }
    let mut file = memory("cairn")?;
    let mut exe = File::open("/proc/self/exe").step("open this program")?;
    std::io::copy(&mut exe, &mut file).step("copy this program")?;
    fcntl_add_seals(&file, SEALS).step("seal a memory file")?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sealed_memory_files_give_orders() {
        let fd = order(&vec![1, 2, 3]).unwrap();
        assert!(File::from(fd.try_clone().unwrap()).set_len(0).is_err());
        assert_eq!(read_order::<Vec<u8>>(fd).unwrap(), [1, 2, 3]);
        let mut plain = tempfile::tempfile().unwrap();
        plain.write_all(b"[1]").unwrap();
        assert!(read_order::<Vec<u8>>(plain.into()).is_err());
        let mut open = memory("open").unwrap();
        open.write_all(b"[1]").unwrap();
        assert!(read_order::<Vec<u8>>(open.into()).is_err());
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(read_order::<Vec<u8>>(reader.into()).is_err());
    }

    #[test]
    fn the_program_cannot_be_changed_through_its_descriptor() {
        let program = program().unwrap();
        let path = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&program)
        );
        let mode = std::fs::metadata(&path).unwrap().permissions();
        if rustix::process::geteuid().is_root() {
            assert!(std::fs::set_permissions(&path, mode).is_err());
            assert!(std::os::unix::fs::chown(&path, Some(0), Some(0)).is_err());
        }
        assert!(File::options().append(true).open(&path).is_err());
    }
}
