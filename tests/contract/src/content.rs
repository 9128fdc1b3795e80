//! Cases about content: what is mounted, changed, committed and shown again.

use std::os::unix::fs::MetadataExt;

use cairn_model::Driver;

use crate::eyes::survey;
use crate::graph::upper;
use crate::{Fresh, Snapshotter, may_mount, run_script};

/// Each makes a layer over the one before: opaque directories, renames of lower ones, links, deletions,
/// owners, modes, kinds that change.
const CHANGES: [&str; 12] = [
    "mkdir -p a/b c; echo one > a/b/f; echo two > c/g; ln a/b/f c/hard; ln -s ../a c/sym; chmod 1777 c; chown 12:34 a",
    "rm -r c; mkdir c; echo new > c/only",
    "mv a moved; echo more > moved/b/h; rm moved/b/f",
    "chown -R 55:66 moved; chmod 700 moved/b; touch -d 2001-01-01 moved/b/h",
    "ln moved/b/h link; rm moved/b/h; echo x >> link",
    "mv moved/b up; mv up/h . 2>/dev/null || true; mkdir moved/b; echo again > moved/b/z",
    "rm -r moved; echo 'a file now' > moved",
    "rm moved; mkdir -p moved/deep/er; mknod fifo p",
    "mv moved/deep/er moved/shallow; rmdir moved/deep; rm fifo",
    "mkdir -p linked/sub; echo one > linked/f; ln linked/f linked/g; ln linked/f linked/sub/h; ln -s f linked/s; ln linked/s linked/t",
    "mv linked renamed; mv renamed/sub renamed/below; rm renamed/t",
    "mkdir above; mv renamed above/again; mv above/again/below apart",
];

/// Looks at a committed snapshot, and that nothing can be written to it.
fn seen(s: &dyn Snapshotter, name: &str, look: &mut dyn FnMut(&std::path::Path)) {
    s.show(name, &mut |place| {
        look(place);
        let written = std::fs::write(place.join("no"), "");
        assert!(written.is_err(), "a view refuses a real write");
    });
}

/// The same steps on a plain directory are what it has to come to.
pub fn what_a_mount_shows_before_a_commit_is_what_it_shows_after(fresh: Fresh<'_>) {
    if !may_mount() {
        return;
    }
    for driver in [Driver::Packs, Driver::Erofs, Driver::Overlay] {
        let s = &*fresh(Some(driver));
        let plain = tempfile::tempdir().unwrap();
        // As the root of a snapshot over nothing is.
        run_script(plain.path(), "chmod 755 .");
        let mut parent: Option<String> = None;
        for (i, script) in CHANGES.iter().enumerate() {
            run_script(plain.path(), script);
            s.prepare("work", parent.as_deref(), &[]).unwrap();
            s.change("work", script);
            let name = format!("c{i}");
            s.commit(&name, "work", &[]).unwrap();
            let wanted = survey(plain.path());
            seen(s, &name, &mut |place| {
                let shown = survey(place);
                assert_eq!(shown, wanted, "{driver}: {script}");
            });
            parent = Some(name);
        }
        assert_ne!(s.is_sound(), Some(false), "{driver}");
    }
}

/// As deep as overlayfs could not be with a lower for each.
pub fn a_hundred_and_twenty_eight_layers_stack(fresh: Fresh<'_>) {
    if !may_mount() {
        return;
    }
    let s = &*fresh(None);
    let mut parent: Option<String> = None;
    for i in 0..128 {
        s.prepare("work", parent.as_deref(), &[]).unwrap();
        let upper = upper(s, "work");
        std::fs::write(upper.join(format!("f{i}")), format!("{i}")).unwrap();
        std::fs::write(upper.join("same"), format!("{i}")).unwrap();
        let name = format!("layer{i}");
        s.commit(&name, "work", &[]).unwrap();
        parent = Some(name);
    }
    for (layer, files) in [(0, 2), (63, 65), (127, 129)] {
        seen(s, &format!("layer{layer}"), &mut |place| {
            let text = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
            assert_eq!(std::fs::read_dir(place).unwrap().count(), files);
            assert_eq!(text("same"), layer.to_string());
            assert_eq!(text("f0"), "0");
        });
    }
}

/// Neither size nor time need tell them apart.
pub fn changes_within_one_second_are_seen(fresh: Fresh<'_>) {
    if !may_mount() {
        return;
    }
    let s = &*fresh(None);
    s.prepare("work", None, &[]).unwrap();
    s.change("work", "echo aaaa > f; echo x > g; touch -d @1 f g");
    s.commit("one", "work", &[]).unwrap();
    s.prepare("work", Some("one"), &[]).unwrap();
    s.change("work", "echo bbbb > f; chmod 600 g; touch -d @1 f g");
    s.commit("two", "work", &[]).unwrap();
    for (name, content, mode) in [("one", "aaaa\n", 0o644), ("two", "bbbb\n", 0o600)] {
        seen(s, name, &mut |place| {
            assert_eq!(std::fs::read_to_string(place.join("f")).unwrap(), content);
            let found = place.join("g").metadata().unwrap().mode();
            assert_eq!(found & 0o7777, mode, "{name}");
        });
    }
}

/// 0755, of root, and nothing in it.
pub fn an_empty_snapshot_has_an_ordinary_root(fresh: Fresh<'_>) {
    if !may_mount() {
        return;
    }
    let s = &*fresh(None);
    s.prepare("work", None, &[]).unwrap();
    s.commit("nothing", "work", &[]).unwrap();
    seen(s, "nothing", &mut |place| {
        let meta = place.join(".").metadata().unwrap();
        assert_eq!(
            (meta.mode() & 0o7777, meta.uid(), meta.gid()),
            (0o755, 0, 0)
        );
        assert_eq!(std::fs::read_dir(place).unwrap().count(), 0);
    });
}
