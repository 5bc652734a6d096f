//! The engine of an office and its shops in this process, on real databases, without programs and wire between them.

use std::fs::File;
use std::time::Duration;

use protocol::methods::{DigestRequest, SessionKind};
use protocol::policy::{Direction, GROUP_FIRST, Policy};
use protocol::watermark::Since;
use replica::ReplicaError;
use replica::apply::Applied;
use replica::database::{Database as Connection, DatabaseUrl};
use replica::office::{Branch, NewBranch, Office, OfficeOptions};
use replica::retention::Retention;
use replica::shop::{NewSession, SessionRow, Shop, ShopOptions};

use crate::cluster::{self, Cluster};
use crate::database::Database;

/// The name the office has at the shops.
pub const OFFICE: &str = "default";

/// A shop: its engine, and its database for tests to look into.
pub struct ShopSide {
    /// Name of the branch.
    pub name: String,
    /// The engine.
    pub shop: Shop,
    /// The database.
    pub database: Database,
}

/// An office and its shops.
pub struct Engine {
    /// The office's engine.
    pub office: Office,
    /// The office's database.
    pub database: Database,
    /// The shops.
    pub shops: Vec<ShopSide>,
    /// Policy of all branches.
    pub policy: Policy,
    schema: String,
    dir: tempfile::TempDir,
}

/// A connection of the product to a test's database.
pub async fn connection(database: &Database) -> Connection {
    Connection::open(&DatabaseUrl::Server(database.url().to_owned()), None)
        .await
        .unwrap_or_else(|error| panic!("{}: {error:?}", database.url()))
}

impl Engine {
    /// An office with that schema and policy in the shared cluster, and shops with empty databases.
    pub async fn new(schema: &str, policy: &str, branches: &[&str]) -> Self {
        Self::in_cluster(cluster::shared(), schema, policy, branches).await
    }

    /// The same in a cluster of one's own.
    pub async fn in_cluster(cluster: &Cluster, schema: &str, policy: &str, branches: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = tokio::task::block_in_place(|| cluster.database("office"));
        tokio::task::block_in_place(|| database.execute(schema));
        let policy = Policy::parse(policy).unwrap_or_else(|error| panic!("policy: {error}"));
        let options = OfficeOptions {
            database: connection(&database).await,
            state_dir: dir.path().join("office"),
            id_span: 1_000_000_000_000,
            retention: Retention::default(),
            recheck: Duration::ZERO,
        };
        let office = Office::init(options).await.unwrap_or_else(|error| panic!("init: {error:?}"));
        office.import_policy(&policy).await.unwrap_or_else(|error| panic!("import: {error:?}"));
        let mut engine = Self { office, database, shops: Vec::new(), policy, schema: schema.to_owned(), dir };
        for name in branches {
            let database = tokio::task::block_in_place(|| cluster.database("shop"));
            let new = NewBranch {
                name: (*name).to_owned(),
                url: "http://127.0.0.1:9".into(),
                policy: engine.policy.name().to_owned(),
                ..NewBranch::default()
            };
            engine.office.add_branch(new).await.unwrap_or_else(|error| panic!("add branch: {error:?}"));
            let shop = engine.open_shop(name, &database).await;
            engine.shops.push(ShopSide { name: (*name).to_owned(), shop, database });
        }
        engine
    }

    /// Opens (again) the engine of a shop on a database.
    pub async fn open_shop(&self, name: &str, database: &Database) -> Shop {
        let options = ShopOptions {
            database: connection(database).await,
            branch: name.to_owned(),
            policy: self.policy.clone(),
            schema_sql: Some(self.schema.clone()),
            state_dir: self.dir.path().join(name),
            id_span: 1_000_000_000_000,
            skew: Duration::from_secs(300),
            retention: Retention::default(),
            open_sessions_max: 4,
            row_bytes_max: 12 << 20,
        };
        Shop::open(options).await.unwrap_or_else(|error| panic!("open shop: {error:?}"))
    }

    /// Gives the office and all shops another policy of the same name.
    pub async fn change_policy(&mut self, policy: &str) {
        self.policy = Policy::parse(policy).unwrap_or_else(|error| panic!("policy: {error}"));
        self.office.import_policy(&self.policy).await.unwrap_or_else(|error| panic!("import: {error:?}"));
        for index in 0..self.shops.len() {
            self.shops[index].shop = self.open_shop(&self.shops[index].name, &self.shops[index].database).await;
        }
    }

    /// A shop by name.
    pub fn shop(&self, name: &str) -> &ShopSide {
        self.shops.iter().find(|shop| shop.name == name).unwrap_or_else(|| panic!("no shop {name}"))
    }

    /// The branch's record as it is now.
    pub async fn branch(&self, name: &str) -> Branch {
        self.office.branch(name).await.unwrap_or_else(|error| panic!("branch: {error:?}"))
    }

    /// Opens a session at a shop.
    pub async fn session(&self, name: &str, key: Option<&str>, kind: Option<SessionKind>) -> SessionRow {
        // as office-client does: an update rests on what has been pulled
        let base = match kind {
            Some(SessionKind::Update) => self.branch(name).await.timestamp,
            _ => None,
        };
        let new = NewSession {
            office: OFFICE.into(),
            key: key.map(str::to_owned),
            kind,
            base,
            // as office-client asks for it
            quarantine: kind == Some(SessionKind::Update),
            dry_run: false,
            peer: "test".into(),
            caller: None,
        };
        self.shop(name).shop.open_session(new).await.unwrap_or_else(|error| panic!("open session: {error:?}"))
    }

    /// Sends a stream of the office's spool to a shop, as one session.
    pub async fn send(&self, name: &str, key: &str, kind: SessionKind, stream: &str) -> Result<Applied, ReplicaError> {
        let row = self.session(name, Some(key), Some(kind)).await;
        let path = self.office.spool().data_path(stream);
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.shop(name).shop.apply_session(row.sid, Box::new(file)).await
    }

    /// Clones a shop.
    pub async fn clone_shop(&self, name: &str) -> Result<(), ReplicaError> {
        self.shop(name).shop.clean(OFFICE, false, None).await?;
        self.fill(name).await
    }

    /// The rest of a clone, when the shop is cleaned.
    pub async fn fill(&self, name: &str) -> Result<(), ReplicaError> {
        let branch = self.branch(name).await;
        let shop = &self.shop(name).shop;
        let (low, high) = self.office.id_range(&branch, branch.cloned_at.is_some()).await?;
        shop.set_id_start(low, Some(high)).await?;
        let outgoing = self.office.freeze_clone(&branch).await?;
        self.send(name, &outgoing.key, SessionKind::Clone, &outgoing.stream.id).await?;
        shop.set_id_start(low, Some(high)).await?;
        self.office.forget_amounts(&branch, &outgoing).await?;
        let first = shop.open_diff(OFFICE, Since::Zero).await?;
        assert_eq!(first.rows, 0, "a fresh clone has nothing to send back");
        let watermark = first.watermark.unwrap_or_default();
        self.office.record_clone(&branch, &outgoing, &watermark, None).await
    }

    /// Takes in the changes of a shop; the rows that changed at the office.
    pub async fn pull(&self, name: &str) -> Result<i64, ReplicaError> {
        let branch = self.branch(name).await;
        let shop = &self.shop(name).shop;
        let since = Since::parse(branch.timestamp.as_deref().unwrap_or("0"))
            .map_err(|error| ReplicaError::Invalid(error.to_string()))?;
        let diff = shop.open_diff(OFFICE, since).await?;
        let watermark = diff.watermark.clone().unwrap_or_default();
        if diff.rows == 0 {
            return Ok(self.office.advance_timestamp(&branch, &watermark).await?.rows);
        }
        let path = shop.spool().data_path(&diff.id);
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Ok(self.office.apply_pull(&branch, Some(&watermark), Box::new(file)).await?.rows)
    }

    /// Sends the office's changes to a shop, one group of tables after the other; the rows that changed there.
    pub async fn push(&self, name: &str) -> Result<i64, ReplicaError> {
        let branch = self.branch(name).await;
        let (mut rows, mut group) = (0, GROUP_FIRST);
        while let Some(outgoing) = self.office.freeze_push_from(&branch, group).await? {
            match self.send(name, &outgoing.key, SessionKind::Update, &outgoing.stream.id).await {
                Ok(applied) => {
                    self.office.record_push(&branch, &outgoing).await?;
                    rows += applied.rows;
                }
                Err(error) => {
                    self.office.drop_outgoing(&branch, &outgoing).await?;
                    return Err(error);
                }
            }
            group = outgoing.next_group;
        }
        Ok(rows)
    }

    /// Both directions once, pull first: (rows pulled, rows pushed).
    pub async fn update(&self, name: &str) -> Result<(i64, i64), ReplicaError> {
        Ok((self.pull(name).await?, self.push(name).await?))
    }

    /// Updates all shops until nothing moves any more, at most `rounds` times.
    pub async fn settle(&self, rounds: usize) {
        for _ in 0..rounds {
            let mut moved = 0;
            for shop in &self.shops {
                let (pulled, pushed) =
                    self.update(&shop.name).await.unwrap_or_else(|error| panic!("update {}: {error:?}", shop.name));
                moved += pulled + pushed;
            }
            if moved == 0 {
                return;
            }
        }
        panic!("rows still move after {rounds} rounds");
    }

    /// Asserts that every table that can be compared has the same fingerprint at the office and at each shop.
    pub async fn assert_agree(&self) {
        for side in &self.shops {
            let ours = self.office.digests(&self.branch(&side.name).await).await.expect("digests of the office");
            let theirs =
                side.shop.digests(OFFICE, &DigestRequest::default(), usize::MAX).await.expect("digests of the shop");
            let differing: Vec<String> = ours
                .iter()
                .filter(|ours| {
                    let theirs = theirs.iter().find(|theirs| theirs.table == ours.digest.table);
                    // what a shop has purged the office keeps
                    let kept = ours.direction == Direction::FromTarget
                        && theirs.is_some_and(|theirs| theirs.rows < ours.digest.rows);
                    !kept && theirs != Some(&ours.digest)
                })
                .map(|ours| ours.digest.table.clone())
                .collect();
            let told: Vec<String> = differing
                .iter()
                .flat_map(|table| {
                    tokio::task::block_in_place(|| {
                        crate::compare::differences(
                            ("office", &self.database),
                            (&side.name, &side.database),
                            table,
                            None,
                        )
                    })
                })
                .collect();
            assert!(differing.is_empty(), "{differing:?} differ:\n  {}", told.join("\n  "));
        }
    }
}
