//! `cairn stats --interactive`: a page on a terminal to look around in what is stored, and to remove images.
//!
//! **Invariant:** what is drawn was made printable, so no name out of an image steers the terminal; nothing is removed
//! but what was marked, and after a question that says what that frees; the terminal is given back as it was.
//!
//! [`State`] is the page without a terminal and without a repository: keys and answers go in, questions come out.
//! `draw` shows it, `work` answers its questions in a thread of its own, `screen` holds the terminal.

mod draw;
mod rows;
mod screen;
mod state;
#[cfg(test)]
mod tests;
mod tree;
mod work;

use std::time::Duration;

use anyhow::Result;
use cairn_model::Watch;

use crate::commands::Env;
use crate::output::{self, Usage};
use screen::{Happened, Screen};
pub use screen::{give_back, make_usual};
use state::State;
use work::Worker;

/// How long an answer may wait before it is shown.
const TICK: Duration = Duration::from_millis(50);

/// Shows the page until the user leaves it.
pub fn browse(env: &Env) -> Result<()> {
    if env.json {
        let words = "--interactive has no JSON; use \"cairn --json stats\"";
        return Err(Usage(words.to_owned()).into());
    }
    screen::require()?;
    let repo = env.open()?;
    // Before the terminal is taken: what goes wrong here is told like everywhere.
    let overview = repo.overview()?;
    let mut state = State::new(env.root.display().to_string(), overview);
    let worker = Worker::start(repo)?;
    let mut screen = Screen::open()?;
    let done = serve(&mut screen, &mut state, &worker, &env.watch);
    drop(screen);
    // A collection that is under way stops at its next step; the next one goes on.
    env.watch.cancel();
    worker.finish();
    done
}

fn serve(screen: &mut Screen, state: &mut State, worker: &Worker, watch: &Watch) -> Result<()> {
    let colours = output::has_colours_on_stdout();
    let (mut is_new, mut drawn) = (true, None);
    while !state.left {
        watch.check().map_err(cairn_repo::Error::from)?;
        while let Some(answer) = worker.answer()? {
            let ask = state.answer(answer);
            ask.into_iter().for_each(|ask| worker.ask(ask));
            is_new = true;
        }
        // A terminal that is not the process's own does not tell that its size changed.
        let size = screen.0.size()?;
        if is_new || drawn != Some(size) {
            state.page = draw::page(size.height);
            screen.0.draw(|frame| draw::draw(frame, state, colours))?;
            drawn = Some(size);
        }
        is_new = match screen::next(TICK)? {
            Happened::Nothing => false,
            Happened::Resized => true,
            Happened::Pressed(press) => {
                let ask = state.press(press);
                ask.into_iter().for_each(|ask| worker.ask(ask));
                true
            }
        };
    }
    Ok(())
}
