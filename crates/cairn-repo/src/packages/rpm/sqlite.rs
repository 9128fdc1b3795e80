//! As much of SQLite's file format (sqlite.org, "Database File Format") as it takes to read the blobs of one table.
//!
//! A table is a tree of pages. Rows are in its leaves; a row too long for its page goes on in a list of other pages.
//!
//! **Invariant:** every page is looked at once, so that whatever pages say, reading takes no longer than the file is
//! long.

use super::word;

/// What every database begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
const FILE_HEADER_BYTES: usize = 100;

const INTERIOR: u8 = 5;
const LEAF: u8 = 13;

/// A database in memory.
pub struct Database<'a> {
    bytes: &'a [u8],
    page_bytes: usize,
    /// Bytes of a page that are used.
    usable: usize,
}

/// Which pages were looked at.
struct Seen(Vec<bool>);

impl Seen {
    /// True the first time.
    fn is_new(&mut self, page: u32) -> bool {
        match self.0.get_mut(page as usize) {
            Some(seen) => !std::mem::replace(seen, true),
            None => false,
        }
    }
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_be_bytes(bytes.try_into().ok()?)))
}

/// A number of one to nine bytes, which goes to the front of what is left.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for at in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if at == 8 {
            return Some(value << 8 | u64::from(*byte));
        }
        value = value << 7 | u64::from(*byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

/// A column of a row: the type it has there, and its bytes.
#[derive(Clone, Copy)]
struct Column<'a> {
    kind: u64,
    bytes: &'a [u8],
}

impl<'a> Column<'a> {
    /// A blob or a text.
    fn bytes(self) -> Option<&'a [u8]> {
        (self.kind >= 12).then_some(self.bytes)
    }

    fn number(self) -> Option<u32> {
        match self.kind {
            9 => Some(1),
            1..=4 => Some(
                self.bytes
                    .iter()
                    .fold(0, |value, byte| value << 8 | u32::from(*byte)),
            ),
            _ => None,
        }
    }
}

fn columns(mut row: &[u8]) -> Option<Vec<Column<'_>>> {
    let whole = row;
    let header = usize::try_from(varint(&mut row)?).ok()?;
    let mut types = whole.get(whole.len() - row.len()..header)?;
    let mut values = whole.get(header..)?;
    let mut out = Vec::new();
    while !types.is_empty() {
        let kind = varint(&mut types)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let (bytes, rest) = values.split_at_checked(usize::try_from(length).ok()?)?;
        values = rest;
        out.push(Column { kind, bytes });
    }
    Some(out)
}

impl<'a> Database<'a> {
    /// One whose header is sound.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) || bytes.len() < FILE_HEADER_BYTES {
            return None;
        }
        let page_bytes = match half(bytes, 16)? {
            1 => 65_536,
            bytes => bytes,
        };
        let usable = page_bytes.checked_sub(usize::from(bytes[20]))?;
        let is_sound = page_bytes.is_power_of_two() && page_bytes >= 512 && usable >= 480;
        is_sound.then_some(Self {
            bytes,
            page_bytes,
            usable,
        })
    }

    fn page(&self, number: u32) -> Option<&'a [u8]> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        let at = at.checked_mul(self.page_bytes)?;
        self.bytes.get(at..at.checked_add(self.page_bytes)?)
    }

    /// The root page of a table.
    pub fn root_of(&self, table: &[u8]) -> Option<u32> {
        let mut root = None;
        // Rows of the schema: type, name, name of the table, root page, text.
        self.rows(1, &mut |row| {
            let columns = columns(row).unwrap_or_default();
            let [kind, name, _, page, ..] = columns[..] else {
                return;
            };
            if kind.bytes() == Some(b"table") && name.bytes() == Some(table) {
                root = page.number();
            }
        });
        root
    }

    /// Tells the blob of each row; false where the table is not whole.
    pub fn blobs(&self, root: u32, tell: &mut dyn FnMut(&[u8])) -> bool {
        self.rows(root, &mut |row| {
            let columns = columns(row).unwrap_or_default();
            if let Some(blob) = columns.into_iter().find_map(Column::bytes) {
                tell(blob);
            }
        })
    }

    /// Tells each row of the tree below a page, in their order; false where something of it is missing.
    fn rows(&self, root: u32, tell: &mut dyn FnMut(&[u8])) -> bool {
        let mut seen = Seen(vec![false; self.bytes.len() / self.page_bytes + 1]);
        let (mut stack, mut whole) = (vec![root], true);
        while let Some(number) = stack.pop() {
            let done = seen
                .is_new(number)
                .then(|| self.visit(number, &mut seen, &mut stack, tell));
            whole &= done.flatten().is_some();
        }
        whole
    }

    /// Looks at a page of a tree: tells its rows, or puts the pages below it on the stack, the first on top.
    fn visit(
        &self,
        number: u32,
        seen: &mut Seen,
        stack: &mut Vec<u32>,
        tell: &mut dyn FnMut(&[u8]),
    ) -> Option<()> {
        let page = self.page(number)?;
        let start = match number {
            1 => FILE_HEADER_BYTES,
            _ => 0,
        };
        let cells = half(page, start + 3)?;
        let cell =
            |first: usize, at: usize| page.get(half(page, start + first + 2 * at)?..self.usable);
        match page[start] {
            LEAF => {
                // Rows do not overlap.
                let mut left = self.usable;
                for at in 0..cells {
                    let (row, own) = self.row(cell(8, at)?, seen)?;
                    left = left.checked_sub(own)?;
                    tell(&row);
                }
            }
            INTERIOR => {
                stack.push(word(page, start + 8)?);
                for at in (0..cells).rev() {
                    stack.push(word(cell(12, at)?, 0)?);
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// The row of a cell with what of it is on other pages, and how many bytes of it are on its own.
    fn row(&self, mut cell: &[u8], seen: &mut Seen) -> Option<(Vec<u8>, usize)> {
        let length = usize::try_from(varint(&mut cell)?).ok()?;
        let _key = varint(&mut cell)?;
        if length > self.bytes.len() {
            return None;
        }
        let (own, mut rest) = cell.split_at_checked(self.local(length))?;
        let mut row = own.to_vec();
        let mut next = match row.len() < length {
            true => word(rest, 0)?,
            false => 0,
        };
        while row.len() < length {
            rest = self.page(next).filter(|_| seen.is_new(next))?;
            next = word(rest, 0)?;
            let more = (length - row.len()).min(self.usable - 4);
            row.extend_from_slice(rest.get(4..4 + more)?);
        }
        Some((row, own.len()))
    }

    /// How many bytes of a row of this length are on its own page.
    fn local(&self, length: usize) -> usize {
        let most = self.usable - 35;
        if length <= most {
            return length;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (self.usable - 4);
        match fitting <= most {
            true => fitting,
            false => least,
        }
    }
}
