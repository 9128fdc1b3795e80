//! Several segments become one.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use cairn_model::PackId;

use super::write::{NewSegment, SegmentWriter};
use super::{Index, Segment};
use crate::disk::Disk;
use crate::error::Result;

/// Segments are merged until each is at least this many times as large as all younger ones.
const MERGE_RATIO: usize = 4;
/// A segment is written anew when one in this many of its packs is hidden.
const HIDDEN_SHARE: usize = 4;

/// The segments that are due to become one, if any are. Their number stays logarithmic in that of the
/// blobs, and an entry is copied as often.
pub fn due(index: &Index) -> Option<Range<usize>> {
    let segments = index.segments();
    let mut start = segments.len().checked_sub(1)?;
    let mut sum = segments[start].len();
    while start > 0 && segments[start - 1].len() < MERGE_RATIO * sum {
        start -= 1;
        sum += segments[start].len();
    }
    if segments.len() - start > 1 {
        return Some(start..segments.len());
    }
    let stale = segments.iter().position(|segment| {
        let hidden = |pack: &&PackId| index.hidden().contains(pack);
        let count = segment.packs().iter().filter(hidden).count();
        count > 0 && count * HIDDEN_SHARE >= segment.packs().len()
    });
    stale.map(|at| at..at + 1)
}

/// Writes the entries of `segments` without those in `hidden` packs as one segment in `directory`,
/// after checking that each is whole; `None` where nothing is left.
pub fn merge(
    disk: &Disk,
    directory: &Path,
    segments: &[Arc<Segment>],
    hidden: &HashSet<PackId>,
) -> Result<Option<NewSegment>> {
    let mut inputs = Vec::with_capacity(segments.len());
    for segment in segments {
        segment.verify()?;
        let mut entries = segment.entries();
        let drop: Vec<bool> = segment.packs().iter().map(|p| hidden.contains(p)).collect();
        let mut next = move || -> Result<_> {
            for entry in entries.by_ref() {
                let (pack, slot) = entry?;
                if !drop[pack] {
                    return Ok(Some((slot.id, segment.packs()[pack], slot)));
                }
            }
            Ok(None)
        };
        if let Some(head) = next()? {
            inputs.push((head, next));
        }
    }
    if inputs.is_empty() {
        return Ok(None);
    }
    let mut writer = SegmentWriter::create(disk, directory)?;
    loop {
        let first = inputs
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, ((id, pack, slot), _))| (*id, *pack, slot.offset));
        let Some((at, ((_, pack, slot), next))) = first else {
            break;
        };
        writer.push(*pack, slot)?;
        match next()? {
            Some(head) => inputs[at].0 = head,
            None => drop(inputs.remove(at)),
        }
    }
    writer.finish().map(Some)
}
