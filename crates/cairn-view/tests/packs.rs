//! Views over packs: the kernel reads what was stored or gives an error, however the content lies in the
//! packs and whatever becomes of them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use cairn_layer::Tree;
use cairn_model::{
    BlobId, Content, Driver, Kind, Meta, MountPlan, PackPlan, Piece, TreeId, ViewImage,
};
use cairn_store::{Disk, NewStore, Store};
use cairn_view::{Error, Verify, Views, mount};

/// A repository with frames, its views, and the tree that is shown.
struct Bench {
    _scratch: tempfile::TempDir,
    store: Store,
    views: Views,
    tree: Tree,
    files: Vec<(String, Vec<u8>)>,
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

fn text(seed: u64, length: usize) -> Vec<u8> {
    let words = (seed..).map(|n| format!("line {} of {seed}\n", n * 7919));
    let mut out: Vec<u8> = words
        .take(length / 10 + 1)
        .flat_map(String::into_bytes)
        .collect();
    out.truncate(length);
    out
}

impl Bench {
    /// None where the driver does not work here.
    fn new() -> Option<Self> {
        let scratch = tempfile::tempdir().unwrap();
        let views = Views::new(&scratch.path().join("cache"));
        if let Err(e) = views.try_one(Driver::Packs, scratch.path()) {
            let why = cairn_model::one_line(&e);
            assert!(std::env::var_os("CAIRN_TESTS_ALL").is_none(), "{why}");
            eprintln!("skipped: {why}");
            return None;
        }
        let root = scratch.path().join("repository");
        let wanted = NewStore {
            frames: true,
            ..NewStore::default()
        };
        Store::create_as(&root, Disk::default(), wanted).unwrap();
        let store = Store::open(&root, Disk::default(), None).unwrap();
        Some(Self {
            _scratch: scratch,
            store,
            views,
            tree: Tree::new(),
            files: Vec::new(),
        })
    }

    /// Stores pieces in a pack of their own.
    fn pack(&self, pieces: &[&[u8]]) {
        let ingest = self.store.ingest().unwrap();
        let mut feeder = ingest.feeder();
        for piece in pieces {
            feeder.put(piece).unwrap();
        }
        feeder.ids().unwrap();
        drop(feeder);
        let publish = self
            .store
            .publish::<_, cairn_store::Error>(ingest.finish().unwrap(), |_| Ok(()));
        publish.unwrap();
    }

    fn file(&mut self, name: &str, pieces: &[&[u8]]) {
        let data = |piece: &&[u8]| Piece::Data {
            id: BlobId::of(piece),
            len: piece.len() as u32,
        };
        let bytes = pieces.concat();
        let content = Content {
            size: bytes.len() as u64,
            pieces: pieces.iter().map(data).collect(),
        };
        let kind = Kind::File(content);
        self.tree
            .insert(name.as_bytes(), Meta::root(0o644), kind)
            .unwrap();
        self.files.push((name.to_owned(), bytes));
    }

    fn plan(&self) -> Result<PackPlan, Error> {
        self.plan_of(9)
    }

    fn plan_of(&self, tree: u8) -> Result<PackPlan, Error> {
        let id = TreeId::from_bytes([tree; 32]);
        let tree = || Ok::<_, Error>(self.tree.clone());
        match self
            .views
            .plan(&self.store, Driver::Packs, &id, None, &|| (), &tree)?
        {
            MountPlan::Packs(plan) => Ok(plan),
            other => panic!("a plan for {}", other.driver()),
        }
    }

    fn mounted(&self, plan: PackPlan) -> PathBuf {
        let mounted = mount(&MountPlan::Packs(plan)).unwrap();
        let place = PathBuf::from(format!("/proc/self/fd/{}", mounted.as_raw_fd()));
        // It stays until the test ends.
        std::mem::forget(mounted);
        place
    }

    /// How many objects there are beside the packs.
    fn objects(&self) -> usize {
        let directories = std::fs::read_dir(self.views.objects().directory()).unwrap();
        directories
            .flatten()
            .map(|directory| std::fs::read_dir(directory.path()).unwrap().count())
            .sum()
    }

    fn flip(&self, blob: &[u8], at: impl FnOnce(u64) -> u64) {
        let found = self.store.index().find(&BlobId::of(blob)).unwrap().unwrap();
        let at = u64::from(found.slot.offset) + 16 + at(u64::from(found.slot.stored));
        let pack = File::options()
            .read(true)
            .write(true)
            .open(self.store.pack_path(&found.pack))
            .unwrap();
        let mut byte = [0];
        pack.read_exact_at(&mut byte, at).unwrap();
        pack.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
    }
}

#[test]
fn content_of_every_shape_is_read_in_place() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let (plain, zeros) = (noise(1, 200_000), vec![0; 150_000]);
    let words: Vec<Vec<u8>> = (0..40).map(|n| text(n, 3000 + 977 * n as usize)).collect();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let (short, page, tail) = (text(50, 65), text(51, 4096), noise(52, 3));
    bench.pack(&[&plain, &zeros, &short]);
    bench.pack(&words);
    bench.pack(&[&page, &tail]);
    bench.file("plain", &[&plain]);
    bench.file("short", &[&short]);
    bench.file("page", &[&page]);
    bench.file("words", &words);
    // One frame again and again, also at other places in a page.
    bench.file("zeros", &[&zeros[..]; 5]);
    bench.file(
        "repeated",
        &[&short, &zeros, &page, &zeros, &short, &zeros, &tail],
    );
    let plan = bench.plan().unwrap();
    assert_eq!(plan.contents[0].packs.len(), 3);
    let place = bench.mounted(plan);
    for (name, wanted) in &bench.files {
        assert!(
            std::fs::read(place.join(name)).unwrap() == *wanted,
            "{name}"
        );
        let file = File::open(place.join(name)).unwrap();
        let mut state = 7_u64;
        for _ in 0..40 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(11);
            let at = (state >> 33) % wanted.len() as u64;
            let length = wanted.len().min(at as usize + 4096) - at as usize;
            let mut found = vec![0; length];
            file.read_exact_at(&mut found, at).unwrap();
            assert!(found == wanted[at as usize..][..length], "{name} at {at}");
        }
    }
    assert_eq!(bench.objects(), 0, "nothing was written a second time");
}

#[test]
fn a_flipped_bit_is_an_error_wherever_it_lies() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let count = 600;
    // Lengths so that frames end everywhere in a page; every other one is noise.
    let contents: Vec<Vec<u8>> = (0..count)
        .map(|n| match n % 2 {
            0 => noise(n, 500 + 37 * n as usize),
            _ => text(n, 9000 + 41 * n as usize),
        })
        .collect();
    bench.pack(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
    for (n, content) in contents.iter().enumerate() {
        bench.file(&format!("f{n}"), &[content]);
    }
    let plan = bench.plan().unwrap();
    for (n, content) in contents.iter().enumerate() {
        match n % 5 {
            0 => continue,
            // In the checksum.
            1 => bench.flip(content, |stored| stored - 1 - n as u64 % 4),
            // In the last byte before it, and anywhere in the middle.
            2 => bench.flip(content, |stored| stored - 5),
            _ => bench.flip(content, |stored| 20 + (stored - 30) * (n as u64 % 97) / 97),
        }
    }
    let place = bench.mounted(plan);
    for (n, content) in contents.iter().enumerate() {
        let path = place.join(format!("f{n}"));
        if n % 3 == 0 {
            // A part of it first, from a page that nobody has read.
            let at = (content.len() as u64 / 2).min(content.len() as u64 - 10);
            let mut found = [0; 10];
            let read = File::open(&path).unwrap().read_exact_at(&mut found, at);
            assert!(read.is_err() == (n % 5 != 0), "f{n}: {read:?}");
        }
        match std::fs::read(&path) {
            Ok(found) => {
                assert!(n % 5 == 0, "f{n}: damaged content was read");
                assert!(found == *content, "f{n}");
            }
            Err(e) => assert!(n % 5 != 0, "f{n}: {e}"),
        }
    }
    // Asked to look at everything, a mount finds it before.
    let always = bench.views.clone().verified(Verify::Always);
    let id = TreeId::from_bytes([9; 32]);
    let tree = || Ok::<_, Error>(bench.tree.clone());
    let refused = always.plan(&bench.store, Driver::Packs, &id, None, &|| (), &tree);
    assert!(refused.unwrap_err().is_corruption());
}

#[test]
fn pieces_that_the_kernel_would_read_together_by_mistake_are_an_object() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let (first, filler, second, third) = (
        noise(1, 20_000),
        noise(2, 20_480),
        noise(3, 20_000),
        noise(4, 20_000),
    );
    bench.pack(&[&first]);
    bench.pack(&[&filler, &second]);
    bench.pack(&[&third]);
    // The first ends in the block before that in which the second begins, in another pack.
    bench.file("merged", &[&first, &second]);
    bench.file("turned", &[&second, &first]);
    bench.file("apart", &[&first, &third]);
    let place = bench.mounted(bench.plan().unwrap());
    for (name, wanted) in &bench.files {
        assert!(
            std::fs::read(place.join(name)).unwrap() == *wanted,
            "{name}"
        );
    }
    assert_eq!(bench.objects(), 2);
}

#[test]
fn a_pack_that_is_cut_gone_or_another_gives_errors_and_never_other_content() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let contents: Vec<Vec<u8>> = (0..20).map(|n| noise(n, 60_000)).collect();
    let (here, other) = contents.split_at(10);
    bench.pack(&here.iter().map(Vec::as_slice).collect::<Vec<_>>());
    bench.pack(&other.iter().map(Vec::as_slice).collect::<Vec<_>>());
    for (n, content) in here.iter().enumerate() {
        bench.file(&format!("f{n}"), &[content]);
    }
    let plan = bench.plan().unwrap();
    let packs = &plan.contents[0].packs;
    assert_eq!(packs.len(), 1);
    let path = packs[0].path.clone();
    let good = std::fs::read(&path).unwrap();

    // Gone under a mount: it has the file.
    let place = bench.mounted(plan.clone());
    std::fs::remove_file(&path).unwrap();
    for (name, wanted) in &bench.files {
        assert!(
            std::fs::read(place.join(name)).unwrap() == *wanted,
            "{name}"
        );
    }
    let gone = mount(&MountPlan::Packs(plan.clone())).unwrap_err();
    assert!(matches!(gone, Error::PackGone(_)), "{gone}");
    assert!(bench.plan().is_err(), "what is in no pack is not shown");

    // Another one of the same length under its name.
    let index = bench.store.index();
    let named = index.find(&BlobId::of(&other[0])).unwrap().unwrap().pack;
    std::fs::copy(bench.store.pack_path(&named), &path).unwrap();
    let swapped = mount(&MountPlan::Packs(plan.clone())).unwrap_err();
    assert!(swapped.is_corruption(), "{swapped}");
    assert!(
        bench
            .plan()
            .unwrap_err()
            .to_string()
            .contains("not the pack")
    );

    // Cut under a mount, in the middle of a frame.
    std::fs::write(&path, &good).unwrap();
    let place = bench.mounted(bench.plan().unwrap());
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(good.len() as u64 / 2 + 77).unwrap();
    let mut failed = 0;
    for (name, wanted) in &bench.files {
        match std::fs::read(place.join(name)) {
            Ok(found) => assert!(found == *wanted, "{name}"),
            Err(_) => failed += 1,
        }
    }
    assert!((5..10).contains(&failed), "{failed} files failed");
    assert!(bench.plan().is_err(), "a pack that is cut is not mounted");
}

#[test]
fn images_that_changed_are_made_anew_and_plans_keep_to_their_packs() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let content = text(1, 100_000);
    bench.pack(&[&content]);
    bench.file("f", &[&content]);
    let plan = bench.plan().unwrap();
    for image in [&plan.images[0].file, &plan.contents[0].image.file] {
        let good = std::fs::read(image).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        for damaged in [&bad[..], &good[..good.len() - 1], b""] {
            std::fs::write(image, damaged).unwrap();
            assert_eq!(bench.plan().unwrap(), plan);
            assert_eq!(std::fs::read(image).unwrap(), good);
        }
    }
    let list = plan.images[0].file.with_extension("view");
    std::fs::write(&list, "nonsense").unwrap();
    let made = bench.plan().unwrap();
    let place = bench.mounted(made);
    assert!(std::fs::read(place.join("f")).unwrap() == content);
}

impl Drop for Bench {
    /// Ends what views keep mounted.
    fn drop(&mut self) {
        let _ = self.views.retain::<Error>(|| Ok(Default::default()));
    }
}

/// Objects of the images of contents that a plan stands on.
fn images(plan: &PackPlan) -> Vec<PathBuf> {
    plan.contents
        .iter()
        .map(|of| of.image.file.clone())
        .collect()
}

#[test]
fn views_of_similar_trees_stand_on_the_same_contents_and_share_what_was_read() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let place = bench._scratch.path().join("shared");
    bench.views = bench.views.clone().sharing_in(place);
    let contents: Vec<Vec<u8>> = (0..40).map(|n| text(n, 30_000)).collect();
    bench.pack(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
    for (n, content) in contents[..30].iter().enumerate() {
        bench.file(&format!("f{n}"), &[content]);
    }
    // An image of metadata is shared that is worth it.
    for n in 0..700 {
        bench.file(&format!("empty{n}"), &[]);
    }
    let first = bench.plan_of(1).unwrap();
    let place = bench.mounted(first.clone());
    for (name, wanted) in &bench.files {
        assert!(std::fs::read(place.join(name)).unwrap() == *wanted);
    }
    // The same and ten more, which are all that it has an image of contents for.
    for (n, content) in contents[30..].iter().enumerate() {
        bench.file(&format!("more{n}"), &[content]);
    }
    let second = bench.plan_of(2).unwrap();
    assert_eq!(images(&second)[0], images(&first)[0]);
    assert_eq!(second.contents.len(), 2);
    let place = bench.mounted(second.clone());
    // What the first view read is in memory: rot that came since is not seen, but where nothing was read.
    bench.flip(&contents[3], |bytes| bytes / 2);
    bench.flip(&contents[33], |bytes| bytes / 2);
    assert!(std::fs::read(place.join("f3")).unwrap() == contents[3]);
    assert!(std::fs::read(place.join("more3")).is_err());
    assert!(std::fs::read(place.join("more4")).unwrap() == contents[34]);
    // Mounted for one alone there is nothing to be seen in memory.
    let place_of = |image: &ViewImage| image.shared.clone().unwrap();
    for of in second.contents.iter().map(|of| &of.image) {
        assert!(place_of(of).read_dir().unwrap().next().is_some());
        rustix::mount::unmount(place_of(of), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
    let alone = bench.mounted(second);
    assert!(std::fs::read(alone.join("f3")).is_err());
    // The view made over a mount keeps it.
    assert!(std::fs::read(place.join("f3")).unwrap() == contents[3]);
    // What no view needs goes, and with it what is mounted.
    let third = bench.plan_of(2).unwrap();
    let gone = [&third.images[0], &third.contents[1].image];
    let stays = &third.contents[0].image;
    for image in gone.into_iter().chain([stays]) {
        assert!(place_of(image).read_dir().unwrap().next().is_some());
    }
    let keep = || Ok(([TreeId::from_bytes([1; 32])].into(), Default::default()));
    bench.views.retain::<Error>(keep).unwrap();
    assert!(stays.file.exists());
    for image in gone {
        assert!(!image.file.exists() && !place_of(image).exists());
    }
    bench
        .views
        .retain::<Error>(|| Ok(Default::default()))
        .unwrap();
    assert!(!place_of(stays).exists());
}
