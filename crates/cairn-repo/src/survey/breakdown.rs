//! A view: what is stored, divided among rows so that every column sums to its total.

use std::collections::HashMap;

use serde::Serialize;

use super::claims::{Claims, Figures, HIDDEN, Unit};

/// A row of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// What it is about.
    pub name: String,
    /// What it comes to.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What is stored, divided among rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Breakdown {
    /// The most stored bytes first.
    pub rows: Vec<Row>,
    /// Stored bytes that several rows have; exclusive bytes of all rows and these are the stored ones.
    pub several_rows_bytes: u64,
    /// The sum of all rows.
    pub total: Figures,
    /// What is not as complete as it could be.
    pub notes: Vec<String>,
}

impl Breakdown {
    /// Leaves the first `count` rows, and one for all others.
    pub fn shorten(&mut self, count: usize) {
        if self.rows.len() <= count.saturating_add(1) {
            return;
        }
        let rest = self.rows.split_off(count);
        let mut figures = Figures::default();
        for row in &rest {
            figures += row.figures;
        }
        let name = format!("({} others)", rest.len());
        self.rows.push(Row { name, figures });
    }

    /// The most stored bytes first.
    fn sort(&mut self) {
        self.rows.sort_by(|a, b| {
            let key = |row: &Row| (row.figures.stored_bytes, row.figures.content_bytes);
            key(b).cmp(&key(a)).then_with(|| a.name.cmp(&b.name))
        });
    }
}

/// The rows of a view while it is made. Row 0 is hidden.
#[derive(Default)]
pub(super) struct Rows<K> {
    keys: Vec<K>,
    numbers: HashMap<K, u32>,
}

impl<K: Clone + Eq + std::hash::Hash> Rows<K> {
    /// The number of a row.
    pub fn number(&mut self, key: K) -> u32 {
        let next = self.keys.len() as u32 + HIDDEN + 1;
        let number = *self.numbers.entry(key.clone()).or_insert(next);
        if number == next {
            self.keys.push(key);
        }
        number
    }

    /// The view that comes of the claims of these rows.
    pub fn view(
        &self,
        claims: &Claims,
        size: impl Fn(usize) -> Unit,
        name: impl Fn(&K) -> String,
    ) -> Breakdown {
        let (figures, several_rows_bytes) = claims.figures(self.keys.len() + 1, size);
        let mut view = Breakdown {
            several_rows_bytes,
            ..Breakdown::default()
        };
        for (key, figures) in self.keys.iter().zip(&figures[1..]) {
            view.total += *figures;
            let name = name(key);
            view.rows.push(Row {
                name,
                figures: *figures,
            });
        }
        view.sort();
        view
    }
}
