//! The terminal while the page is on it: another screen, keys that come one by one. However the page ends, the
//! terminal is as it was before.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::disable_raw_mode;

use super::state::{Press, Step};
use crate::output::Usage;

/// True while the page has the terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back from another thread than the page's, which does not get to it any more: a signal is about
/// to end the program.
pub fn give_back() {
    if make_usual() {
        // By itself: what the page is writing may hold the lock of standard output.
        let _ = rustix::io::write(rustix::stdio::stdout(), b"\x1b[?1049l\x1b[?25h");
    }
}

/// The least of it, which waits for nothing; false where the page has no terminal.
pub fn make_usual() -> bool {
    let taken = TAKEN.swap(false, Ordering::SeqCst);
    if taken {
        let _ = disable_raw_mode();
    }
    taken
}

/// The terminal.
pub struct Screen(pub DefaultTerminal);

/// Fails where nobody could see the page, or type.
pub fn require() -> Result<()> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let words = "--interactive needs a terminal; use \"cairn stats\" without it in a pipe";
        return Err(Usage(words.to_owned()).into());
    }
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if is_dumb {
        let words =
            "--interactive needs a terminal that can be drawn on; TERM says that this one cannot";
        return Err(Usage(words.to_owned()).into());
    }
    Ok(())
}

impl Screen {
    /// Takes the terminal. Should the program panic, its words come after the terminal is given back.
    pub fn open() -> Result<Self> {
        TAKEN.store(true, Ordering::SeqCst);
        let opened = ratatui::try_init();
        if opened.is_err() {
            TAKEN.store(false, Ordering::SeqCst);
            let _ = ratatui::try_restore();
        }
        Ok(Self(opened.context("use the terminal")?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if !TAKEN.swap(false, Ordering::SeqCst) {
            return;
        }
        let _ = self.0.show_cursor();
        // Nobody is left to tell if the terminal is gone.
        let _ = ratatui::try_restore();
    }
}

/// What happened on the terminal.
pub enum Happened {
    /// Nothing for a moment.
    Nothing,
    /// It has another size.
    Resized,
    /// Something was pressed.
    Pressed(Press),
}

/// Waits for a moment for something to happen.
pub fn next(patience: Duration) -> io::Result<Happened> {
    if !event::poll(patience)? {
        return Ok(Happened::Nothing);
    }
    Ok(match event::read()? {
        Event::Resize(..) => Happened::Resized,
        Event::Key(key) => pressed(key).map_or(Happened::Nothing, Happened::Pressed),
        _ => Happened::Nothing,
    })
}

fn pressed(key: KeyEvent) -> Option<Press> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c' | 'C') if control => Press::Interrupt,
        KeyCode::Char(_) if control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Up => Press::Move(Step::Up),
        KeyCode::Down => Press::Move(Step::Down),
        KeyCode::PageUp => Press::Move(Step::PageUp),
        KeyCode::PageDown => Press::Move(Step::PageDown),
        KeyCode::Home => Press::Move(Step::First),
        KeyCode::End => Press::Move(Step::Last),
        KeyCode::Enter | KeyCode::Right => Press::Open,
        KeyCode::Left | KeyCode::Backspace => Press::Back,
        KeyCode::Esc => Press::Escape,
        KeyCode::Tab => Press::Char('\t'),
        KeyCode::Char(c) => Press::Char(c),
        _ => return None,
    })
}
