//! Small trees in, what a repository says of them out.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use cairn_layer::{NodeKind, read_content};
use cairn_model::Driver;
use cairn_repo::{ImportOptions, Options, Repo};
use cairn_snapshot::Snapshotter;
use cairn_store::Disk;

/// Path and content of every regular file.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Options over a disk, with the driver that mounts nothing.
pub fn options(disk: Disk) -> Options {
    Options {
        driver: Some(Driver::Copy),
        disk,
        ..Options::default()
    }
}

/// Files that share some content with those of other numbers.
pub fn files(number: u64) -> Files {
    let content = |seed: u64, length: usize| -> Vec<u8> {
        let mut out = Vec::new();
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill({
                out.resize(length, 0);
                &mut out
            });
        out
    };
    let mut files = Files::new();
    files.insert("shared".into(), content(1, 3000));
    files.insert(
        format!("of-{}", number / 2),
        content(100 + number / 2, 2000),
    );
    files.insert("own".into(), content(1000 + number, 1500));
    files.insert("empty".into(), Vec::new());
    let mut alike = content(7, 2500);
    alike.extend(number.to_le_bytes());
    files.insert("alike".into(), alike);
    files
}

/// Writes them below `root`, which is made.
pub fn write(root: &Path, files: &Files) {
    std::fs::create_dir_all(root).unwrap();
    for (name, content) in files {
        std::fs::write(root.join(name), content).unwrap();
    }
}

/// Imports a directory under a name.
pub fn import(repo: &Repo, directory: &Path, name: &str) -> cairn_repo::Result<()> {
    let options = ImportOptions {
        name: Some(name.parse().unwrap()),
        platform: cairn_image::Platform::host(),
        read_all: false,
        verify_key: None,
    };
    repo.images().import(directory, &options).map(drop)
}

/// What an image shows.
pub fn shown(repo: &Repo, name: &str) -> cairn_repo::Result<Files> {
    let image = repo.images().find(name)?;
    let top = image.row.top.expect("an image with layers");
    let mut files = Files::new();
    let tree = repo.snapshots().tree(&top)?;
    for (path, id) in tree.walk() {
        if let NodeKind::File(content) = &tree.node(id).kind {
            let mut bytes = Vec::new();
            read_content(repo.store(), content, &mut bytes)?;
            files.insert(String::from_utf8(path).unwrap(), bytes);
        }
    }
    Ok(files)
}

/// Names of all images.
pub fn names(repo: &Repo) -> Vec<String> {
    let images = repo.images().readable().unwrap();
    let mut names: Vec<String> = images
        .iter()
        .flat_map(|image| image.names.iter().map(ToString::to_string))
        .collect();
    names.sort_unstable();
    names
}

/// Makes an active snapshot over an image and changes a file in its head.
pub fn change(repo: &Repo, key: &str, image: &str, content: &[u8]) -> cairn_repo::Result<()> {
    let top = repo
        .images()
        .find(image)?
        .row
        .top
        .expect("an image with layers");
    let key = key.parse().unwrap();
    repo.snapshots()
        .prepare(&key, Some(&top), Default::default())?;
    let head = repo
        .snapshots()
        .stat(&key)?
        .head
        .expect("a writable snapshot");
    let upper = repo.root().join("heads").join(head.hex()).join("upper");
    std::fs::write(upper.join("own"), content).unwrap();
    Ok(())
}

/// Makes an image of a snapshot.
pub fn commit(repo: &Repo, key: &str, base: &str, name: &str) -> cairn_repo::Result<()> {
    let base = repo.images().find(base)?.config;
    let options = cairn_repo::CommitOptions {
        name: Some(name.parse().unwrap()),
        ..Default::default()
    };
    let key = key.parse().unwrap();
    repo.images().commit(&key, Some(&base), &options).map(drop)
}
