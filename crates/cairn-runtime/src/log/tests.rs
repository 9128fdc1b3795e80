use std::fs;

use super::*;

fn limits(files: u32) -> LogLimits {
    LogLimits {
        file_bytes_max: 2000,
        files,
    }
}

fn texts(reader: &mut LogReader) -> Vec<String> {
    std::iter::from_fn(|| reader.next_record().unwrap())
        .map(|r| String::from_utf8(r.text).unwrap())
        .collect()
}

fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().flatten();
    entries.map(|entry| entry.metadata().unwrap().len()).sum()
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    assert!(LogLimits::new(64 << 10, 1).is_some());
    assert_eq!(LogLimits::new(1000, 3), None);
    assert_eq!(LogLimits::new(1 << 20, 0), None);
    assert_eq!(LogLimits::new(1 << 20, 101), None);
}

#[test]
fn lines_and_pieces_of_both_streams_come_back() {
    let place = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(place.path(), LogLimits::default()).unwrap();
    log.write(LogStream::Stdout, b"one\n\ntwo is ");
    log.write(LogStream::Stderr, b"oops\n");
    log.write(LogStream::Stdout, b"long\n");
    log.write(
        LogStream::Stdout,
        &[vec![b'x'; 40_000], b"\n".to_vec()].concat(),
    );
    let mut reader = LogReader::open(place.path()).unwrap();
    let all: Vec<LogRecord> = std::iter::from_fn(|| reader.next_record().unwrap()).collect();
    let shown: Vec<_> = all
        .iter()
        .map(|r| (r.stream.name(), r.ends_line, r.text.len()))
        .collect();
    assert_eq!(
        shown,
        [
            ("stdout", true, 3),
            ("stdout", true, 0),
            ("stdout", false, 7),
            ("stderr", true, 4),
            ("stdout", true, 4),
            ("stdout", false, 16384),
            ("stdout", false, 16384),
            ("stdout", true, 7232),
        ]
    );
    assert!(all.is_sorted_by_key(|r| r.time));
    reader.rewind().unwrap();
    assert_eq!(texts(&mut reader).len(), all.len());
}

#[test]
fn a_flood_stays_within_the_limits_and_the_newest_is_kept() {
    for files in [1, 3] {
        let place = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(place.path(), limits(files)).unwrap();
        for i in 0..1000 {
            log.write(LogStream::Stdout, format!("{i}\n").as_bytes());
            assert!(size(place.path()) <= 2000 * u64::from(files));
        }
        // Many lines at once, too.
        let many: String = (1000..1300).map(|i| format!("{i}\n")).collect();
        log.write(LogStream::Stdout, many.as_bytes());
        assert!(size(place.path()) <= 2000 * u64::from(files));
        let kept = texts(&mut LogReader::open(place.path()).unwrap());
        let first = 1300 - kept.len();
        assert_eq!(
            kept,
            (first..1300).map(|i| i.to_string()).collect::<Vec<_>>()
        );
        assert!(kept.len() > 40 * (files as usize - 1), "{}", kept.len());
    }
}

#[test]
fn a_reader_follows_through_rotations() {
    let place = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(place.path(), limits(3)).unwrap();
    log.write(LogStream::Stdout, b"0\n");
    let mut reader = LogReader::open(place.path()).unwrap();
    let mut seen = texts(&mut reader);
    for i in 1..2000 {
        log.write(LogStream::Stdout, format!("{i}\n").as_bytes());
        // Behind by less than the files hold.
        if i % 37 == 0 {
            seen.extend(texts(&mut reader));
        }
    }
    seen.extend(texts(&mut reader));
    assert_eq!(seen, (0..2000).map(|i| i.to_string()).collect::<Vec<_>>());
    // One that fell behind goes on with what there is.
    let mut slow = LogReader::open(place.path()).unwrap();
    slow.next_record().unwrap().unwrap();
    for i in 2000..3000 {
        log.write(LogStream::Stdout, format!("{i}\n").as_bytes());
    }
    assert_eq!(texts(&mut slow).last().unwrap(), "2999");
}

#[test]
fn readers_beside_a_writer_see_every_line_once_and_in_order() {
    let place = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(
        place.path(),
        LogLimits {
            file_bytes_max: 4000,
            files: 100,
        },
    )
    .unwrap();
    log.write(LogStream::Stdout, b"0\n");
    let mut reader = LogReader::open(place.path()).unwrap();
    let writing = std::thread::spawn(move || {
        for i in 1..5000 {
            log.write(LogStream::Stdout, format!("{i}\n").as_bytes());
        }
    });
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "4999") {
        seen.extend(texts(&mut reader));
    }
    writing.join().unwrap();
    assert_eq!(seen, (0..5000).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_record_that_was_cut_off_harms_no_other() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("output.log");
    let mut log = LogWriter::open(place.path(), LogLimits::default()).unwrap();
    log.write(LogStream::Stdout, b"whole\nnot whole");
    drop(log);
    let bytes = fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let mut reader = LogReader::open(place.path()).unwrap();
        let mut before = texts(&mut reader);
        before.extend(reader.torn().map(|r| String::from_utf8(r.text).unwrap()));
        assert!(
            before
                .iter()
                .all(|t| "whole".starts_with(t.as_str()) || "not whole".starts_with(t.as_str()))
        );
        let mut log = LogWriter::open(place.path(), LogLimits::default()).unwrap();
        log.write(LogStream::Stderr, b"later\n");
        let all = texts(&mut LogReader::open(place.path()).unwrap());
        assert_eq!(all.last().unwrap(), "later", "{cut}");
    }
}
