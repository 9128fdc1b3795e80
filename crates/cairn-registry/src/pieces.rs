//! How a large blob is divided, so that its parts come at the same time.

/// Smallest piece. A blob of no more comes in one.
const BYTES_MIN: u64 = 8 << 20;
/// Most pieces of a blob: each is a file for a while.
const COUNT_MAX: u64 = 256;

/// Where the pieces of a blob of so many bytes begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pieces {
    total: u64,
    each: u64,
}

impl Pieces {
    pub fn of(total: u64) -> Self {
        Self {
            total,
            each: total.div_ceil(COUNT_MAX).max(BYTES_MIN),
        }
    }

    /// How many, at least one.
    pub fn count(&self) -> usize {
        usize::try_from(self.total.div_ceil(self.each)).map_or(1, |count| count.max(1))
    }

    pub fn start(&self, piece: usize) -> u64 {
        (piece as u64).saturating_mul(self.each).min(self.total)
    }

    pub fn end(&self, piece: usize) -> u64 {
        self.start(piece + 1)
    }

    /// The piece that a byte is in.
    pub fn with(&self, at: u64) -> usize {
        usize::try_from(at / self.each).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_each_other_and_are_bounded_in_number() {
        for total in [0, 1, BYTES_MIN, BYTES_MIN + 1, 100 << 20, 1 << 50, u64::MAX] {
            let pieces = Pieces::of(total);
            assert!(pieces.count() as u64 <= COUNT_MAX, "{total}");
            assert_eq!(pieces.end(pieces.count() - 1), total);
            for piece in 0..pieces.count() {
                assert_eq!(pieces.start(piece + 1), pieces.end(piece));
                let first = pieces.start(piece);
                assert!(total == 0 || pieces.with(first) == piece);
                assert!(total == 0 || pieces.with(pieces.end(piece) - 1) == piece);
            }
        }
    }
}
