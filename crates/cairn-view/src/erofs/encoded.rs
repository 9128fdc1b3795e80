//! File contents in other files: encoded extents (Linux 6.15), each one zstd frame at any byte of a device.
//!
//! ```text
//! superblock   80 features, 84 compressions:u16=1<<3 (zstd), 86 devices:u16, 88 slot of the first device:u16
//! behind it    length:u16=6 format:u8=0 window-log-less-10:u8=10 zero:u32
//! device  128  zero:64 blocks:u32 start:u32 zero:u16 start-high:u16
//! inode        layout 1; at the next 8 bytes: extents:u32 advice:u16=1|2<<1 zero:u16, then at the next 16:
//! extent   16  stored|4<<28:u32 place:u32 place-high:u32 start:u32
//! ```
//! A place is a byte of one address space in which the devices follow the image, each from a block that
//! is a multiple of 256 on. `advice` says that there are extents, of 16 bytes each.

use std::collections::HashMap;

use cairn_model::ObjectId;

use super::BLOCK;

/// Largest frame, and largest content of one, bytes: what the kernel reads with its window of 1 MiB.
pub(crate) const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Devices of one image. Its root has to be within the first 2 MiB, and each device is an open file.
pub(crate) const DEVICES_MAX: usize = 256;
/// Files from this size on would take longer records.
pub(crate) const FILE_BYTES_MAX: u64 = u32::MAX as u64;

const CONFIGURATION_AT: usize = 1024 + 128;
const CONFIGURATION: [u8; 8] = [6, 0, 0, 10, 0, 0, 0, 0];
const DEVICE: usize = 128;
const DEVICES_AT: usize = CONFIGURATION_AT + DEVICE;
const HEADER: usize = 8;
const EXTENT: usize = 16;
/// Extents, with records of 16 bytes.
const ADVICE: u16 = 1 | 2 << 1;
const ZSTD: u32 = 4 << 28;
const COMPRESSIONS: u16 = 1 << 3;
/// Devices begin at multiples of this many blocks.
const DEVICE_ALIGN: u64 = 256;

/// Padding of compressed data, configurations, chunks.
const INCOMPAT: u32 = 1 | 2 | 4;
const INCOMPAT_DEVICES: u32 = 8;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Which device.
    pub device: u32,
    /// Of its frame, from the start of the device.
    pub at: u64,
    /// Length of the frame, bytes.
    pub stored: u32,
    /// Where in the file its content begins.
    pub start: u32,
}

impl Extent {
    /// The first block that it lies in, and the one behind its last.
    fn blocks(&self) -> (u64, u64) {
        let end = self.at + u64::from(self.stored);
        (self.at / BLOCK as u64, end.div_ceil(BLOCK as u64))
    }
}

/// True where the kernel may read wrong bytes: Linux 6.18 puts reads of one file together where one extent
/// begins at the block with which another ends, and does not see that they are in different devices. Any two
/// extents count: which of them are read together depends on what is in the page cache.
pub(crate) fn may_merge(extents: &[Extent]) -> bool {
    let mut starts: Vec<(u64, u32)> = extents.iter().map(|e| (e.blocks().0, e.device)).collect();
    if starts.iter().all(|(_, device)| *device == starts[0].1) {
        return false;
    }
    starts.sort_unstable();
    extents.iter().any(|extent| {
        let end = extent.blocks().1;
        let first = starts.partition_point(|(block, _)| *block < end);
        let same = starts[first..]
            .iter()
            .take_while(|(block, _)| *block == end);
        same.into_iter().any(|(_, device)| *device != extent.device)
    })
}

/// Where the contents of files are.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// Of each file, in order and without a gap.
    pub files: HashMap<ObjectId, Vec<Extent>>,
    /// Length of each device, bytes.
    pub devices: Vec<u64>,
}

impl Encoded {
    /// Where inodes may begin.
    pub fn inodes_at(&self) -> usize {
        DEVICES_AT + self.devices.len() * DEVICE
    }

    /// Bytes behind an inode that ends at `at`.
    pub fn end(at: usize, extents: usize) -> usize {
        records_at(at) + extents * EXTENT
    }

    /// The first block of each device, behind an image of `blocks`.
    fn starts(&self, blocks: u64) -> impl Iterator<Item = (u64, u64)> {
        let mut next = blocks;
        self.devices.iter().map(move |bytes| {
            let (start, length) = (
                next.next_multiple_of(DEVICE_ALIGN),
                bytes.div_ceil(BLOCK as u64),
            );
            next = start + length;
            (start, length)
        })
    }

    /// What the superblock has of it, and the table of devices.
    pub fn describe(&self, image: &mut [u8]) {
        let blocks = (image.len() / BLOCK) as u64;
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        let field = |at: usize| 1024 + at;
        let devices = match self.devices.is_empty() {
            true => 0,
            false => INCOMPAT_DEVICES,
        };
        put(field(80), &(INCOMPAT | devices).to_le_bytes());
        put(field(84), &COMPRESSIONS.to_le_bytes());
        put(field(86), &(self.devices.len() as u16).to_le_bytes());
        put(field(88), &((DEVICES_AT / DEVICE) as u16).to_le_bytes());
        put(CONFIGURATION_AT, &CONFIGURATION);
        for (n, (start, length)) in self.starts(blocks).enumerate() {
            let at = DEVICES_AT + n * DEVICE;
            put(at + 64, &(length as u32).to_le_bytes());
            put(at + 68, &(start as u32).to_le_bytes());
            put(at + 74, &((start >> 32) as u16).to_le_bytes());
        }
    }

    /// Writes the extents of a file behind its inode, which ends at `at`.
    pub fn put_extents(&self, image: &mut [u8], at: usize, extents: &[Extent]) {
        let blocks = (image.len() / BLOCK) as u64;
        let starts: Vec<u64> = self.starts(blocks).map(|(start, _)| start).collect();
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        let header = at.next_multiple_of(8);
        put(header, &(extents.len() as u32).to_le_bytes());
        put(header + 4, &ADVICE.to_le_bytes());
        for (n, extent) in extents.iter().enumerate() {
            let record = records_at(at) + n * EXTENT;
            let place = starts[extent.device as usize] * BLOCK as u64 + extent.at;
            put(record, &(extent.stored | ZSTD).to_le_bytes());
            put(record + 4, &place.to_le_bytes());
            put(record + 12, &extent.start.to_le_bytes());
        }
    }

    /// Blocks that a file is said to take.
    pub fn blocks_of(extents: &[Extent]) -> u32 {
        let stored: u64 = extents.iter().map(|extent| u64::from(extent.stored)).sum();
        stored.div_ceil(BLOCK as u64) as u32
    }
}

fn records_at(at: usize) -> usize {
    (at.next_multiple_of(8) + HEADER).next_multiple_of(EXTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(device: u32, at: u64, stored: u32) -> Extent {
        Extent {
            device,
            at,
            stored,
            start: 0,
        }
    }

    #[test]
    fn reads_that_could_be_put_together_over_two_devices_are_told() {
        let block = BLOCK as u64;
        // One ends in block 4, the other begins in block 5 of another device.
        let first = extent(0, 10, 5 * BLOCK as u32 - 20);
        for (at, device, merges) in [
            (5 * block, 1, true),
            (5 * block + 4095, 1, true),
            (5 * block, 0, false),
            (6 * block, 1, false),
            (5 * block - 1, 1, false),
        ] {
            let second = extent(device, at, 3000);
            let between = extent(2, 100 * block, 50);
            for order in [[first, between, second], [second, between, first]] {
                assert_eq!(may_merge(&order), merges, "{second:?}");
            }
        }
        // The end of the last is what counts, to the byte.
        for (stored, merges) in [(BLOCK as u32, true), (BLOCK as u32 + 1, false)] {
            let pair = [extent(0, 0, stored), extent(1, block, 10)];
            assert_eq!(may_merge(&pair), merges, "{stored}");
        }
        assert!(!may_merge(&[first]));
    }

    #[test]
    fn devices_follow_the_image_and_never_meet() {
        let encoded = Encoded {
            devices: vec![1, 128 << 20, 4096 * 256, 5],
            ..Encoded::default()
        };
        let starts: Vec<_> = encoded.starts(300).collect();
        let sizes = [1, 32_768, 256, 1];
        assert_eq!(starts[0], (512, 1));
        for (pair, size) in starts.windows(2).zip(sizes) {
            assert!(pair[0].0 + size <= pair[1].0);
            assert_eq!(pair[1].0 % DEVICE_ALIGN, 0);
        }
        let mut image = vec![0; 300 * BLOCK];
        encoded.describe(&mut image);
        assert_eq!(image[1104..1108], 15_u32.to_le_bytes());
        assert_eq!(image[1108..1114], [8, 0, 4, 0, 10, 0]);
        assert_eq!(image[1152..1156], [6, 0, 0, 10]);
        assert_eq!(image[1280 + 64..1280 + 72], [1, 0, 0, 0, 0, 2, 0, 0]);
        assert_eq!(encoded.inodes_at(), 1280 + 4 * 128);
    }

    #[test]
    fn extents_stand_behind_the_inode_as_the_kernel_reads_them() {
        let encoded = Encoded {
            devices: vec![40_000, 9000],
            ..Encoded::default()
        };
        let extents = [extent(0, 48, 5000), extent(1, 7000, 100)];
        let mut image = vec![0; 2 * BLOCK];
        encoded.put_extents(&mut image, 2001, &extents);
        assert_eq!(image[2008..2016], [2, 0, 0, 0, 5, 0, 0, 0]);
        // The image has two blocks, the first device ten from 256 on, the second three from 512 on.
        let record = |stored: u32, place: u64| {
            [
                &(stored | 4 << 28).to_le_bytes()[..],
                &place.to_le_bytes(),
                &[0; 4],
            ]
            .concat()
        };
        assert_eq!(image[2016..2032], record(5000, 256 * 4096 + 48));
        assert_eq!(image[2032..2048], record(100, 512 * 4096 + 7000));
        assert_eq!(Encoded::end(2001, 2), 2048);
        assert_eq!(Encoded::blocks_of(&extents), 2);
    }
}
