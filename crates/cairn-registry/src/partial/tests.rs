use super::*;

const LARGE: u64 = 20 << 20;

fn digest() -> Digest {
    Digest::from_bytes([7; 32])
}

fn own_of(directory: &Path, bytes: u64) -> Partial {
    let owned = Partial::own(directory, &digest(), bytes, &Watch::default());
    owned.unwrap().0
}

fn own(directory: &Path) -> Partial {
    own_of(directory, 1000)
}

#[test]
fn what_came_is_there_for_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let first = own(directory.path());
    first.append(b"abc", 0, 0);
    first.append(b"lost", 7, 0);
    first.append(b"def", 3, 0);
    assert!(
        !first.spoiled() && first.bytes() == 0,
        "its own bytes are not given a second chance"
    );
    assert!(
        !first.append(b"late", 0, 0),
        "who began before adds nothing"
    );
    first.append(b"abcdef", 0, 1);
    drop(first);
    let second = own(directory.path());
    let mut out = [0; 10];
    assert_eq!(second.read_at(&mut out, 2).unwrap(), 4);
    assert_eq!(&out[..4], b"cdef");
    second.was_cut();
    assert!(
        !second.spoiled() && second.bytes() == 6,
        "a cut says nothing against what came"
    );
    assert!(second.spoiled() && second.bytes() == 0);
    second.remove();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn pieces_that_came_are_there_for_the_next_one_and_have_no_holes() {
    let directory = tempfile::tempdir().unwrap();
    let first = own_of(directory.path(), LARGE);
    let pieces = first.pieces();
    assert_eq!(pieces.count(), 3);
    let second = pieces.start(1);
    assert!(first.append(b"start", 0, 0) && first.append(b"piece", second, 0));
    assert!(!first.append(b"hole", second + 100, 0) && !first.append(b"hole", 100, 0));
    drop(first);
    let next = own_of(directory.path(), LARGE);
    assert_eq!(
        (next.bytes(), next.end_of(0), next.end_of(second)),
        (10, 5, second + 5)
    );
    assert_eq!(next.end_of(second - 1), second - 1);
    let mut out = [0; 10];
    assert_eq!(next.read_at(&mut out, second + 1).unwrap(), 4);
    assert_eq!(next.read_at(&mut out, second - 1).unwrap(), 0);
    // All of the first piece, and the two are one.
    next.append(&vec![0; second as usize - 5], 5, 0);
    assert_eq!(next.end_of(0), second + 5);
    assert!(next.spoiled() && next.bytes() == 0);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_blob_has_one_owner_and_who_waited_knows() {
    let directory = tempfile::tempdir().unwrap();
    let first = own(directory.path());
    let path = directory.path().to_owned();
    let wait = move || Partial::own(&path, &digest(), 1000, &Watch::default()).unwrap();
    let waiting = std::thread::spawn(wait);
    std::thread::sleep(STEP * 2);
    first.append(b"abc", 0, 0);
    first.remove();
    drop(first);
    let (second, waited) = waiting.join().unwrap();
    assert!(
        waited && second.bytes() == 0,
        "the file of the first owner is gone"
    );
    assert!(directory.path().join(digest().hex()).exists());
    // Nobody waits for ever.
    let watch = Watch::default();
    watch.cancel();
    assert!(Partial::own(directory.path(), &digest(), 1000, &watch).is_err());
    // Who let go of it adds nothing any more.
    second.close();
    let third = own(directory.path());
    assert!(!second.append(b"late", 0, 0) && third.bytes() == 0);
}

#[test]
fn only_old_parts_without_an_owner_are_swept() {
    let directory = tempfile::tempdir().unwrap();
    let (hour, none) = (Duration::from_secs(3600), Duration::ZERO);
    assert_eq!(sweep(&directory.path().join("none"), none).unwrap(), 0);
    let owned = own_of(directory.path(), LARGE);
    owned.append(b"abc", 0, 0);
    owned.append(b"de", owned.pieces().start(2), 0);
    assert_eq!(sweep(directory.path(), none).unwrap(), 0);
    drop(owned);
    assert_eq!(sweep(directory.path(), hour).unwrap(), 0);
    assert_eq!(sweep(directory.path(), none).unwrap(), 5);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
