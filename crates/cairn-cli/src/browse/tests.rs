use cairn_model::Digest;
use cairn_repo::{BrowsedImage, FileTree, FilesOf, Overview, RefusedRemoval, Share, WhatIf};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::draw;
use super::state::{Answer, Ask, Dialog, Forecast, Measure, Press, State, Step};
use super::tree::Tree;

fn id(n: u8) -> Digest {
    Digest::from_bytes([n; 32])
}

fn share(name: &str, [content, stored, freed]: [u64; 3]) -> Share {
    let mut share = Share::default();
    share.name = name.to_owned();
    (share.content_bytes, share.shared_bytes, share.freed_bytes) = (content, stored, freed);
    share
}

/// Images with these names and sizes, each of one layer of its own.
fn overview(images: &[(&str, [u64; 3])]) -> Overview {
    let mut overview = Overview::default();
    for (n, (name, sizes)) in (0..).zip(images) {
        let mut image = BrowsedImage::new(id(n));
        image.names = vec![(*name).to_owned()];
        image.layers = vec![(usize::from(n), Some("RUN make".to_owned()))];
        overview.images.push(image);
        overview.stats.images.push(share(name, *sizes));
        overview
            .stats
            .layers
            .push(share(&id(n).to_string(), *sizes));
    }
    overview
}

fn three() -> State {
    let images = [
        ("a:1", [300, 30, 3]),
        ("b:1", [200, 20, 20]),
        ("c:1", [100, 50, 10]),
    ];
    State::new("/r".to_owned(), overview(&images))
}

/// `usr/lib/a`, `usr/lib/b` and `etc`, which is a file; b has two bytes that others have too.
fn files() -> FileTree {
    let mut files = FileTree::default();
    files.depth = vec![0, 1, 2, 3, 3, 1];
    files.name = ["", "usr", "lib", "a", "b", "etc"]
        .map(str::to_owned)
        .to_vec();
    files.others = vec![0, 0, 0, 0, 0, 7];
    files.unique = vec![0, 0, 0, 100, 50, 9];
    files.times = vec![0, 0, 0, 1, 2, -12];
    files.stored = vec![0, 0, 0, 40, 20, 5];
    files.alone = vec![0, 0, 3, -1, 2, 0];
    files.layer = vec![-1, -1, -1, 0, 0, 0];
    files
}

fn drawn(state: &State, width: u16, height: u16, colours: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let draw = |frame: &mut ratatui::Frame<'_>| draw::draw(frame, state, colours);
    terminal.draw(draw).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let lines = buffer.content.chunks(usize::from(buffer.area.width));
    let line = |cells: &[ratatui::buffer::Cell]| -> String {
        cells.iter().map(|cell| cell.symbol()).collect()
    };
    lines.map(line).collect::<Vec<_>>().join("\n")
}

fn names(state: &State) -> Vec<&str> {
    state.rows.iter().map(|row| &*row.name).collect()
}

fn selected(state: &State) -> &str {
    &state.rows[state.level().at].name
}

fn presses(state: &mut State, keys: &str) -> Vec<Ask> {
    keys.chars()
        .filter_map(|key| state.press(Press::Char(key)))
        .collect()
}

fn answer(freed: u64, refused: &[&str], images: &[&str]) -> WhatIf {
    let mut answer = WhatIf::default();
    answer.freed_bytes = freed;
    answer.images = images.iter().map(|name| (*name).to_owned()).collect();
    for name in refused {
        let mut one = RefusedRemoval::default();
        (one.image, one.why) = ((*name).to_owned(), "it is pinned".to_owned());
        answer.refused.push(one);
    }
    answer
}

#[test]
fn images_are_sorted_by_the_measure_and_the_selected_one_stays_selected() {
    let mut state = three();
    assert_eq!(names(&state), ["b:1", "c:1", "a:1"]);
    state.press(Press::Move(Step::Down));
    assert_eq!(selected(&state), "c:1");
    presses(&mut state, "m");
    assert_eq!(
        (state.measure, names(&state)),
        (Measure::Content, vec!["a:1", "b:1", "c:1"])
    );
    assert_eq!(selected(&state), "c:1");
    presses(&mut state, "m");
    assert_eq!((state.measure, selected(&state)), (Measure::Stored, "c:1"));
}

#[test]
fn layers_and_files_are_opened_and_files_are_asked_for_when_they_are() {
    let mut state = three();
    assert_eq!(state.press(Press::Open), None);
    assert_eq!(state.rows.len(), 1);
    assert!(selected(&state).starts_with("1. ") && selected(&state).ends_with("RUN make"));
    let of = FilesOf::Layer(id(1).to_string());
    assert_eq!(state.press(Press::Open), Some(Ask::Files(of.clone())));
    assert!(text(&drawn(&state, 60, 10, true)).contains("reading"));
    // Of another layer, which is not looked at any more.
    state.answer(Answer::Files(FilesOf::Layer("x".to_owned()), Ok(files())));
    assert!(state.rows.is_empty());
    state.answer(Answer::Files(of.clone(), Ok(files())));
    assert_eq!(names(&state), ["usr", "(7 smaller files)"]);
    state.press(Press::Open);
    state.press(Press::Open);
    assert_eq!(names(&state), ["a", "b"]);
    // A file is not opened.
    state.press(Press::Open);
    assert_eq!(state.levels.len(), 5);
    for _ in 0..9 {
        state.press(Press::Back);
    }
    assert_eq!((state.levels.len(), selected(&state)), (1, "b:1"));
    // What was read is not read again.
    state.press(Press::Open);
    assert_eq!(state.press(Press::Open), None);
    assert_eq!(names(&state), ["usr", "(7 smaller files)"]);
}

#[test]
fn files_that_cannot_be_read_are_said_and_asked_for_again() {
    let mut state = three();
    let of = FilesOf::Image(id(1));
    assert_eq!(state.press(Press::Char('f')), Some(Ask::Files(of.clone())));
    let why = "blob 3f9a is missing".to_owned();
    state.answer(Answer::Files(of.clone(), Err(why)));
    assert!(text(&drawn(&state, 60, 10, true)).contains("blob 3f9a is missing"));
    state.press(Press::Back);
    assert_eq!(state.press(Press::Char('f')), Some(Ask::Files(of)));
}

#[test]
fn a_directory_is_as_large_as_all_that_is_in_it() {
    let tree = Tree::new(files());
    assert_eq!(tree.children(0).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(tree.children(2).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(tree.children(5).count(), 0);
    assert_eq!(tree.sizes(3), [100, 40, 40]);
    assert_eq!(tree.sizes(4), [100, 20, 2]);
    // What only several of its files have is freed with the directory, and with none of them.
    assert_eq!(tree.sizes(2), [200, 60, 45]);
    assert_eq!(tree.sizes(0), [212, 65, 45]);
    assert!(tree.is_directory(1) && !tree.is_directory(3));
    assert_eq!(Tree::new(FileTree::default()).children(0).count(), 0);
}

#[test]
fn what_marked_images_free_is_asked_for_and_only_the_last_answer_counts() {
    let mut state = three();
    let first = state.press(Press::Char(' '));
    assert_eq!(first, Some(Ask::Forecast(1, vec![id(1)])));
    let second = state.press(Press::Char(' '));
    assert_eq!(second, Some(Ask::Forecast(2, vec![id(1), id(2)])));
    state.answer(Answer::Forecast(1, Ok(answer(5, &[], &["b:1"]))));
    assert_eq!(state.forecast, Forecast::Awaited);
    // Nothing is removed while it is not known what that frees.
    assert_eq!((presses(&mut state, "d"), &state.dialog), (vec![], &None));
    state.answer(Answer::Forecast(
        2,
        Ok(answer(7000, &["c:1"], &["b:1", "c:1"])),
    ));
    let shown = text(&drawn(&state, 60, 12, true));
    assert!(
        shown.contains("2 marked: removal frees 7.00 kB; 1 cannot be removed"),
        "{shown}"
    );
    assert_eq!(
        (presses(&mut state, "u"), &state.forecast),
        (vec![], &Forecast::None)
    );
}

#[test]
fn images_go_after_a_question_and_only_by_its_answer() {
    let mut state = three();
    assert_eq!(presses(&mut state, "d"), []);
    assert_eq!(state.dialog, None);
    presses(&mut state, " ");
    state.answer(Answer::Forecast(1, Ok(answer(7000, &[], &["b:1"]))));
    for no in [
        Press::Open,
        Press::Escape,
        Press::Char('n'),
        Press::Char(' '),
    ] {
        presses(&mut state, "d");
        assert_eq!(state.dialog, Some(Dialog::Confirm));
        let shown = text(&drawn(&state, 60, 20, true));
        assert!(
            shown.contains("goes: b:1") && shown.contains("7.00 kB"),
            "{shown}"
        );
        assert_eq!(state.press(no), None);
        assert_eq!((&state.dialog, state.left), (&None, false));
    }
    assert_eq!(presses(&mut state, "dy"), [Ask::Remove(vec![id(1)])]);
    // Meanwhile nothing else is begun.
    assert_eq!(presses(&mut state, "yd mf"), []);
    assert_eq!(state.dialog, Some(Dialog::Removing));
    let told = vec!["1 images were removed.".to_owned()];
    assert_eq!(state.answer(Answer::Removed(told)), Some(Ask::Overview));
    assert!(text(&drawn(&state, 60, 20, true)).contains("1 images were removed."));
    let left = overview(&[("a:1", [300, 30, 3])]);
    state.answer(Answer::Overview(Ok(Box::new(left))));
    assert_eq!(names(&state), ["a:1"]);
    assert!(state.marked.is_empty());
}

#[test]
fn images_of_which_none_can_go_are_not_asked_about() {
    let mut state = three();
    presses(&mut state, " ");
    state.answer(Answer::Forecast(1, Ok(answer(0, &["b:1"], &["b:1"]))));
    assert_eq!((presses(&mut state, "d"), &state.dialog), (vec![], &None));
    assert!(text(&drawn(&state, 60, 10, true)).contains("none of the marked images"));
}

#[test]
fn each_key_that_leaves_does() {
    for press in [Press::Char('q'), Press::Escape, Press::Interrupt] {
        let mut state = three();
        assert_eq!(state.press(press), None);
        assert!(state.left, "{press:?}");
    }
    // Ctrl-C also does where others only close what is open.
    let mut state = three();
    presses(&mut state, "?q");
    assert!(!state.left && state.dialog.is_none());
    presses(&mut state, "?");
    state.press(Press::Interrupt);
    assert!(state.left);
}

#[test]
fn a_page_of_any_size_is_drawn() {
    let mut state = three();
    presses(&mut state, "  ");
    state.answer(Answer::Forecast(
        2,
        Ok(answer(1 << 40, &["b:1"], &["b:1", "c:1"])),
    ));
    let dialogs = [
        None,
        Some(Dialog::Help),
        Some(Dialog::Confirm),
        Some(Dialog::Removing),
        Some(Dialog::Told(vec!["x".repeat(500); 90])),
    ];
    for dialog in dialogs {
        state.dialog = dialog;
        for (width, height) in [
            (1, 1),
            (2, 9),
            (9, 2),
            (20, 5),
            (40, 10),
            (76, 24),
            (300, 90),
        ] {
            state.page = draw::page(height);
            drawn(&state, width, height, true);
        }
    }
    state.dialog = None;
    let shown = text(&drawn(&state, 40, 10, true));
    for words in ["/r", "FREED", "20 B", "b:1", "a:1", "? help", "2 marked"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn a_long_list_follows_the_selected_row() {
    let names: Vec<String> = (0..100).map(|n| format!("image-{n:03}:1")).collect();
    let images: Vec<(&str, [u64; 3])> = names.iter().map(|name| (&**name, [5, 5, 5])).collect();
    let mut state = State::new("/r".to_owned(), overview(&images));
    state.page = draw::page(10);
    for (step, name) in [
        (Step::PageDown, "image-005"),
        (Step::Last, "image-099"),
        (Step::Up, "image-098"),
        (Step::PageUp, "image-093"),
        (Step::First, "image-000"),
    ] {
        state.press(Press::Move(step));
        assert!(selected(&state).starts_with(name), "{step:?}");
        assert!(
            text(&drawn(&state, 40, 10, true)).contains(name),
            "{step:?}"
        );
    }
}

#[test]
fn no_name_steers_the_terminal() {
    let hostile = "x\u{1b}[2J\u{9b}31m\u{202e}gpj\u{7}\r\n\u{2028}y";
    let mut state = State::new(hostile.to_owned(), overview(&[(hostile, [1, 1, 1])]));
    presses(&mut state, " ");
    state.answer(Answer::Forecast(
        1,
        Ok(answer(1, &[hostile], &[hostile, "b"])),
    ));
    presses(&mut state, "d");
    assert_eq!(state.dialog, Some(Dialog::Confirm));
    let asked = drawn(&state, 100, 30, true);
    state.dialog = None;
    let of = FilesOf::Image(id(0));
    state.press(Press::Char('f'));
    let mut tree = files();
    tree.name[1] = hostile.to_owned();
    state.answer(Answer::Files(of, Ok(tree)));
    state.press(Press::Open);
    for buffer in [asked, drawn(&state, 100, 30, true)] {
        let shown = text(&buffer);
        assert!(shown.contains("u{1b}"), "{shown}");
        let hidden = |c: char| c != '\n' && cairn_model::is_hidden(c);
        assert!(!shown.contains(hidden), "{shown:?}");
    }
}

#[test]
fn without_colours_there_are_none() {
    let mut state = three();
    presses(&mut state, " ");
    let plain = |colours| {
        let buffer = drawn(&state, 100, 20, colours);
        let plain =
            |cell: &ratatui::buffer::Cell| cell.fg == Color::Reset && cell.bg == Color::Reset;
        buffer.content.iter().all(plain)
    };
    assert!(plain(false) && !plain(true));
}
