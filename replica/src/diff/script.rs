//! The thread that turns COPY output into the SQL of a frozen stream.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use protocol::dialect::{ScriptWriter, Shape};
use protocol::names::TableName;
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;

use super::lines::{LineBuffer, split_fields, unescape};
use super::plan::{TablePlan, shape_of};
use crate::ReplicaError;
use crate::capture::Depth;
use crate::catalogue::Table;
use crate::spool::{FrozenWriter, spool_error};

/// Bytes of unchanged values from which on an update of the others is shorter: what it says besides is the same in each,
/// and leaves little when it is compressed. Many short rows go in one statement, which is faster to take in.
const LEFT_OUT_MIN: usize = 32;

/// What the thread is told.
pub(super) enum Work {
    /// Changes of a table follow.
    Changes(Arc<TablePlan>),
    /// A full copy of a table follows.
    Copy(Arc<Table>),
    /// A structured comment that belongs to no row.
    Note(&'static str, String),
    /// Whole COPY lines, each with its newline.
    Data(Vec<Bytes>),
    /// Everything has been said: the watermark line, and the deletes before it.
    Finish(Option<String>),
}

/// A finished script, its stream not yet closed.
pub(super) struct Script {
    pub(super) writer: FrozenWriter,
    pub(super) tables: Vec<(TableName, u64)>,
    /// Rows that are deleted, by table.
    pub(super) deletes: BTreeMap<String, u64>,
    /// Rows that the receiver has already, by table.
    pub(super) updates: BTreeMap<String, u64>,
    pub(super) rows: u64,
}

/// The thread's handle: send [`Work`], then join.
pub(super) struct ScriptThread {
    sender: mpsc::Sender<Work>,
    handle: JoinHandle<io::Result<Option<Script>>>,
}

impl ScriptThread {
    /// Starts the thread over a stream of the spool; `caution` becomes the script's first line.
    pub(super) fn start(writer: FrozenWriter, caution: Option<String>) -> Result<Self, ReplicaError> {
        // a few blocks ahead, so that reading, converting and compressing overlap in bounded memory
        let (sender, receiver) = mpsc::channel(8);
        let handle = std::thread::Builder::new()
            .name("script".into())
            .spawn(move || run(writer, caution.as_deref(), receiver))
            .map_err(|source| spool_error("start a thread for", std::path::Path::new("the script"), source))?;
        Ok(Self { sender, handle })
    }

    /// Hands over work; an error of the thread shows when it is joined.
    pub(super) async fn send(&self, work: Work) -> bool {
        self.sender.send(work).await.is_ok()
    }

    /// Waits for the thread; none when it was never told to finish.
    pub(super) async fn join(self) -> Result<Option<Script>, ReplicaError> {
        let Self { sender, handle } = self;
        drop(sender);
        let joined = tokio::task::spawn_blocking(move || handle.join()).await;
        match joined {
            Ok(Ok(result)) => result.map_err(|source| spool_error("write", std::path::Path::new("the spool"), source)),
            _ => Err(ReplicaError::Invalid("the script thread failed".into())),
        }
    }
}

enum Current {
    Nothing,
    Changes { plan: Arc<TablePlan>, shape: Shape, rows: u64, updates: u64, deleted: LineBuffer, updated: LineBuffer },
    Copy { table: Arc<Table>, rows: u64 },
}

struct Run {
    script: ScriptWriter<FrozenWriter>,
    current: Current,
    counts: Vec<(TableName, u64)>,
    deletes: Vec<(Arc<TablePlan>, LineBuffer)>,
    updates: BTreeMap<String, u64>,
    notes: u64,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// There is nothing to be said.
    Nothing,
    /// A row that the receiver has not got, as far as the log tells.
    Whole,
    /// A row that it has.
    Update,
    Delete,
}

fn run(writer: FrozenWriter, caution: Option<&str>, mut receiver: mpsc::Receiver<Work>) -> io::Result<Option<Script>> {
    let script = match caution {
        Some(caution) => ScriptWriter::with_caution(writer, caution)?,
        None => ScriptWriter::new(writer)?,
    };
    let mut run = Run {
        script,
        current: Current::Nothing,
        counts: Vec::new(),
        deletes: Vec::new(),
        updates: BTreeMap::new(),
        notes: 0,
    };
    while let Some(work) = receiver.blocking_recv() {
        match work {
            Work::Changes(plan) => {
                run.end_table()?;
                let shape = plan.shape();
                let (deleted, updated) = (LineBuffer::default(), LineBuffer::default());
                run.current = Current::Changes { plan, shape, rows: 0, updates: 0, deleted, updated };
            }
            Work::Copy(table) => {
                run.end_table()?;
                let columns: Vec<&str> = table.written_columns().map(|column| column.name.as_str()).collect();
                run.script.copy_block_begin(&table.name, &columns)?;
                run.current = Current::Copy { table, rows: 0 };
            }
            Work::Note(name, json) => {
                run.script.note(name, &json)?;
                run.notes += 1;
            }
            Work::Data(lines) => {
                for line in lines {
                    run.line(&line)?;
                }
            }
            Work::Finish(watermark) => return run.finish(watermark.as_deref()).map(Some),
        }
    }
    Ok(None)
}

impl Run {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        match &mut self.current {
            Current::Nothing => Ok(()),
            Current::Copy { rows, .. } => {
                *rows += 1;
                self.script.copy_block_rows(line)
            }
            Current::Changes { plan, shape, rows, updates, deleted, updated } => {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let written = match plan.captured.depth {
                    Depth::Keys | Depth::Tombstones => {
                        keys_line(&mut self.script, plan, shape, (deleted, updated), line)?
                    }
                    Depth::OldValues => old_values_line(&mut self.script, plan, shape, deleted, line)?,
                };
                *rows += u64::from(written != Written::Nothing);
                *updates += u64::from(written == Written::Update);
                Ok(())
            }
        }
    }

    fn end_table(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Nothing => {}
            Current::Copy { table, rows } => {
                self.script.copy_block_end()?;
                self.counts.push((table.name.clone(), rows));
            }
            Current::Changes { plan, shape, rows, updates, deleted, updated } => {
                // behind the whole rows: receivers take many rows of one kind at a time
                let script = &mut self.script;
                updated.drain(|line| {
                    let (bits, row) = split_fields(line, 1);
                    script.update(&shape, &changed_columns(&plan, &shape, bits), row, None)
                })?;
                if rows > 0 {
                    self.counts.push((plan.table.name.clone(), rows));
                }
                if updates > 0 {
                    self.updates.insert(plan.table.name.to_string(), updates);
                }
                if !deleted.is_empty() {
                    self.deletes.push((plan, deleted));
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, watermark: Option<&str>) -> io::Result<Script> {
        self.end_table()?;
        let Self { mut script, counts, deletes, updates, notes, .. } = self;
        let mut gone = BTreeMap::new();
        // children before their parents: the reverse of the order in which rows were written
        for (plan, lines) in deletes.into_iter().rev() {
            let shape = plan.shape();
            let is_plain = plan.captured.depth != Depth::OldValues;
            let count = gone.entry(plan.table.name.to_string()).or_default();
            lines.drain(|line| {
                *count += 1;
                if is_plain {
                    return script.delete(&shape, line);
                }
                let (key, rest) = split_fields(line, plan.table.key.len());
                let (stamp, image) = split_fields(rest, 1);
                note_stamp(&mut script, stamp)?;
                if let Some(image) = unescape(image) {
                    script.note("was", &String::from_utf8_lossy(&image))?;
                }
                script.delete(&shape, key)
            })?;
        }
        // a stream of nothing but notes has something to say too
        let rows = script.rows_written() + notes;
        let mut writer = script.finish(watermark)?;
        writer.flush()?;
        Ok(Script { writer, tables: counts, deletes: gone, updates, rows })
    }
}

/// `changed, gone, key..., columns...`
fn keys_line(
    script: &mut ScriptWriter<FrozenWriter>,
    plan: &TablePlan,
    shape: &Shape,
    (deleted, updated): (&mut LineBuffer, &mut LineBuffer),
    line: &[u8],
) -> io::Result<Written> {
    let (bits, rest) = split_fields(line, 1);
    let (gone, rest) = split_fields(rest, 1);
    let (key, row) = split_fields(rest, plan.table.key.len());
    if gone == b"t" {
        if plan.deletes {
            deleted.push(key)?;
        }
        return Ok(if plan.deletes { Written::Delete } else { Written::Nothing });
    }
    if bits != b"\\N" {
        let set = changed_columns(plan, shape, bits);
        if set.is_empty() {
            // only what the receiver does not have
            return Ok(Written::Nothing);
        }
        // unique values that move between rows can be exchanged where all of these travel in the same way
        let moves = set.iter().any(|&index| plan.table.unique_columns.contains(&shape.columns[index].name));
        if !moves && left_out(shape, &set, row) >= LEFT_OUT_MIN {
            let mut line = bits.to_vec();
            line.push(b'\t');
            line.extend_from_slice(row);
            updated.push(&line)?;
            return Ok(Written::Update);
        }
    }
    script.upsert(shape, row)?;
    Ok(if bits == b"\\N" { Written::Whole } else { Written::Update })
}

/// The places in the shape of the columns that a bit of the log is set for.
fn changed_columns(plan: &TablePlan, shape: &Shape, bits: &[u8]) -> Vec<usize> {
    let changed = plan.captured.columns.iter().zip(bits).filter(|(_, bit)| **bit == b'1').map(|(name, _)| name);
    changed.filter_map(|name| shape.columns.iter().position(|column| !column.key && column.name == *name)).collect()
}

/// The bytes of the values that need not travel.
fn left_out(shape: &Shape, set: &[usize], row: &[u8]) -> usize {
    let fields = row.split(|&byte| byte == b'\t').enumerate();
    let unchanged =
        fields.filter(|(index, _)| !set.contains(index) && shape.columns.get(*index).is_some_and(|column| !column.key));
    unchanged.map(|(_, field)| field.len()).sum()
}

/// `operation, gone, old, totals, stamp, key..., columns...`
fn old_values_line(
    script: &mut ScriptWriter<FrozenWriter>,
    plan: &TablePlan,
    shape: &Shape,
    deleted: &mut LineBuffer,
    line: &[u8],
) -> io::Result<Written> {
    let (operation, rest) = split_fields(line, 1);
    let (gone, rest) = split_fields(rest, 1);
    let (old, rest) = split_fields(rest, 1);
    let (totals, rest) = split_fields(rest, 1);
    let (stamp, rest) = split_fields(rest, 1);
    let (key, row) = split_fields(rest, plan.table.key.len());
    if gone == b"t" {
        // a delete of what the receiver never saw does no harm, and it may have seen it: windows can overlap
        if plan.deletes {
            let mut entry = key.to_vec();
            for field in [stamp, old] {
                entry.push(b'\t');
                entry.extend_from_slice(field);
            }
            deleted.push(&entry)?;
            return Ok(Written::Delete);
        }
        return Ok(Written::Nothing);
    }
    let totals = object(totals);
    if operation != b"U" {
        if !totals.is_empty() {
            script.note("total", &Json::Object(totals).to_string())?;
        }
        note_stamp(script, stamp)?;
        script.upsert(shape, row)?;
        return Ok(if operation == b"I" { Written::Whole } else { Written::Update });
    }
    // also a column that has come back to its old value: the receiver may have seen it in between
    let mut was = object(old);
    was.retain(|name, _| shape.columns.iter().any(|column| !column.key && column.name == *name));
    let set: Vec<usize> =
        (0..shape.columns.len()).filter(|&index| was.contains_key(&shape.columns[index].name)).collect();
    if set.is_empty() {
        return Ok(Written::Nothing);
    }
    let totals: Map<String, Json> = totals.into_iter().filter(|(name, _)| was.contains_key(name)).collect();
    if !totals.is_empty() {
        script.note("total", &Json::Object(totals).to_string())?;
    }
    note_stamp(script, stamp)?;
    script.update(shape, &set, row, Some(&Json::Object(was).to_string()))?;
    Ok(Written::Update)
}

/// A COPY field that holds a JSON object; empty where it does not.
fn object(field: &[u8]) -> Map<String, Json> {
    unescape(field).and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Who changed the row, and when.
fn note_stamp(script: &mut ScriptWriter<FrozenWriter>, stamp: &[u8]) -> io::Result<()> {
    match unescape(stamp) {
        Some(stamp) => script.note("stamp", &String::from_utf8_lossy(&stamp)),
        None => Ok(()),
    }
}

/// Shape of a table for a full copy.
pub(super) fn copy_columns(table: &Table) -> Vec<String> {
    shape_of(table).columns.into_iter().map(|column| column.name).collect()
}
