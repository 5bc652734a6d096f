//! A file beside the database that remembers how far it had come: a database that knows less was restored.
//!
//! Whatever a peer relies on is committed in the database first and written here afterwards, so a witness is never
//! ahead of a database that kept everything. It is not needed to be right: without it, the peers notice.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::error::classify;
use crate::node::Incarnation;
use crate::state_file;
use crate::watermark::Snapshot;
use protocol::watermark::Watermark;
use protocol::watermark::select::Knowledge;

/// The witness of one state directory.
#[derive(Debug, Clone)]
pub struct Witness {
    path: PathBuf,
}

/// What a database had told its peers, of one incarnation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Testimony {
    incarnation: String,
    /// Transaction ids below it had been given out.
    xmax: u64,
    /// The last watermark that was issued.
    issued_micros: i64,
    /// Contacts with peers and streams taken from them: `sync.node.mark`.
    mark: i64,
    /// Ids up to it had been given to branches.
    ids_end: i64,
}

/// What the witness says of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// There is no witness, or it speaks of another incarnation that the database knows too.
    NoWitness,
    /// The database knows all that the witness knows.
    None,
    /// The database knows less.
    KnowsLess,
}

impl Witness {
    /// The witness in that state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("witness.json") }
    }

    /// Remembers a snapshot on which a peer will rely, and the watermark that stands for it where there is one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remember(
        &self,
        incarnation: &Incarnation,
        snapshot: &Snapshot,
        watermark: Option<&Watermark>,
    ) -> Result<(), ReplicaError> {
        self.write(incarnation, |testimony| {
            testimony.xmax = testimony.xmax.max(snapshot.xmax());
            testimony.issued_micros = testimony.issued_micros.max(watermark.map_or(0, |watermark| watermark.micros));
        })
    }

    /// Remembers a contact with a peer, or a stream that was taken from it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remember_contact(&self, incarnation: &Incarnation, mark: i64) -> Result<(), ReplicaError> {
        self.write(incarnation, |testimony| testimony.mark = testimony.mark.max(mark))
    }

    /// Remembers up to where ids have been given to branches.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remember_ids(&self, incarnation: &Incarnation, end: i64) -> Result<(), ReplicaError> {
        self.write(incarnation, |testimony| testimony.ids_end = testimony.ids_end.max(end))
    }

    /// Begins to testify for a new database, in whose place there may have been another one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(&self, incarnation: &Incarnation) -> Result<(), ReplicaError> {
        self.write(incarnation, |_| {})
    }

    /// Up to where ids have been given to branches, whatever the incarnation.
    pub fn ids_end(&self) -> i64 {
        self.read().map_or(0, |testimony| testimony.ids_end)
    }

    /// Holds a database against what it had told.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn question(
        &self,
        client: &impl GenericClient,
        incarnation: &Incarnation,
    ) -> Result<Doubt, ReplicaError> {
        let Some(testimony) = self.read() else { return Ok(Doubt::NoWitness) };
        if testimony.incarnation != incarnation.id {
            // a database put back to before it had got a new incarnation does not know that one at all
            let known: bool = client
                .query_one(
                    "select $1 = '' or exists (select from sync.incarnation where id::text = $1)",
                    &[&testimony.incarnation],
                )
                .await
                .map_err(|error| classify("question the witness", error))?
                .get(0);
            return Ok(if known { Doubt::NoWitness } else { Doubt::KnowsLess });
        }
        let row = client
            .query_one(
                "select coalesce((select (extract(epoch from max(issued)) * 1000000)::bigint from sync.watermark), 0),
                        pg_snapshot_xmax(pg_current_snapshot())::text, coalesce((select mark from sync.node), 0),
                        coalesce((select max(high) from sync.id_slot), 0)",
                &[],
            )
            .await
            .map_err(|error| classify("question the witness", error))?;
        let known = Knowledge {
            xmax: row.get::<_, String>(1).parse().unwrap_or(0),
            issued_micros: row.get(0),
            contacts: row.get(2),
            ids_end: row.get(3),
        };
        let witnessed = Knowledge {
            xmax: testimony.xmax,
            issued_micros: testimony.issued_micros,
            contacts: testimony.mark,
            ids_end: testimony.ids_end,
        };
        Ok(if known.was_restored(&witnessed) { Doubt::KnowsLess } else { Doubt::None })
    }

    fn read(&self) -> Option<Testimony> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn write(&self, incarnation: &Incarnation, change: impl FnOnce(&mut Testimony)) -> Result<(), ReplicaError> {
        let before = self.read();
        let mut testimony = before.clone().unwrap_or_default();
        if testimony.incarnation != incarnation.id {
            // ids are never given out twice, whatever the history
            let ids_end = testimony.ids_end;
            testimony = Testimony { incarnation: incarnation.id.clone(), ids_end, ..Testimony::default() };
        }
        change(&mut testimony);
        if before.as_ref() == Some(&testimony) {
            return Ok(());
        }
        state_file::replace(&self.path, &testimony)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_never_forgets_ids_and_forgets_the_rest_with_the_incarnation() {
        let dir = tempfile::tempdir().unwrap();
        let witness = Witness::new(dir.path());
        let one = Incarnation { number: 1, id: "one".into(), tag: 1 };
        witness.remember_ids(&one, 70).unwrap();
        witness.remember_contact(&one, 5).unwrap();
        witness.remember_contact(&one, 4).unwrap();
        assert_eq!(witness.read().unwrap().mark, 5);
        let two = Incarnation { number: 2, id: "two".into(), tag: 2 };
        witness.remember_contact(&two, 1).unwrap();
        let testimony = witness.read().unwrap();
        assert_eq!((testimony.mark, testimony.ids_end), (1, 70));
    }
}
