//! Asking for a view.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use cairn_model::LayerId;
use cairn_snapshot::Kind;

use super::ask::{Ask, By};
use super::breakdown::{Breakdown, Row};
use super::claims::Figures;
use super::files::{Shown, Sorter};
use super::groups::{self, Belongs};
use super::order::{Came, in_order};
use crate::error::Result;
use crate::files::disk_bytes;
use crate::gc::Roots;
use crate::repo::Repo;
use crate::sharing::{Blobs, Sums};
use crate::stats::{Chain, Chained, chains, layer_name, name};
use crate::time;

/// The row of layers that only removed images had.
const NO_IMAGE: &str = "(no image)";

/// What a view is made of.
struct Scene<'a> {
    roots: &'a Roots,
    chains: &'a [Chain],
    layers: &'a [Came<'a>],
    /// Layers of the image that was asked for, with how often it has each.
    image: Option<HashMap<LayerId, u64>>,
    /// Layers that came before this are hidden.
    since_secs: Option<i64>,
}

impl Repo {
    /// What is stored, divided as it is asked.
    ///
    /// # Errors
    /// Where the image that is asked for is not there, or a manifest cannot be read.
    pub fn breakdown(&self, ask: &Ask) -> Result<Breakdown> {
        self.unless_changed(|| self.breakdown_once(ask))
    }

    fn breakdown_once(&self, ask: &Ask) -> Result<Breakdown> {
        if ask.by == By::Head {
            return self.view_of_heads();
        }
        let moment = self.moment()?;
        let table = self.sharing(&moment.roots)?;
        let sums = Sums::new(self, &moment.index, &table)?;
        let images = self.images().readable()?;
        let mut chains = chains(&moment.roots, &images)?;
        let image = ask.image.as_ref().map(|wanted| self.images().find(wanted));
        let image = image.transpose()?.map(|image| name(&image));
        let chained = Chained::new(&moment.roots, &chains, &sums);
        let layers = in_order(&moment.roots, &chained.times);
        if let Some(wanted) = &image {
            chains.retain(|(name, _)| name == wanted);
        }
        let scene = Scene {
            roots: &moment.roots,
            chains: &chains,
            layers: &layers,
            image: image.map(|_| counted(&chains)),
            since_secs: ask.since.map(before_now),
        };
        match ask.by {
            By::Image | By::Layer | By::Snapshot => {
                let shown = scene.shown();
                Ok(groups::view(&shown, &sums, &scene.belongs(ask.by)))
            }
            _ => {
                let blobs = Blobs::new(&self.store, &moment.index, &table)?;
                self.view_by_file(ask, &scene, &blobs)
            }
        }
    }

    fn view_by_file(&self, ask: &Ask, scene: &Scene<'_>, blobs: &Blobs<'_>) -> Result<Breakdown> {
        let mut sorter = Sorter {
            by: ask.by,
            depth: ask.depth,
            owners: HashMap::new(),
        };
        if ask.by == By::Package {
            let layers: Vec<_> = scene.layers.iter().map(|came| *came.layer).collect();
            let chains: Vec<_> = scene
                .chains
                .iter()
                .map(|(_, layers)| layers.clone())
                .collect();
            sorter.owners = self.owners(&layers, &chains)?;
        }
        let mut view = self.view_of_files(&scene.shown(), blobs, &sorter)?;
        let mut notes = sorter.owners.values().filter_map(|owners| owners.note());
        view.notes.extend(notes.next());
        Ok(view)
    }

    /// Heads have nothing in common, and are directories of the host.
    fn view_of_heads(&self) -> Result<Breakdown> {
        let mut view = Breakdown::default();
        for (name, bytes) in self.head_sizes()? {
            let figures = Figures {
                content_bytes: bytes,
                unique_bytes: bytes,
                stored_bytes: bytes,
                exclusive_bytes: bytes,
            };
            view.total += figures;
            view.rows.push(Row { name, figures });
        }
        Ok(view)
    }

    /// What each head takes on disk, the largest first.
    pub(super) fn head_sizes(&self) -> Result<Vec<(String, u64)>> {
        let moment = self.moment()?;
        let mut sizes = Vec::new();
        for snapshot in &moment.roots.snapshots {
            if let (Kind::Active, Some(head)) = (snapshot.kind, &snapshot.head) {
                let bytes = disk_bytes(&self.heads().dir(head), self.watch())?;
                sizes.push((snapshot.key.to_string(), bytes));
            }
        }
        sizes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(sizes)
    }
}

/// How often each layer is in these chains.
fn counted(chains: &[Chain]) -> HashMap<LayerId, u64> {
    let mut out = HashMap::new();
    for id in chains.iter().flat_map(|(_, layers)| layers) {
        *out.entry(*id).or_default() += 1;
    }
    out
}

fn before_now(age: Duration) -> i64 {
    let now = time::now_secs();
    now.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}

impl<'a> Scene<'a> {
    fn is_old(&self, came: &Came<'_>) -> bool {
        self.since_secs.is_some_and(|since| came.when.secs < since)
    }

    /// How often the content of a layer counts; none where it is hidden.
    fn times(&self, came: &Came<'_>) -> Option<u64> {
        if self.is_old(came) {
            return None;
        }
        match &self.image {
            Some(image) => image.get(&came.layer.id).copied(),
            None => Some(came.times),
        }
    }

    /// True for a layer of the image that was asked for which other images have too.
    fn is_beside(&self, came: &Came<'_>) -> bool {
        let image = self.image.as_ref();
        let own = image.and_then(|image| image.get(&came.layer.id));
        own.is_some_and(|own| *own < came.times)
    }

    /// All layers: those that were there before come first, those beside the image last.
    fn shown(&'a self) -> Vec<Shown<'a>> {
        let shown = |came: &'a Came<'a>| Shown {
            times: self.times(came),
            is_beside: self.is_beside(came),
            came,
        };
        let mut out: Vec<Shown<'_>> = self.layers.iter().map(shown).collect();
        out.sort_by_key(|shown| (shown.times.is_none() && !self.is_old(shown.came), 0));
        out
    }

    fn belongs(&self, by: By) -> Belongs {
        match by {
            By::Image => self.of_chains(),
            By::Snapshot => self.of_snapshots(),
            _ => self.of_layers(),
        }
    }

    /// Places of the layers that are shown, by their ids: the same entries may be the layers of two tars.
    fn places(&self) -> HashMap<LayerId, Vec<usize>> {
        let mut places: HashMap<LayerId, Vec<usize>> = HashMap::new();
        for came in self.layers.iter().filter(|came| self.times(came).is_some()) {
            places.entry(came.layer.id).or_default().push(came.place);
        }
        places
    }

    fn of_layers(&self) -> Belongs {
        let row = |came: &Came<'_>| {
            let name = layer_name(came.layer);
            Some((came.place, vec![(name, self.times(came)?)]))
        };
        self.layers.iter().filter_map(row).collect()
    }

    fn of_chains(&self) -> Belongs {
        let places = self.places();
        let (mut out, mut seen) = (Belongs::new(), HashMap::new());
        for (name, layers) in self.chains {
            for (id, places) in layers.iter().filter_map(|id| Some((id, places.get(id)?))) {
                let before = seen.entry(*id).or_insert(0);
                let place = places.get(*before).unwrap_or(&places[0]);
                *before += 1;
                out.entry(*place).or_default().push((name.clone(), 1));
            }
        }
        if self.image.is_none() {
            for place in places.values().flatten() {
                let rows = out.entry(*place).or_default();
                if rows.is_empty() {
                    rows.push((NO_IMAGE.to_owned(), 1));
                }
            }
        }
        out
    }

    /// Content of a layer that several snapshots have counts for the first of them.
    fn of_snapshots(&self) -> Belongs {
        let mut out = Belongs::new();
        let (places, mut counted) = (self.places(), HashSet::new());
        let times: HashMap<usize, u64> = self
            .layers
            .iter()
            .filter_map(|came| Some((came.place, self.times(came)?)))
            .collect();
        for snapshot in &self.roots.snapshots {
            let of_layer = snapshot.layer.and_then(|id| places.get(&id));
            for place in of_layer.into_iter().flatten() {
                let times = match counted.insert(*place) {
                    true => times.get(place).copied().unwrap_or(0),
                    false => 0,
                };
                let row = (snapshot.key.to_string(), times);
                out.entry(*place).or_default().push(row);
            }
        }
        out
    }
}
