//! What the drivers make of a plan, by really mounting it.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use cairn_layer::Tree;
use cairn_model::{
    BlobId, Content, CopyPlan, ImagePlan, Kind, Meta, MountPlan, Piece, StackPlan, TreeId,
    ViewImage,
};
use cairn_view::{ObjectCache, mount, write_image};

fn may_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(
            std::env::var_os("CAIRN_TESTS_ALL").is_none(),
            "mounting needs root"
        );
        eprintln!("skipped: mounting needs root");
    }
    root
}

/// Adds a file to `tree`, and its data to the objects in `place`.
fn file(tree: &mut Tree, name: &str, bytes: &[u8], place: &Path) {
    let piece = Piece::Data {
        id: BlobId::of(bytes),
        len: bytes.len() as u32,
    };
    let content = Content {
        size: bytes.len() as u64,
        pieces: vec![piece],
    };
    let object = ObjectCache::new(place).path(&content.object());
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    std::fs::write(object, bytes).unwrap();
    tree.insert(name.as_bytes(), Meta::root(0o644), Kind::File(content))
        .unwrap();
}

fn read(mount: &impl AsRawFd, name: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(format!("/proc/self/fd/{}/{name}", mount.as_raw_fd()))
}

fn write(mount: &impl AsRawFd, name: &str) -> std::io::Result<()> {
    std::fs::write(format!("/proc/self/fd/{}/{name}", mount.as_raw_fd()), "new")
}

#[test]
fn what_data_lies_in_two_directories_is_found() {
    if !may_mount() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let data: Vec<PathBuf> = ["own", "base"].map(|n| scratch.path().join(n)).to_vec();
    let mut tree = Tree::new();
    file(&mut tree, "own", &[b'o'; 5000], &data[0]);
    file(&mut tree, "base", &[b'b'; 7000], &data[1]);
    let mut image = Vec::new();
    let id = TreeId::from_bytes([3; 32]);
    write_image(&tree, &id, &|_, _| Ok(()), &mut image).unwrap();
    let images = vec![ViewImage {
        file: scratch.path().join("image"),
        uuid: [3; 16],
        shared: None,
    }];
    std::fs::write(&images[0].file, image).unwrap();
    let plan = |data: &[PathBuf]| ImagePlan {
        images: images.clone(),
        data: data.to_vec(),
        head: None,
    };
    for plan in [
        MountPlan::Erofs(plan(&data)),
        MountPlan::ErofsLoop(plan(&data)),
    ] {
        let mounted = mount(&plan).unwrap();
        assert_eq!(read(&mounted, "own").unwrap(), [b'o'; 5000]);
        assert_eq!(read(&mounted, "base").unwrap(), [b'b'; 7000]);
        assert!(write(&mounted, "new").is_err(), "there is no head");
    }
    let mounted = mount(&MountPlan::Erofs(plan(&data[..1]))).unwrap();
    assert!(read(&mounted, "base").is_err(), "its data is not there");
}

#[test]
fn a_plan_without_a_head_takes_no_write_and_one_with_a_head_takes_it_there() {
    if !may_mount() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    for name in ["lower", "empty", "upper", "work"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::fs::write(path("lower/file"), "old").unwrap();
    let head = cairn_model::Head {
        upper: path("upper"),
        work: path("work"),
    };
    let stack = |head| {
        MountPlan::Overlay(StackPlan {
            lowers: vec![path("lower"), path("empty")],
            head,
        })
    };
    let copy = |writable| {
        MountPlan::Copy(CopyPlan {
            directory: path("lower"),
            writable,
        })
    };
    for plan in [stack(None), copy(false)] {
        let mounted = mount(&plan).unwrap();
        assert_eq!(read(&mounted, "file").unwrap(), b"old");
        assert!(write(&mounted, "file").is_err(), "{}", plan.driver());
    }
    write(&mount(&stack(Some(head))).unwrap(), "file").unwrap();
    assert_eq!(std::fs::read(path("upper/file")).unwrap(), b"new");
    assert_eq!(std::fs::read(path("lower/file")).unwrap(), b"old");
    write(&mount(&copy(true)).unwrap(), "file").unwrap();
    assert_eq!(std::fs::read(path("lower/file")).unwrap(), b"new");
}
