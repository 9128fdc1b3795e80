//! When packs are rewritten, and how much of it is done at a time.

/// When a collection rewrites packs, and how much of it is done at a time. No value makes a collection wrong;
/// it only frees more or less, in larger or smaller steps.
///
/// ```
/// use cairn_store::gc::Policy;
///
/// let eager = Policy { dead_share_max: 0.05, ..Policy::default() };
/// assert_eq!(eager.small_packs_max, Policy::default().small_packs_max);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// A pack is rewritten when more than this share of its records is dead, by bytes: 0 to 1.
    pub dead_share_max: f64,
    /// More small packs than this are merged.
    pub small_packs_max: usize,
    /// A pack of fewer bytes is small.
    pub small_pack_bytes: u64,
    /// Live bytes that one round copies before it frees the packs they came from; one pack is always taken.
    pub round_bytes_max: u64,
    /// Blobs that one round copies.
    pub round_blobs_max: u64,
    /// Bytes of the disk that new packs leave free, or a sixteenth of a small disk.
    pub reserve_bytes: u64,
    /// Bytes that the new packs of one round may take, however much is free.
    pub new_bytes_max: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            dead_share_max: 0.2,
            small_packs_max: 16,
            small_pack_bytes: 8 << 20,
            round_bytes_max: 512 << 20,
            round_blobs_max: 1 << 20,
            reserve_bytes: 16 << 20,
            new_bytes_max: u64::MAX,
        }
    }
}

impl Policy {
    /// The same, but every pack with anything dead in it is rewritten, however little that frees.
    #[must_use]
    pub fn rewriting_all(self) -> Self {
        Self {
            dead_share_max: 0.0,
            ..self
        }
    }
}
