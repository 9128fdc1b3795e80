//! Archives as other programs make them, rebuilt from what the test inputs of Go's archive/tar and of
//! CPython's tarfile are described to hold, and read as GNU tar reads them.

mod common;

use common::{Header, Place, extended, file, listing, padded, pax, records, tar};

/// Reads it and has GNU tar read it too: they must agree to the last bit.
fn same_as_gnu(place: &Place, what: &str, bytes: &[u8]) {
    let ours = place.unpack(bytes);
    let ours = ours.unwrap_or_else(|e| panic!("{what}: {e}"));
    let (theirs, fine) = place.unpack_gnu(bytes);
    assert!(
        fine,
        "{what}: GNU tar finds fault with the test's own archive"
    );
    assert_eq!(listing(&ours), listing(&theirs), "{what}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

const LONG: &[u8] = b"dir/a-name-that-goes-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on/end";

#[test]
fn headers_of_every_age_read_as_gnu_tar_reads_them() {
    let place = Place::new();
    let plain = |name: &[u8]| file(name, b"x");
    let prefix = |length: usize| vec![b'p'; length];
    let star = |prefix: &[u8]| {
        Header::new(b"name", b'0', 1)
            .field(345, prefix)
            .field(476, b"00000001750 00000001750 ")
            .field(508, b"tar\0")
            .done()
    };
    let nested = |mut prefix: Vec<u8>| {
        prefix[100] = b'/';
        prefix
    };
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("v7", vec![Header::v7(b"old", 0, 1).done(), padded(b"x")]),
        (
            "v7 directory",
            vec![Header::v7(b"d/", 0, 0).done(), plain(b"d/f")],
        ),
        (
            "v7 link",
            vec![plain(b"a"), Header::v7(b"b", b'1', 0).link(b"a").done()],
        ),
        ("gnu", vec![Header::gnu(b"g", b'0', 1).done(), padded(b"x")]),
        (
            "prefix of ustar",
            vec![
                Header::new(b"name", b'0', 1)
                    .field(345, &nested(prefix(155)))
                    .done(),
                padded(b"x"),
            ],
        ),
        (
            "prefix of star",
            vec![star(&nested(prefix(130))), padded(b"x")],
        ),
        ("short prefix of star", vec![star(b"p/q"), padded(b"x")]),
        ("name of 100 bytes", vec![plain(&[b'n'; 100])]),
        (
            "fields of blanks",
            vec![
                Header::new(b"f", b'0', 0)
                    .field(108, b"       \0")
                    .field(116, &[0; 8])
                    .done(),
            ],
        ),
        (
            "fields without an end",
            vec![
                Header::new(b"f", b'0', 1)
                    .field(100, b"00000644")
                    .field(124, b"000000000001")
                    .done(),
                padded(b"x"),
            ],
        ),
        (
            "fields led by blanks",
            vec![
                Header::new(b"f", b'0', 1)
                    .field(124, b"          1 ")
                    .field(100, b"   644 \0")
                    .done(),
                padded(b"x"),
            ],
        ),
        (
            "signed checksum",
            vec![
                Header::new(b"caf\xe9\xff", b'0', 1).done_signed(),
                padded(b"x"),
            ],
        ),
        (
            "unsigned checksum",
            vec![Header::new(b"caf\xe9\xff", b'0', 1).done(), padded(b"x")],
        ),
        (
            "contiguous file",
            vec![Header::new(b"c", b'7', 1).done(), padded(b"x")],
        ),
        (
            "base-256 size and time",
            vec![
                Header::gnu(b"b", b'0', 1)
                    .field(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x01")
                    .field(136, b"\x80\0\0\0\0\0\0\x01\0\0\0\0")
                    .done(),
                padded(b"x"),
            ],
        ),
        (
            "base-256 time before 1970",
            vec![
                Header::gnu(b"b", b'0', 0)
                    .field(136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x9c")
                    .done(),
            ],
        ),
        (
            "bits above the permissions",
            vec![Header::new(b"m", b'0', 0).field(100, b"0100755\0").done()],
        ),
    ];
    for (what, members) in cases {
        same_as_gnu(&place, what, &tar(&members));
    }
}

#[test]
fn owners_beyond_octal_read_as_gnu_tar_reads_them() {
    if !is_root() {
        return eprintln!("skipped: needs root");
    }
    let place = Place::new();
    let id = b"\x80\0\0\0\x11\x22\x33\x44";
    let header = Header::gnu(b"b", b'0', 0)
        .field(108, id)
        .field(116, id)
        .done();
    same_as_gnu(&place, "base-256 ids", &tar(&[header]));
    let members = [
        pax(&[("uid", b"3000000000"), ("gid", b"5")]),
        file(b"p", b""),
    ];
    same_as_gnu(&place, "pax ids", &tar(&members));
}

#[test]
fn what_has_no_data_has_none_whatever_its_size_says() {
    let place = Place::new();
    for (what, header) in [
        ("directory", Header::new(b"d/", b'5', 600)),
        ("symbolic link", Header::new(b"s", b'2', 600).link(b"a")),
        ("hard link", Header::new(b"h", b'1', 600).link(b"a")),
        ("pipe", Header::new(b"p", b'6', 600)),
    ] {
        let members = [file(b"a", b"x"), header.done(), file(b"after", b"y")];
        same_as_gnu(&place, what, &tar(&members));
    }
}

#[test]
fn long_names_read_as_gnu_tar_reads_them() {
    let place = Place::new();
    let named = |name: &[u8]| extended(b'L', &[name, b"\0"].concat());
    let linked = |name: &[u8]| extended(b'K', &[name, b"\0"].concat());
    let link = |name: &[u8]| Header::gnu(name, b'2', 0).link(b"short").done();
    let end = file(b"short", b"x");
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("long name", vec![named(LONG), end.clone()]),
        (
            "long name without NUL",
            vec![extended(b'L', LONG), end.clone()],
        ),
        ("long link", vec![linked(LONG), link(b"l")]),
        ("both", vec![linked(LONG), named(LONG), link(b"l")]),
        (
            "both the other way",
            vec![named(LONG), linked(LONG), link(b"l")],
        ),
        (
            "several, the last counts",
            vec![
                named(b"one"),
                named(b"two"),
                linked(b"1"),
                linked(b"2"),
                link(b"l"),
            ],
        ),
        ("pax path", vec![pax(&[("path", LONG)]), end.clone()]),
        ("pax link", vec![pax(&[("linkpath", LONG)]), link(b"l")]),
        (
            "pax path that is not UTF-8",
            vec![pax(&[("path", b"hdrcharset\xff")]), end.clone()],
        ),
        (
            "GNU, then pax: pax",
            vec![named(b"gnu"), pax(&[("path", b"pax")]), end.clone()],
        ),
        (
            "pax, then GNU: pax",
            vec![pax(&[("path", b"pax")]), named(b"gnu"), end.clone()],
        ),
        (
            "a long name is for one file",
            vec![named(LONG), end.clone(), file(b"next", b"")],
        ),
        (
            "pax directory with a slash",
            vec![
                pax(&[("path", &[LONG, b"/"].concat())]),
                Header::new(b"d/", b'5', 0).done(),
            ],
        ),
    ];
    for (what, members) in cases {
        same_as_gnu(&place, what, &tar(&members));
    }
}

#[test]
fn pax_headers_read_as_gnu_tar_reads_them() {
    let place = Place::new();
    let end = file(b"ustar", b"x");
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        (
            "two headers, the second counts",
            vec![
                pax(&[("path", b"first"), ("mtime", b"5")]),
                pax(&[("mtime", b"7")]),
                end.clone(),
            ],
        ),
        (
            "a key twice, the last counts",
            vec![pax(&[("mtime", b"5"), ("mtime", b"6.5")]), end.clone()],
        ),
        (
            "times to the nanosecond",
            vec![pax(&[("mtime", b"1350244992.023960108")]), end.clone()],
        ),
        (
            "time before 1970",
            vec![pax(&[("mtime", b"-100.25")]), end.clone()],
        ),
        (
            "unknown keys",
            vec![
                pax(&[("comment", b"x"), ("GOLANG.x", b"\0\n=")]),
                end.clone(),
            ],
        ),
        (
            "a global time",
            vec![
                extended(b'g', &records(&[("mtime", b"77")])),
                end.clone(),
                file(b"b", b""),
            ],
        ),
        (
            "a global time and a local one",
            vec![
                extended(b'g', &records(&[("mtime", b"77")])),
                pax(&[("mtime", b"78")]),
                end.clone(),
            ],
        ),
        (
            "the header of Solaris",
            vec![extended(b'X', &records(&[("path", b"old")])), end.clone()],
        ),
        (
            "size",
            vec![
                pax(&[("size", b"3")]),
                Header::new(b"s", b'0', 0).done(),
                padded(b"abc"),
                end.clone(),
            ],
        ),
        (
            "a volume label",
            vec![
                extended(b'g', &records(&[("GNU.volume.label", b"backup")])),
                end.clone(),
            ],
        ),
    ];
    for (what, members) in cases {
        same_as_gnu(&place, what, &tar(&members));
    }
}

/// As POSIX and Go have it; GNU tar 1.34 takes an empty name for the root.
#[test]
fn an_empty_record_is_none() {
    let place = Place::new();
    let members = [
        extended(b'g', &records(&[("mtime", b"77")])),
        pax(&[("path", b""), ("mtime", b""), ("size", b""), ("uid", b"")]),
        Header::new(b"dir/", b'5', 0)
            .field(100, b"0000700\0")
            .done(),
        pax(&[("path", b""), ("mtime", b""), ("linkpath", b"")]),
        file(b"dir/f", b"x"),
    ];
    let root = place.unpack(&tar(&members)).unwrap();
    let mode = |path: &std::path::Path| {
        std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777
    };
    assert_eq!((mode(&root), mode(&root.join("dir"))), (0o755, 0o700));
    let found = listing(&root);
    assert!(found[&b"dir/f"[..]].contains("at 1000."), "{found:?}");
}

#[test]
fn attributes_read_as_gnu_tar_reads_them() {
    let place = Place::new();
    let members = [
        pax(&[
            ("SCHILY.xattr.user.plain", b"a\nb\0c=d"),
            ("SCHILY.xattr.user.none", b""),
            ("SCHILY.xattr.user.a%3Db%25c%41", b"v"),
        ]),
        file(b"f", b""),
    ];
    let bytes = tar(&members);
    let ours = place.unpack(&bytes).unwrap();
    let (theirs, fine) = place.unpack_gnu(&bytes);
    assert!(fine);
    let read = |root: &std::path::Path| {
        let names = ["user.plain", "user.none", "user.a=b%c%41"];
        names.map(|name| {
            let mut value = [0; 64];
            let read = rustix::fs::lgetxattr(root.join("f"), name, &mut value);
            read.map(|length| value[..length].to_vec())
        })
    };
    let ours = read(&ours);
    if ours[0] == Err(rustix::io::Errno::NODATA) {
        return eprintln!("skipped: no attributes in the temporary directory");
    }
    assert_eq!(ours, read(&theirs));
    assert_eq!(ours[0].as_deref(), Ok(&b"a\nb\0c=d"[..]));
}

#[test]
fn sparse_files_in_every_form_read_as_gnu_tar_reads_them() {
    let place = Place::new();
    let octal = |n: u64| format!("{n:011o}\0").into_bytes();
    // All but the last are whole blocks: GNU tar reads each from a block of its own.
    let runs: [(u64, u64); 6] = [
        (512, 512),
        (2048, 1024),
        (8192, 512),
        (16384, 512),
        (70_656, 7),
        (100_000, 0),
    ];
    let data = &(0..2567_u32).map(|n| n as u8).collect::<Vec<u8>>()[..];
    let pairs = |runs: &[(u64, u64)]| -> Vec<u8> {
        runs.iter()
            .flat_map(|(at, length)| [octal(*at), octal(*length)].concat())
            .collect()
    };
    let mut old = Header::gnu(b"old", b'S', data.len() as u64)
        .field(386, &pairs(&runs[..4]))
        .field(483, &octal(100_000));
    old.0[482] = 1;
    let mut more = vec![0; 512];
    more[..48].copy_from_slice(&pairs(&runs[4..]));
    let old = [old.done(), more, padded(data)].concat();

    let mut keys: Vec<(&str, Vec<u8>)> = vec![
        ("GNU.sparse.size", b"100000".to_vec()),
        ("GNU.sparse.numblocks", b"6".to_vec()),
    ];
    for (at, length) in runs {
        keys.push(("GNU.sparse.offset", at.to_string().into_bytes()));
        keys.push(("GNU.sparse.numbytes", length.to_string().into_bytes()));
    }
    let keys: Vec<(&str, &[u8])> = keys.iter().map(|(k, v)| (*k, &v[..])).collect();
    let form_0_0 = [pax(&keys), file(b"form00", data)].concat();

    let list: Vec<String> = runs
        .iter()
        .map(|(at, length)| format!("{at},{length}"))
        .collect();
    let form_0_1 = [
        pax(&[
            ("GNU.sparse.name", b"form01"),
            ("GNU.sparse.size", b"100000"),
            ("GNU.sparse.numblocks", b"6"),
            ("GNU.sparse.map", list.join(",").as_bytes()),
        ]),
        file(b"./GNUSparseFile.1/form01", data),
    ]
    .concat();

    let lines: String = runs
        .iter()
        .map(|(at, length)| format!("{at}\n{length}\n"))
        .collect();
    let map = padded(format!("6\n{lines}").as_bytes());
    let form_1_0 = [
        pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"form10"),
            ("GNU.sparse.realsize", b"100000"),
        ]),
        file(b"./GNUSparseFile.1/form10", &[map, data.to_vec()].concat()),
    ]
    .concat();
    let bytes = tar(&[old, form_0_0, form_0_1, form_1_0, file(b"after", b"x")]);
    same_as_gnu(&place, "sparse", &bytes);
    let root = place.unpack(&bytes).unwrap();
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    assert_eq!(read("old").len(), 100_000);
    for name in ["form00", "form01", "form10"] {
        assert!(read(name) == read("old"), "{name}");
    }
}

#[test]
fn kinds_of_gnu_tar_read_as_it_reads_them() {
    let place = Place::new();
    let names = b"Yafter\0\0";
    let dump = [
        Header::gnu(b"dump/", b'D', names.len() as u64).done(),
        padded(names),
    ]
    .concat();
    let label = Header::gnu(b"a label, no file", b'V', 0).done();
    same_as_gnu(
        &place,
        "D and V",
        &tar(&[label, dump, file(b"dump/after", b"x")]),
    );
    same_as_gnu(
        &place,
        "file with a slash",
        &tar(&[file(b"d/", b""), file(b"d/f", b"x")]),
    );
    let links = [
        file(b"a", b"x"),
        Header::new(b"absolute", b'1', 0).link(b"/a").done(),
        Header::new(b"dotted", b'1', 0).link(b"./a").done(),
    ];
    same_as_gnu(&place, "hard links", &tar(&links));
}

#[test]
fn the_first_zero_block_is_the_end_whatever_follows() {
    let place = Place::new();
    let alone = [file(b"a", b"x"), vec![0; 512], file(b"b", b"y")].concat();
    same_as_gnu(
        &place,
        "an archive behind it",
        &[alone, vec![0; 1024]].concat(),
    );
    let garbage = [file(b"a", b"x"), vec![0; 512], vec![b'g'; 700]].concat();
    let root = place.unpack(&garbage).unwrap();
    assert_eq!(listing(&root).len(), 1);
}

/// Umoci takes it as text, as Docker and containerd do; GNU tar leaves such files out.
#[test]
fn dots_inside_a_name_are_taken_as_text_and_never_lead_out() {
    let place = Place::new();
    let root = place.unpack(&tar(&[file(b"x/a/../b", b"1"), file(b"y/../z", b"2")]));
    let found = listing(&root.unwrap());
    let names: Vec<&[u8]> = found.keys().map(Vec::as_slice).collect();
    assert_eq!(names, [&b"x"[..], b"x/b", b"z"]);
    for name in [&b"../up"[..], b"a/../../v", b"..", b"a/..", b"/../x"] {
        place.unpack(&tar(&[file(name, b"")])).unwrap_err();
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    let x = file(b"x", b"");
    let with = |header: Header| vec![header.done(), x.clone()];
    let damaged = |at: usize| {
        let mut bytes = file(b"f", b"data");
        bytes[at] ^= 0x40;
        vec![bytes]
    };
    let raw = |data: &[u8]| vec![extended(b'x', data), x.clone()];
    let records = |list: &[(&str, &[u8])]| vec![pax(list), x.clone()];
    let long = |kind: u8| {
        vec![
            Header::gnu(b"././@LongLink", kind, 3 << 30).done(),
            x.clone(),
        ]
    };
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        (
            "a size below nothing",
            with(Header::gnu(b"n", b'0', 0).field(124, &[0xff; 12])),
        ),
        (
            "a size that is not octal",
            with(Header::new(b"n", b'0', 0).field(124, b"9999999zz99\0")),
        ),
        (
            "a mode that is not octal",
            with(Header::new(b"n", b'0', 0).field(100, b"rw-r--r-")),
        ),
        (
            "a time that is not octal",
            with(Header::new(b"n", b'0', 0).field(136, b"yesterday!!\0")),
        ),
        ("a damaged name", damaged(3)),
        ("a damaged checksum", damaged(150)),
        ("NUL in a pax path", records(&[("path", b"a\0b")])),
        ("a pax time that is none", records(&[("mtime", b"5.x")])),
        ("a pax size that is none", records(&[("size", b"-1")])),
        (
            "a pax user that is none",
            records(&[("uid", b"4294967296")]),
        ),
        ("a record longer than its header", raw(b"99 path=x\n")),
        ("a record without a length", raw(b"path=x\n")),
        ("a record without a newline", raw(b"9 path=xyz")),
        ("a record without a key", raw(b"5 =b\n")),
        (
            "a length that overflows",
            raw(b"18446744073709551617 path=x\n"),
        ),
        (
            "a continued volume",
            vec![
                Header::gnu(b"m", b'M', 5).done(),
                padded(b"abcde"),
                x.clone(),
            ],
        ),
        ("a long name of 3 GiB", long(b'L')),
        ("a long link of 3 GiB", long(b'K')),
        ("a pax header of 3 GiB", long(b'x')),
        ("a global header of 3 GiB", long(b'g')),
        ("a header without a name", with(Header::new(b"", b'5', 0))),
        (
            "sparse runs out of order",
            vec![
                pax(&[
                    ("GNU.sparse.size", b"100"),
                    ("GNU.sparse.map", b"50,1,10,1"),
                ]),
                file(b"s", b"ab"),
            ],
        ),
        (
            "sparse runs past the end",
            vec![
                pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"99,2")]),
                file(b"s", b"ab"),
            ],
        ),
        (
            "half a run",
            vec![
                pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"1")]),
                file(b"s", b"a"),
            ],
        ),
        (
            "a map without an end",
            vec![
                pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")]),
                file(b"s", &[b'1'; 2048]),
            ],
        ),
    ];
    for (what, members) in cases {
        let read = place.unpack(&tar(&members));
        assert!(read.is_err(), "{what} was taken");
    }
    let whole = tar(&[file(b"a", b"x"), file(b"b", b"y")]);
    for cut in [100, 700, 1500] {
        assert!(place.unpack(&whole[..cut]).is_err(), "cut at {cut}");
    }
}

/// Whoever deletes a file with the longest name writes a longer one (fuse-overlayfs#236).
#[test]
fn a_file_with_the_longest_name_can_be_deleted() {
    let place = Place::new();
    for length in [251, 252, 255] {
        let name = vec![b'n'; length];
        let gone = [b"dir/.wh.", &name[..]].concat();
        let members = [pax(&[("path", &gone)]), file(b"short", b"")];
        place.unpack(&tar(&members)).unwrap();
    }
    let too_long = [b".wh.", &[b'n'; 256][..]].concat();
    let members = [pax(&[("path", &too_long)]), file(b"short", b"")];
    place.unpack(&tar(&members)).unwrap_err();
}

#[test]
fn what_lies_in_something_deleted_is_refused_and_aufs_is_passed_over() {
    let place = Place::new();
    place
        .unpack(&tar(&[file(b".wh.gone/inside", b"")]))
        .unwrap_err();
    let members = [
        file(b".wh..wh.plnk/12.34", b"data"),
        file(b".wh..wh.aufs", b""),
        file(b"a", b"x"),
    ];
    let root = place.unpack(&tar(&members)).unwrap();
    assert_eq!(listing(&root).len(), 1);
}
