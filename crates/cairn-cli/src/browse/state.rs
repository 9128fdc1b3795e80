//! What the page shows and what a key does to it. Pure: it draws nothing and asks the repository nothing by itself;
//! a key or an answer changes it, and what it wants to know comes back as questions.

use std::collections::HashSet;
use std::rc::Rc;

use cairn_model::Digest;
use cairn_repo::{BrowsedImage, FileTree, FilesOf, Overview, WhatIf};

use super::rows::{self, Row, Target};
use super::tree::Tree;

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// File content, as it is shown.
    Content,
    /// What is stored of it.
    Stored,
    /// What its removal would free.
    Freed,
}

impl Measure {
    /// All of them, in the order of the columns.
    pub const ALL: [Self; 3] = [Self::Content, Self::Stored, Self::Freed];

    /// The head of its column.
    pub fn title(self) -> &'static str {
        match self {
            Self::Content => "CONTENT",
            Self::Stored => "STORED",
            Self::Freed => "FREED",
        }
    }

    fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// What was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Press {
    /// One row up or down, or as many as a page or all have.
    Move(Step),
    /// Enter, or to the right.
    Open,
    /// To the left.
    Back,
    /// Escape.
    Escape,
    /// Ctrl-C.
    Interrupt,
    /// A letter or sign.
    Char(char),
}

/// How far the selection moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To the row above.
    Up,
    /// To the row below.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first row.
    First,
    /// To the last row.
    Last,
}

/// What the page wants of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Images and layers.
    Overview,
    /// What the removal of these images would free. The number tells answers apart.
    Forecast(u64, Vec<Digest>),
    /// The files of an image or layer.
    Files(FilesOf),
    /// Remove these images, and collect.
    Remove(Vec<Digest>),
}

/// What the repository says. What went wrong is text.
#[derive(Debug)]
pub enum Answer {
    /// Images and layers.
    Overview(Result<Box<Overview>, String>),
    /// What a removal would free.
    Forecast(u64, Result<WhatIf, String>),
    /// Files.
    Files(FilesOf, Result<FileTree, String>),
    /// What a removal did, line by line.
    Removed(Vec<String>),
}

/// Where a level is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// All images.
    Images,
    /// The layers of one.
    Layers(Digest),
    /// A directory of an image or layer.
    Files(FilesOf, usize),
}

/// A list that was opened, and which of its rows is selected.
#[derive(Debug, Clone)]
pub struct Level {
    pub place: Place,
    pub title: String,
    pub at: usize,
    /// What was opened from here.
    opened: Option<Target>,
}

impl Level {
    fn new(place: Place, title: String) -> Self {
        Self {
            place,
            title,
            at: 0,
            opened: None,
        }
    }
}

/// The files that were asked for last.
#[derive(Debug)]
pub enum Files {
    /// They are being counted.
    Awaited,
    /// They are here.
    Here(Rc<Tree>),
    /// They cannot be read.
    Failed(String),
}

/// What is known of the removal of the marked images.
#[derive(Debug, Clone, PartialEq)]
pub enum Forecast {
    /// Nothing is marked.
    None,
    /// It is being computed.
    Awaited,
    /// This.
    Known(WhatIf),
    /// It cannot be computed.
    Failed(String),
}

/// What stands over the list, and takes the next key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialog {
    /// The keys.
    Help,
    /// Whether the marked images are to be removed.
    Confirm,
    /// They are being removed.
    Removing,
    /// What was done.
    Told(Vec<String>),
}

/// The page.
#[derive(Debug)]
pub struct State {
    pub root: String,
    pub overview: Overview,
    pub levels: Vec<Level>,
    pub rows: Vec<Row>,
    pub measure: Measure,
    pub marked: HashSet<Digest>,
    pub forecast: Forecast,
    pub dialog: Option<Dialog>,
    pub files: Option<(FilesOf, Files)>,
    pub message: Option<String>,
    /// Rows that the screen has room for.
    pub page: usize,
    /// True once the user wants to leave.
    pub left: bool,
    /// The number of the last forecast that was asked for.
    asked: u64,
}

impl State {
    /// The list of images of the repository in `root`.
    pub fn new(root: String, overview: Overview) -> Self {
        let mut state = Self {
            root,
            overview,
            levels: vec![Level::new(Place::Images, "images".to_owned())],
            rows: Vec::new(),
            measure: Measure::Freed,
            marked: HashSet::new(),
            forecast: Forecast::None,
            dialog: None,
            files: None,
            message: None,
            page: 1,
            left: false,
            asked: 0,
        };
        state.list(None);
        state
    }

    /// The list that is shown.
    pub fn level(&self) -> &Level {
        self.levels
            .last()
            .expect("BUG: the list of images is never left")
    }

    fn level_mut(&mut self) -> &mut Level {
        self.levels
            .last_mut()
            .expect("BUG: the list of images is never left")
    }

    /// The tree of the files that are shown.
    pub fn tree(&self, of: &FilesOf) -> Option<&Tree> {
        match &self.files {
            Some((known, Files::Here(tree))) if known == of => Some(tree),
            _ => None,
        }
    }

    /// The marked images in the order in which they are listed.
    pub fn marked_images(&self) -> impl Iterator<Item = &BrowsedImage> {
        let images = self.overview.images.iter();
        images.filter(|image| self.marked.contains(&image.id))
    }

    /// Makes the rows anew, and selects this one if it is among them.
    fn list(&mut self, selected: Option<Target>) {
        self.rows = rows::of(self);
        let known = |target: Target| self.rows.iter().position(|row| row.target == target);
        let at = selected.and_then(known).unwrap_or(self.level().at);
        let last = self.rows.len().saturating_sub(1);
        self.level_mut().at = at.min(last);
    }

    /// Makes the rows anew; the selected one stays selected wherever it is then.
    fn refresh(&mut self) {
        let selected = self.selected().map(|row| row.target.clone());
        self.list(selected);
    }

    fn selected(&self) -> Option<&Row> {
        self.rows.get(self.level().at)
    }

    /// Does what a key is for; what is to be asked of the repository.
    pub fn press(&mut self, press: Press) -> Option<Ask> {
        self.message = None;
        match (press, self.dialog.take()) {
            (Press::Interrupt, _) => self.left = true,
            (Press::Escape | Press::Char('q'), Some(Dialog::Removing)) => self.left = true,
            (_, Some(Dialog::Removing)) => self.dialog = Some(Dialog::Removing),
            (Press::Char('y' | 'Y'), Some(Dialog::Confirm)) => return self.remove(),
            // Any other key closes what stands over the list, and does nothing else.
            (_, Some(_)) => {}
            (press, None) => return self.press_in_list(press),
        }
        None
    }

    fn press_in_list(&mut self, press: Press) -> Option<Ask> {
        match press {
            Press::Interrupt | Press::Escape | Press::Char('q') => self.left = true,
            Press::Move(step) => self.go(step),
            Press::Char('k') => self.go(Step::Up),
            Press::Char('j') => self.go(Step::Down),
            Press::Char('g') => self.go(Step::First),
            Press::Char('G') => self.go(Step::Last),
            Press::Open | Press::Char('l') => return self.open(),
            Press::Back | Press::Char('h') => self.back(),
            Press::Char('f') => return self.open_files(),
            Press::Char('m' | '\t') => {
                self.measure = self.measure.next();
                self.refresh();
            }
            Press::Char(' ') => return self.mark(),
            Press::Char('u') => {
                self.marked.clear();
                return self.marks_changed();
            }
            Press::Char('d') => return self.confirm(),
            Press::Char('r') => return Some(Ask::Overview),
            Press::Char('?') => self.dialog = Some(Dialog::Help),
            Press::Char(_) => {}
        }
        None
    }

    fn go(&mut self, step: Step) {
        let (last, page) = (self.rows.len().saturating_sub(1), self.page.max(1));
        let level = self.level_mut();
        let at = match step {
            Step::Up => level.at.saturating_sub(1),
            Step::Down => level.at.saturating_add(1),
            Step::PageUp => level.at.saturating_sub(page),
            Step::PageDown => level.at.saturating_add(page),
            Step::First => 0,
            Step::Last => last,
        };
        level.at = at.min(last);
    }

    fn enter(&mut self, place: Place, title: String) {
        self.level_mut().opened = self.selected().map(|row| row.target.clone());
        self.levels.push(Level::new(place, title));
        self.list(None);
    }

    fn open(&mut self) -> Option<Ask> {
        let row = self.selected()?.clone();
        match row.target {
            Target::Image(id) => self.enter(Place::Layers(id), row.name),
            Target::Layer(name, _) => return self.enter_files(FilesOf::Layer(name), row.name),
            Target::Node(node) => {
                if let (true, Place::Files(of, _)) = (row.is_directory, self.level().place.clone())
                {
                    self.enter(Place::Files(of, node), row.name);
                }
            }
        }
        None
    }

    /// The files of the selected image, or of the one whose layers are listed.
    fn open_files(&mut self) -> Option<Ask> {
        let id = match (&self.level().place, &self.selected()?.target) {
            (Place::Images, Target::Image(id)) | (Place::Layers(id), _) => *id,
            _ => return None,
        };
        self.enter_files(FilesOf::Image(id), "files".to_owned())
    }

    fn enter_files(&mut self, of: FilesOf, title: String) -> Option<Ask> {
        let is_known =
            matches!(&self.files, Some((known, Files::Here(_) | Files::Awaited)) if *known == of);
        if !is_known {
            self.files = Some((of.clone(), Files::Awaited));
        }
        self.enter(Place::Files(of.clone(), 0), title);
        (!is_known).then_some(Ask::Files(of))
    }

    fn back(&mut self) {
        if self.levels.len() > 1 {
            self.levels.pop();
            self.list(self.level().opened.clone());
        }
    }
}

/// Marks, and the removal of what is marked.
impl State {
    /// Marks the selected image or takes its mark away, and goes on to the next one.
    fn mark(&mut self) -> Option<Ask> {
        let Target::Image(id) = self.selected()?.target else {
            self.message = Some("only images can be marked".to_owned());
            return None;
        };
        if !self.marked.remove(&id) {
            self.marked.insert(id);
        }
        self.refresh();
        self.go(Step::Down);
        self.marks_changed()
    }

    fn marks_changed(&mut self) -> Option<Ask> {
        self.refresh();
        self.asked += 1;
        if self.marked.is_empty() {
            self.forecast = Forecast::None;
            return None;
        }
        self.forecast = Forecast::Awaited;
        let marked = self.marked_images().map(|image| image.id);
        Some(Ask::Forecast(self.asked, marked.collect()))
    }

    /// Asks whether what is marked is to go, once it is known what that frees.
    fn confirm(&mut self) -> Option<Ask> {
        self.message = match &self.forecast {
            Forecast::None => Some("mark images with the space bar first".to_owned()),
            Forecast::Awaited => Some("what that frees is still being computed".to_owned()),
            Forecast::Failed(why) => Some(why.clone()),
            Forecast::Known(answer) if answer.refused.len() == answer.images.len() => {
                Some("none of the marked images can be removed".to_owned())
            }
            Forecast::Known(_) => {
                self.dialog = Some(Dialog::Confirm);
                None
            }
        };
        None
    }

    fn remove(&mut self) -> Option<Ask> {
        self.dialog = Some(Dialog::Removing);
        Some(Ask::Remove(
            self.marked_images().map(|image| image.id).collect(),
        ))
    }
}

/// Answers of the repository.
impl State {
    /// Takes an answer; what is to be asked next.
    pub fn answer(&mut self, answer: Answer) -> Option<Ask> {
        match answer {
            Answer::Overview(Ok(overview)) => return self.renew(*overview),
            Answer::Overview(Err(why)) => self.message = Some(why),
            Answer::Forecast(number, answer) if number == self.asked => {
                self.message = None;
                self.forecast = answer.map_or_else(Forecast::Failed, Forecast::Known);
            }
            // Other images are marked by now.
            Answer::Forecast(..) => {}
            Answer::Files(of, tree) => {
                if let Some((known, files)) = &mut self.files
                    && *known == of
                {
                    *files = match tree {
                        Ok(tree) => Files::Here(Rc::new(Tree::new(tree))),
                        Err(why) => Files::Failed(why),
                    };
                }
                self.refresh();
            }
            Answer::Removed(lines) => {
                self.dialog = Some(Dialog::Told(lines));
                self.marked.clear();
                self.forecast = Forecast::None;
                self.asked += 1;
                return Some(Ask::Overview);
            }
        }
        None
    }

    /// Shows the images as they are now. Marks of those that are left stay.
    fn renew(&mut self, overview: Overview) -> Option<Ask> {
        self.levels.truncate(1);
        self.files = None;
        self.overview = overview;
        let there: HashSet<Digest> = self.overview.images.iter().map(|image| image.id).collect();
        self.marked.retain(|id| there.contains(id));
        self.marks_changed()
    }
}
