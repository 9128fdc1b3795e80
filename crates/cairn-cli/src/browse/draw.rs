//! Draws the page on whatever room there is. Text of images was made printable when rows were made.

use cairn_model::printable;
use cairn_repo::WhatIf;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::rows::Row;
use super::state::{Dialog, Files, Forecast, Measure, Place, State};
use crate::output::size;

/// Columns from which on all measures are shown, and a bar.
const WIDE: u16 = 76;
const BAR: usize = 10;
const DIALOG_COLUMNS_MAX: u16 = 64;

const KEYS: &str = "? help  q quit  ⏎ open  ← back  space mark  d remove  m measure";
const HELP: &str = "\
↑ ↓ PgUp PgDn Home End   move
⏎ →  open: layers of an image, files of a layer
f    files of the image, all layers together
← h  back
m    sort by content, by what is stored, or by what is
     freed if it is removed
space, u   mark an image; unmark all
d    remove the marked images
r    read the repository again
q Esc Ctrl-C   leave";

/// Rows of the list that a screen of this height has room for.
pub fn page(height: u16) -> usize {
    usize::from(height.saturating_sub(5)).max(1)
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State, colours: bool) {
    let [head, path, columns, list, foot, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let accent = match colours {
        true => Style::new().fg(Color::Cyan),
        false => Style::new(),
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let stats = &state.overview.stats;
    let title = format!(
        "cairn {}  {} images, {} on disk",
        printable(&state.root),
        stats.images.len(),
        size(stats.disk)
    );
    frame.render_widget(Line::styled(title, bold), head);
    let titles: Vec<&str> = state.levels.iter().map(|level| &*level.title).collect();
    // The end of a long path says where one is.
    let title = Line::styled(printable(&titles.join(" / ")), accent);
    let title = match title.width() > usize::from(path.width) {
        true => title.right_aligned(),
        false => title,
    };
    frame.render_widget(title, path);
    frame.render_widget(Line::styled(heads(state, columns.width), accent), columns);
    draw_list(frame, state, list, accent);
    frame.render_widget(Line::styled(foot_line(state), bold), foot);
    frame.render_widget(Line::styled(KEYS, accent), keys);
    if let Some(dialog) = &state.dialog {
        draw_dialog(frame, state, dialog);
    }
}

fn heads(state: &State, width: u16) -> String {
    let mut text = " ".repeat(2);
    for measure in shown(state, width) {
        let mark = if measure == state.measure { "↓" } else { "" };
        text.push_str(&format!("{:>9} ", format!("{}{mark}", measure.title())));
    }
    if width >= WIDE {
        text.push_str(&" ".repeat(BAR + 3));
    }
    text + "NAME"
}

/// Measures that there is room for.
fn shown(state: &State, width: u16) -> Vec<Measure> {
    match width >= WIDE {
        true => Measure::ALL.to_vec(),
        false => vec![state.measure],
    }
}

fn draw_list(frame: &mut Frame<'_>, state: &State, area: Rect, accent: Style) {
    let height = usize::from(area.height);
    let at = state.level().at;
    // The selected row stays in the middle, but at the ends of the list.
    let first = at.saturating_sub(height / 2);
    let first = first.min(state.rows.len().saturating_sub(height));
    let largest = state
        .rows
        .iter()
        .map(|row| row.sizes[state.measure as usize]);
    let largest = largest.max().unwrap_or(0);
    let rows = state.rows.iter().enumerate().skip(first).take(height);
    let mut lines: Vec<Line<'_>> = rows
        .map(|(number, row)| {
            let line = line(state, row, largest, area.width, accent);
            match number == at {
                true => line.style(Style::new().add_modifier(Modifier::REVERSED)),
                false => line,
            }
        })
        .collect();
    if lines.is_empty() {
        lines.push(Line::raw(format!("  {}", nothing(state))));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// What is said of a list without rows.
fn nothing(state: &State) -> String {
    match (&state.level().place, &state.files) {
        (Place::Files(..), Some((_, Files::Awaited))) => "reading …".to_owned(),
        (Place::Files(..), Some((_, Files::Failed(why)))) => printable(why),
        (Place::Files(..), _) => "no files".to_owned(),
        (Place::Images, _) => "no images; bring one with \"cairn import\"".to_owned(),
        (Place::Layers(_), _) => "no layers".to_owned(),
    }
}

fn line<'a>(state: &State, row: &'a Row, largest: u64, width: u16, accent: Style) -> Line<'a> {
    let mark = if row.is_marked { "* " } else { "  " };
    let mut spans = vec![Span::styled(mark, accent)];
    for measure in shown(state, width) {
        let text = format!("{:>9} ", size(row.sizes[measure as usize]));
        let style = match measure == state.measure {
            true => Style::new().add_modifier(Modifier::BOLD),
            false => Style::new(),
        };
        spans.push(Span::styled(text, style));
    }
    if width >= WIDE {
        let own = u128::from(row.sizes[state.measure as usize]) * BAR as u128;
        let filled = own.checked_div(u128::from(largest)).unwrap_or(0) as usize;
        let bar = format!("[{}{}] ", "#".repeat(filled), " ".repeat(BAR - filled));
        spans.push(Span::styled(bar, accent));
    }
    spans.push(Span::raw(&*row.name));
    if row.is_directory && matches!(state.level().place, Place::Files(..)) {
        spans.push(Span::raw("/"));
    }
    Line::from(spans)
}

/// What is marked, and what its removal frees; or what a key had to say.
fn foot_line(state: &State) -> String {
    if let Some(message) = &state.message {
        return printable(message);
    }
    let marked = state.marked.len();
    match &state.forecast {
        Forecast::None => String::new(),
        Forecast::Awaited => format!("{marked} marked: counting …"),
        Forecast::Failed(why) => printable(why),
        Forecast::Known(answer) => format!("{marked} marked: {}", freed(answer)),
    }
}

fn freed(answer: &WhatIf) -> String {
    let mut text = format!("removal frees {}", size(answer.freed_bytes));
    if !answer.refused.is_empty() {
        text.push_str(&format!("; {} cannot be removed", answer.refused.len()));
    }
    text
}

fn draw_dialog(frame: &mut Frame<'_>, state: &State, dialog: &Dialog) {
    let (title, lines): (&str, Vec<String>) = match dialog {
        Dialog::Help => ("Keys", HELP.lines().map(ToOwned::to_owned).collect()),
        Dialog::Confirm => ("Remove images?", question(state)),
        Dialog::Removing => (
            "Removing",
            vec!["images go, and what nothing needs then is collected …".to_owned()],
        ),
        Dialog::Told(lines) => ("Done", lines.clone()),
    };
    let area = frame.area();
    let width = area.width.min(DIALOG_COLUMNS_MAX);
    let lines: Vec<Line<'_>> = lines
        .iter()
        .map(|line| Line::raw(printable(line)))
        .collect();
    let inside = usize::from(width.saturating_sub(2)).max(1);
    let rows: usize = lines
        .iter()
        .map(|line| line.width().div_ceil(inside).max(1))
        .sum();
    let height = u16::try_from(rows + 2).unwrap_or(u16::MAX).min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let text = Paragraph::new(lines).wrap(Wrap { trim: false });
    frame.render_widget(Clear, place);
    frame.render_widget(text.block(Block::bordered().title(title)), place);
}

/// What matters comes first: a small screen may not have room for all names.
fn question(state: &State) -> Vec<String> {
    let Forecast::Known(answer) = &state.forecast else {
        return Vec::new();
    };
    let stays = |name: &String| answer.refused.iter().any(|refused| refused.image == *name);
    let mut lines = vec![
        format!(
            "{} images go, with all their names; then what nothing needs is collected. That frees {}.",
            answer.images.len() - answer.refused.len(),
            size(answer.freed_bytes)
        ),
        "y: remove them   any other key: no".to_owned(),
    ];
    for refused in &answer.refused {
        lines.push(format!("stays: {} ({})", refused.image, refused.why));
    }
    let going = answer.images.iter().filter(|name| !stays(name));
    lines.extend(going.map(|name| format!("goes: {name}")));
    lines
}
