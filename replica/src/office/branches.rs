//! Branches and their BranchSynchronization records.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio_postgres::Row;

use super::{Branch, NewBranch, Office, policies};
use crate::ReplicaError;
use crate::error::classify;
use crate::node;

const COLUMNS: &str =
    "b.branch_id, b.branch, b.url, b.policy, b.\"timestamp\", b.user_name, b.password_file, s.low, s.high,
    b.incarnation, b.cloned_at, b.pulled_at, b.pushed_at, b.settings::text, b.paused,
    b.retired_at is not null,
    coalesce((pg_snapshot_xmin(b.pushed_snapshot) < (select pruned_below from sync.node)
            or exists (select from sync.pushed_table p where p.branch_id = b.branch_id
                and pg_snapshot_xmin(p.snapshot) < (select pruned_below from sync.node)))
        and b.pushed_incarnation = (select max(number) from sync.incarnation), false)";
const FROM: &str = "sync.branch_synchronization b
    left join lateral (select low, high from sync.id_slot i where i.branch_id = b.branch_id and not i.removed
                       order by slot desc limit 1) s on true";

impl Office {
    /// Adds a branch.
    pub async fn add_branch(&self, new: NewBranch) -> Result<Branch, ReplicaError> {
        let failed = |error| classify("add the branch", error);
        let valid = !new.name.is_empty()
            && new.name.len() <= 64
            && new.name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && new.name.chars().any(char::is_alphanumeric);
        if !valid {
            return Err(ReplicaError::Invalid(format!(
                "{:?} is no name for a branch: use up to 64 letters, digits, dashes, underscores and dots",
                new.name
            )));
        }
        self.policy(&new.policy).await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let taken = transaction
            .query_opt(
                "select branch from sync.branch_synchronization where branch = $1 or branch_id = $2",
                &[&new.name, &new.id],
            )
            .await
            .map_err(failed)?;
        if let Some(row) = taken {
            return Err(ReplicaError::Invalid(format!(
                "branch {:?} exists already; change it with 'office-client branch set'",
                row.get::<_, String>(0)
            )));
        }
        let peer = node::peer(&transaction, &format!("branch {}", new.name)).await?;
        let settings = settings_text(&new.settings);
        let password_file = new.password_file.as_ref().map(|path| path.display().to_string());
        transaction
            .execute(
                "insert into sync.branch_synchronization(branch_id, branch, policy, peer, url, user_name, password_file, settings)
                 values (coalesce($1, 1 + greatest(
                             0, (select max(branch_id) from sync.branch_synchronization),
                             -- row filters know branches by their numbers: a removed branch's is not given to the next
                             (select max(branch_id) from sync.id_slot), (select max(branch_id) from sync.run))),
                         $2, $3, $4, $5, $6, $7, $8::text::jsonb)",
                &[&new.id, &new.name, &new.policy, &peer, &new.url, &new.user, &password_file, &settings],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        drop(client);
        self.branch(&new.name).await
    }

    /// All branches, by id.
    pub async fn branches(&self) -> Result<Vec<Branch>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(&format!("select {COLUMNS} from {FROM} order by b.branch_id"), &[])
            .await
            .map_err(|error| classify("list the branches", error))?;
        Ok(rows.iter().map(branch).collect())
    }

    /// A branch by name; the error says which there are.
    pub async fn branch(&self, name: &str) -> Result<Branch, ReplicaError> {
        let failed = |error| classify("look for the branch", error);
        let client = self.inner.pool.get().await?;
        // every run asks several times, and there may be hundreds of others
        let sql = format!("select {COLUMNS} from {FROM} where b.branch = $1");
        if let Some(row) = client.query_opt(&sql, &[&name]).await.map_err(failed)? {
            return Ok(branch(&row));
        }
        let sql = "select branch from sync.branch_synchronization order by branch_id limit 20";
        let rows = client.query(sql, &[]).await.map_err(failed)?;
        let names: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        Err(ReplicaError::Invalid(if names.is_empty() {
            format!("there is no branch {name:?}; add it with 'office-client branch add {name} --url http://HOST:9000'")
        } else {
            format!("there is no branch {name:?}; there are: {}", names.join(", "))
        }))
    }

    /// Changes what is set about a branch: url, policy, user, password_file, settings, paused. `change` gets the record as it
    /// is now, and nobody else changes it before it is stored; nothing else of it is stored.
    ///
    /// # Errors
    /// Those of `change`, or if the branch or its new policy is not there: then nothing has changed.
    pub async fn change_branch<E: From<ReplicaError>>(
        &self,
        id: i64,
        change: impl FnOnce(&mut Branch) -> Result<(), E>,
    ) -> Result<Branch, E> {
        let failed = |error| E::from(classify("change the branch", error));
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let sql = format!("select {COLUMNS} from {FROM} where b.branch_id = $1 for update of b");
        let row = transaction.query_opt(&sql, &[&id]).await.map_err(failed)?;
        let Some(before) = row.as_ref().map(branch) else {
            return Err(ReplicaError::Invalid("the branch was removed meanwhile".to_owned()).into());
        };
        let mut after = before.clone();
        change(&mut after)?;
        if after.policy != before.policy {
            let from = policies::source(&transaction, &before.policy).await?;
            let to = policies::source(&transaction, &after.policy).await?;
            self.adjust_part(&transaction, id, &from, &policies::parse(&after.policy, &to)?).await?;
        }
        let password_file = after.password_file.as_ref().map(|path| path.display().to_string());
        transaction
            .execute(
                "update sync.branch_synchronization
                 set url = $2, policy = $3, user_name = $4, password_file = $5, settings = $6::text::jsonb, paused = $7
                 where branch_id = $1",
                &[
                    &id,
                    &after.url,
                    &after.policy,
                    &after.user,
                    &password_file,
                    &settings_text(&after.settings),
                    &after.paused,
                ],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(after)
    }

    /// Lets a branch rest, or take part again.
    pub async fn pause_branch(&self, id: i64, paused: bool) -> Result<Branch, ReplicaError> {
        let pause = |branch: &mut Branch| {
            branch.paused = paused;
            Ok(())
        };
        self.change_branch(id, pause).await
    }

    /// Removes a branch and what is kept for it; its id range is never given out again.
    pub async fn remove_branch(&self, name: &str) -> Result<(), ReplicaError> {
        let branch = self.branch(name).await?;
        let lease = self.lease(&branch).await?;
        let client = self.inner.pool.get().await?;
        let row = client
            .query_opt(
                "with ids as (update sync.id_slot set removed = true where branch_id = $1)
                 delete from sync.branch_synchronization where branch_id = $1 returning outgoing_stream",
                &[&branch.id],
            )
            .await
            .map_err(|error| classify("remove the branch", error))?;
        lease.release().await;
        if let Some(stream) = row.and_then(|row| row.get::<_, Option<String>>(0)) {
            self.inner.spool.remove(&stream)?;
        }
        Ok(())
    }
}

fn settings_text(settings: &BTreeMap<String, String>) -> String {
    let map: serde_json::Map<String, serde_json::Value> =
        settings.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    serde_json::Value::Object(map).to_string()
}

fn branch(row: &Row) -> Branch {
    let settings: BTreeMap<String, String> = serde_json::from_str(row.get(13)).unwrap_or_default();
    let id_range = match (row.get::<_, Option<i64>>(7), row.get::<_, Option<i64>>(8)) {
        (Some(low), Some(high)) => Some((low, high)),
        _ => None,
    };
    Branch {
        id: row.get(0),
        name: row.get(1),
        url: row.get(2),
        policy: row.get(3),
        timestamp: row.get(4),
        user: row.get(5),
        password_file: row.get::<_, Option<String>>(6).map(PathBuf::from),
        id_range,
        incarnation: row.get(9),
        cloned_at: row.get(10),
        pulled_at: row.get(11),
        pushed_at: row.get(12),
        settings,
        paused: row.get(14),
        retired: row.get(15),
        outlived: row.get(16),
    }
}
