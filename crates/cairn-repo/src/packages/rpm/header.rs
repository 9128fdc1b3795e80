//! The header of a package as rpm's database has it (rpm.org, "RPM V4 header format"): two lengths, an index of tags,
//! the data that it points into. All numbers are big-endian.

use super::word;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
/// Whole paths, as packages had them long ago.
const OLD_FILENAMES: u32 = 1027;
const DIRINDEXES: u32 = 1116;
const BASENAMES: u32 = 1117;
const DIRNAMES: u32 = 1118;

const ENTRY_BYTES: usize = 16;
/// Paths of a package come to at most so many times the bytes of its header. They are shorter than it, in truth.
const PATHS_PER_BYTE_MAX: usize = 4;
/// A longer path is none.
const PATH_BYTES_MAX: usize = 4096;

/// A header whose index and data are whole.
pub struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    /// Divides it; none where it is shorter than it says.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let entries = usize::try_from(word(bytes, 0)?).ok()?;
        let length = usize::try_from(word(bytes, 4)?).ok()?;
        let rest = bytes.get(8..)?;
        let (index, data) = rest.split_at_checked(entries.checked_mul(ENTRY_BYTES)?)?;
        Some(Self {
            index,
            data: data.get(..length)?,
        })
    }

    /// How many values a tag has, and the data from the first of them on.
    fn tag(&self, wanted: u32) -> Option<(usize, &'a [u8])> {
        let mut entries = self.index.chunks_exact(ENTRY_BYTES);
        let entry = entries.find(|entry| word(entry, 0) == Some(wanted))?;
        let offset = usize::try_from(word(entry, 8)?).ok()?;
        let count = usize::try_from(word(entry, 12)?).ok()?;
        Some((count, self.data.get(offset..)?))
    }

    /// Values that are texts, each ended by a zero.
    fn texts(&self, tag: u32) -> impl Iterator<Item = &'a [u8]> {
        let (count, data) = self.tag(tag).unwrap_or_default();
        data.split(|byte| *byte == 0).take(count)
    }

    fn text(&self, tag: u32) -> Option<&'a [u8]> {
        self.texts(tag).next().filter(|text| !text.is_empty())
    }

    /// Values that are numbers.
    fn numbers(&self, tag: u32) -> impl Iterator<Item = u32> {
        let (count, data) = self.tag(tag).unwrap_or_default();
        let words = data.chunks_exact(4).take(count);
        words.filter_map(|bytes| word(bytes, 0))
    }

    /// The package's name.
    pub fn name(&self) -> Option<&'a [u8]> {
        self.text(NAME)
    }

    /// Its version as `rpm -q` shows it: `[EPOCH:]VERSION-RELEASE`.
    pub fn version(&self) -> Option<String> {
        let [version, release] = [VERSION, RELEASE].map(|tag| self.text(tag));
        let [version, release] = [version?, release?].map(String::from_utf8_lossy);
        Some(match self.numbers(EPOCH).next() {
            Some(epoch) => format!("{epoch}:{version}-{release}"),
            None => format!("{version}-{release}"),
        })
    }

    /// Tells the path of each of its files.
    pub fn files(&self, tell: &mut dyn FnMut(&[u8])) {
        let directories: Vec<&[u8]> = self.texts(DIRNAMES).collect();
        let mut left = self.data.len() * PATHS_PER_BYTE_MAX;
        let mut tell = |path: &[u8]| {
            if path.len() <= PATH_BYTES_MAX && path.len() <= left {
                left -= path.len();
                tell(path);
            }
        };
        for (name, directory) in self.texts(BASENAMES).zip(self.numbers(DIRINDEXES)) {
            let directory = usize::try_from(directory).ok();
            let directory = directory.and_then(|at| directories.get(at));
            let length = |directory: &&&[u8]| directory.len() + name.len() <= PATH_BYTES_MAX;
            if let Some(directory) = directory.filter(length) {
                tell(&[*directory, name].concat());
            }
        }
        self.texts(OLD_FILENAMES).for_each(tell);
    }
}
