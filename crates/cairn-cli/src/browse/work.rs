//! The thread that asks the repository, so that the page answers keys meanwhile.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use cairn_model::{Digest, one_line};
use cairn_repo::{GcOptions, Removed, Repo};

use super::state::{Answer, Ask};
use crate::commands::events;
use crate::output::size;

/// Answers questions in their order.
pub struct Worker {
    asks: Sender<Ask>,
    answers: Receiver<Answer>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts it.
    pub fn start(repo: Repo) -> Result<Self> {
        let (asks, asked) = channel::<Ask>();
        let (told, answers) = channel();
        let work = move || {
            // Marks change faster than they are counted: only the last of questions that wait is of use.
            while let Ok(mut ask) = asked.recv() {
                let mut next = asked.try_recv().ok();
                while let (Ask::Forecast(..), Some(Ask::Forecast(..))) = (&ask, &next) {
                    ask = next.take().unwrap_or(ask);
                    next = asked.try_recv().ok();
                }
                for ask in std::iter::once(ask).chain(next) {
                    if told.send(answer(&repo, ask)).is_err() {
                        return;
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().spawn(work);
        Ok(Self {
            asks,
            answers,
            thread: thread.context("start a thread")?,
        })
    }

    /// Asks something.
    pub fn ask(&self, ask: Ask) {
        // Where the thread is gone, the next look for an answer finds out.
        let _ = self.asks.send(ask);
    }

    /// An answer, if there is one by now.
    ///
    /// # Errors
    /// Where there will be none any more.
    pub fn answer(&self) -> Result<Option<Answer>> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(std::sync::mpsc::TryRecvError::Empty) => Ok(None),
            Err(_) => Err(anyhow!("the thread that reads the repository ended")),
        }
    }

    /// Waits until what is under way came to its end.
    pub fn finish(self) {
        drop((self.asks, self.answers));
        // One that panicked has said so.
        let _ = self.thread.join();
    }
}

fn answer(repo: &Repo, ask: Ask) -> Answer {
    match ask {
        Ask::Overview => Answer::Overview(said(repo.overview()).map(Box::new)),
        Ask::Forecast(number, images) => {
            let ids: Vec<String> = images.iter().map(ToString::to_string).collect();
            Answer::Forecast(number, said(repo.what_if_removed(&ids)))
        }
        Ask::Files(of) => {
            let files = said(repo.files(&of));
            Answer::Files(of, files)
        }
        Ask::Remove(images) => Answer::Removed(remove(repo, &images)),
    }
}

fn said<T>(done: cairn_repo::Result<T>) -> Result<T, String> {
    done.map_err(|e| one_line(&e))
}

/// Removes each image, by its id and so with all its names, and collects; what came of it.
fn remove(repo: &Repo, images: &[Digest]) -> Vec<String> {
    let (mut gone, mut lines) = (0, Vec::new());
    for id in images {
        match repo.images().remove(&id.to_string()) {
            Ok(removed) => {
                gone += 1;
                if let Removed::Image(id) = removed {
                    events::image(repo, "remove", &id, None);
                }
            }
            Err(e) => lines.push(format!("stays: {}", one_line(&e))),
        }
    }
    lines.insert(0, format!("{gone} images were removed."));
    match repo.gc().run(&GcOptions::default()) {
        Ok(report) => {
            events::gc(repo, report.freed_bytes);
            lines.insert(1, format!("gc freed {}.", size(report.freed_bytes)));
        }
        Err(e) => lines.push(format!("gc failed: {}", one_line(&e))),
    }
    lines
}
