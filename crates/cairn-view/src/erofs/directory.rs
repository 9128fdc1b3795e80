//! Directory content: blocks of entries (12 bytes each) followed by their names, all sorted by name so
//! that the kernel can bisect.

use super::BLOCK;

const ENTRY: usize = 12;

/// One name in a directory.
pub struct Dirent<'a> {
    pub name: &'a [u8],
    pub nid: u64,
    /// As `d_type` of getdents, minus its shift: 1 file, 2 directory, 3 character, 4 block, 5 fifo, 7 link.
    pub file_type: u8,
}

/// How many of these names (sorted) go into the next block, and the bytes they take.
fn fill(names: &[&[u8]]) -> (usize, usize) {
    let mut bytes = 0;
    for (count, name) in names.iter().enumerate() {
        if bytes + ENTRY + name.len() > BLOCK {
            return (count, bytes);
        }
        bytes += ENTRY + name.len();
    }
    (names.len(), bytes)
}

/// Length of a directory with these names (sorted, with `.` and `..`).
pub fn size(names: &[&[u8]]) -> usize {
    let (mut rest, mut total) = (names, 0);
    loop {
        let (count, bytes) = fill(rest);
        rest = &rest[count..];
        if rest.is_empty() {
            return total + bytes;
        }
        total += BLOCK;
    }
}

/// Content of a directory.
pub fn encode(entries: &[Dirent<'_>]) -> Vec<u8> {
    let names: Vec<&[u8]> = entries.iter().map(|e| e.name).collect();
    let (mut at, mut out) = (0, Vec::new());
    while at < entries.len() {
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        let (count, _) = fill(&names[at..]);
        let mut name_at = count * ENTRY;
        for entry in &entries[at..at + count] {
            out.extend_from_slice(&entry.nid.to_le_bytes());
            out.extend_from_slice(&(name_at as u16).to_le_bytes());
            out.extend_from_slice(&[entry.file_type, 0]);
            name_at += entry.name.len();
        }
        for entry in &entries[at..at + count] {
            out.extend_from_slice(entry.name);
        }
        at += count;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_the_length_of_what_is_encoded() {
        for count in [2, 3, 100, 340, 341, 5000] {
            let names: Vec<Vec<u8>> = (0..count)
                .map(|i| format!("{i:05}").repeat(1 + i % 50).into_bytes())
                .collect();
            let refs: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
            let entries: Vec<Dirent<'_>> = refs
                .iter()
                .map(|name| Dirent {
                    name,
                    nid: 1,
                    file_type: 1,
                })
                .collect();
            assert_eq!(size(&refs), encode(&entries).len(), "{count} names");
        }
    }
}
