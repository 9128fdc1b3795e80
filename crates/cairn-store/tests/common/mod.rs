//! Rows that name blobs, and a collection that honours them: what the floors above do, in small.

#![allow(dead_code, reason = "each test file uses a part of it")]

use cairn_model::BlobId;
use cairn_store::codec::Stored;
use cairn_store::gc::{self, Marks, Outcome};
use cairn_store::optimize::{Known, Optimized, Optimizer};
use cairn_store::{Error, Rows, Store, Table, Txn};

/// The blobs that a name stands for.
#[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
pub struct Note(pub Vec<[u8; 32]>);

impl Stored for Note {
    const KIND: cairn_store::kinds::Kind = cairn_store::kinds::Kind {
        number: 200,
        prefix: Some(b'n'),
        name: "note",
    };
}

pub const NOTES: Table<Note> = Table::new();

/// Stores blobs under a name; their ids.
pub fn put(
    store: &Store,
    name: &str,
    blobs: impl Iterator<Item = Vec<u8>>,
) -> Result<Vec<BlobId>, Error> {
    let ingest = store.ingest()?;
    let mut feeder = ingest.feeder();
    for blob in blobs {
        feeder.put(&blob)?;
    }
    let ids = feeder.ids()?;
    drop(feeder);
    let note = Note(ids.iter().map(|id| *id.as_bytes()).collect());
    store.publish(ingest.finish()?, |txn| NOTES.put(txn, name, &note))?;
    Ok(ids)
}

/// A name goes.
pub fn remove(store: &Store, name: &str) -> Result<(), Error> {
    store.db().write::<_, Error>(|txn| {
        NOTES.delete(txn, name);
        Ok(())
    })
}

/// Marks what all names stand for.
pub fn mark_all(rows: &dyn Rows, marks: &mut Marks) -> Result<(), Error> {
    for (_, note) in NOTES.scan(rows, [])? {
        for id in note.0 {
            marks.mark(&BlobId::from_bytes(id))?;
        }
    }
    Ok(())
}

/// What is marked, and what a collection would do: index and rows of one moment.
pub fn planned(store: &Store) -> Result<(Marks, gc::Plan), Error> {
    let (marks, packs) = store.db().read::<_, Error>(|rows| {
        let mut marks = Marks::new(store)?;
        mark_all(rows, &mut marks)?;
        Ok((marks, gc::pack_rows(rows)?))
    })?;
    let plan = gc::Packs::new(&packs, marks.index()).plan(&marks, gc::Policy::default());
    Ok((marks, plan))
}

/// Carries out a plan.
pub fn carry_out(store: &Store, plan: &gc::Plan, marks: Marks) -> Result<Outcome, Error> {
    let remark = |txn: &mut Txn<'_>, marks: &mut Marks| mark_all(txn, marks);
    gc::apply::<Error>(store, plan, marks, |_| Ok(()), remark)
}

/// One round of collection.
pub fn collect(store: &Store) -> Result<Outcome, Error> {
    gc::adopt_orphans(store)?;
    let (marks, plan) = planned(store)?;
    carry_out(store, &plan, marks)
}

/// Recompresses everything that is due.
pub fn optimize(store: &Store, known: Known) -> Result<Optimized, Error> {
    gc::adopt_orphans(store)?;
    let mut optimizer = Optimizer::new(store, known)?;
    loop {
        let (marks, plan) = planned(store)?;
        let policy = gc::Policy::default();
        let remark = |txn: &mut Txn<'_>, marks: &mut Marks| mark_all(txn, marks);
        let round = optimizer.round::<Error>(&plan, marks, &policy, |_| Ok(()), remark)?;
        if round.is_none_or(|outcome| outcome.left_packs == 0 || outcome.needs_bytes.is_some()) {
            return Ok(optimizer.done());
        }
    }
}
