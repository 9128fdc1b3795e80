//! Which parts of which packs are read for blobs that are lacking: near ones together.

use super::table::{Pack, Place};

/// Two blobs are read together where no more than so many bytes lie between them.
const GAP_BYTES_MAX: u64 = 32 << 10;
/// A part has no more bytes, unless one blob has; they are in memory while they are taken apart.
const SPAN_BYTES_MAX: u64 = 4 << 20;

/// A part of a pack, and the blobs in it.
#[derive(Debug)]
pub struct Span {
    /// The pack.
    pub pack: Pack,
    /// Where the part begins.
    pub at: u64,
    /// Its length.
    pub len: u64,
    /// The blobs in it that are wanted.
    pub blobs: Vec<Place>,
}

/// The parts of packs that have these blobs, in the order of the packs.
pub fn spans(mut wanted: Vec<(Pack, Place)>) -> Vec<Span> {
    wanted.sort_unstable_by_key(|(pack, place)| (pack.digest, place.offset));
    let mut out: Vec<Span> = Vec::new();
    for (pack, place) in wanted {
        let (start, end) = bounds(&place);
        match out.last_mut().filter(|span| joins(span, &pack, start, end)) {
            Some(span) => {
                span.len = span.len.max(end - span.at);
                span.blobs.push(place);
            }
            None => out.push(Span {
                pack,
                at: start,
                len: end - start,
                blobs: vec![place],
            }),
        }
    }
    out
}

fn bounds(place: &Place) -> (u64, u64) {
    let start = u64::from(place.offset);
    (start, start + u64::from(place.stored))
}

fn joins(span: &Span, pack: &Pack, start: u64, end: u64) -> bool {
    let near = start <= span.at + span.len + GAP_BYTES_MAX;
    span.pack == *pack && near && end - span.at <= SPAN_BYTES_MAX
}

/// The bytes of a part that are a blob.
pub fn of_span<'a>(span: &Span, place: &Place, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (start, end) = bounds(place);
    let from = usize::try_from(start.checked_sub(span.at)?).ok()?;
    let to = usize::try_from(end - span.at).ok()?;
    bytes.get(from..to)
}

#[cfg(test)]
mod tests {
    use cairn_model::{BlobId, Digest};
    use cairn_store::Codec;

    use super::*;

    #[test]
    fn near_blobs_are_read_together_and_parts_are_bounded() {
        let pack = |byte| Pack {
            digest: Digest::from_bytes([byte; 32]),
            bytes: 1 << 30,
        };
        let place = |offset: u32, stored| Place {
            id: BlobId::of(&offset.to_le_bytes()),
            pack: 0,
            offset,
            stored,
            raw: stored,
            codec: Codec::Plain,
        };
        let (one, two) = (pack(1), pack(2));
        let wanted = vec![
            (two, place(0, 10)),
            (one, place(100_000, 10)),
            (one, place(40, 10)),
            (one, place(0, 10)),
            (one, place(3 << 20, 1 << 20)),
            (one, place(4 << 20, 1 << 20)),
            (one, place(5 << 20, 9 << 20)),
        ];
        let found = spans(wanted);
        let shape: Vec<_> = found.iter().map(|s| (s.at, s.len, s.blobs.len())).collect();
        assert_eq!(
            shape,
            [
                (0, 50, 2),
                (100_000, 10, 1),
                (3 << 20, 2 << 20, 2),
                (5 << 20, 9 << 20, 1),
                (0, 10, 1)
            ]
        );
        let bytes: Vec<u8> = (0..50).collect();
        assert_eq!(
            of_span(&found[0], &found[0].blobs[1], &bytes),
            Some(&bytes[40..50])
        );
        assert_eq!(of_span(&found[0], &found[0].blobs[1], &bytes[..45]), None);
    }
}
