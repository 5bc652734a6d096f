//! The thread that reads a script: inflates, recognises, looks names up, and hands over blocks of rows.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::chunk::{ChunkError, InflateLimits, Inflater};
use protocol::dialect::{
    DEFAULT_FIELD, DialectError, DialectErrorKind, Event, Reader, ReaderLimits, Statement, WriteKind,
};
use protocol::names::TableName;
use protocol::policy::Direction;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::ApplyOrder;
use super::conflicts::Contest;
use super::target::{Conversion, Shape, ShapeKind, resolve};
use super::told::{ToldConflict, ToldMissing, stamp};
use crate::ReplicaError;
use crate::binary_copy::{BinaryType, encode_row};
use crate::catalogue::Table;
use crate::spool::spool_error;

/// Text of a block when it is handed over.
const BLOCK_BYTES: usize = 256 * 1024;

/// Messages that wait until those before have been worked on.
const MESSAGES_AHEAD: usize = 4;

/// Bytes of blocks that the server has not taken yet: enough for both to work at the same time. A row as large as a block
/// waits until the server has taken all before it, so that no two such rows are in memory.
const BYTES_AHEAD: u32 = 2 << 20;

/// Most bytes of output for each byte of input; deflate itself reaches about 1,000.
const RATIO_MAX: u64 = 1100;

/// Inflated bytes that are looked through for damage behind a refused statement; a member holds far fewer.
const DAMAGE_BYTES: u64 = 64 * 1024 * 1024;

/// Rows of one shape.
pub(super) struct Block {
    pub(super) shape: Arc<Shape>,
    /// COPY lines; the first field of each is the number of its statement.
    pub(super) text: Vec<u8>,
    /// The same rows, without the numbers, in COPY's binary format: where they may go straight into their table, and all
    /// of them can be told in it.
    pub(super) binary: Option<Vec<u8>>,
    pub(super) rows: usize,
    /// (index of the first row, number of the statement), ascending.
    pub(super) statements: Vec<(usize, u64)>,
    /// Goes with the block, and makes room for another.
    _room: OwnedSemaphorePermit,
}

/// The lines without the numbers of their statements, in the same place: they may be long.
pub(super) fn without_numbers(mut lines: Vec<u8>) -> Vec<u8> {
    let (mut end, mut start) = (0, 0);
    while start < lines.len() {
        let next = memchr::memchr(b'\n', &lines[start..]).map_or(lines.len(), |place| start + place + 1);
        let behind = next - after_number(&lines[start..next]).len();
        lines.copy_within(behind..next, end);
        (end, start) = (end + next - behind, next);
    }
    lines.truncate(end);
    lines
}

/// What the thread hands over.
pub(super) enum Message {
    Block(Block),
    SetVal {
        sequence: TableName,
        value: i64,
        called: bool,
    },
    Watermark(String),
    /// A conflict that the sender found and decided.
    Conflict(Box<ToldConflict>),
    /// A row that the sender needs whole.
    Missing(ToldMissing),
}

/// The running thread.
pub(super) struct Feed {
    receiver: mpsc::Receiver<Result<Message, ReplicaError>>,
}

impl Feed {
    /// Starts reading.
    pub(super) fn start(order: ApplyOrder, input: Box<dyn Read + Send>) -> Result<Self, ReplicaError> {
        let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
        let (runtime, room) = (Handle::current(), Arc::new(Semaphore::new(BYTES_AHEAD as usize)));
        std::thread::Builder::new()
            .name("feed".into())
            .spawn(move || {
                let mut parse = Parse {
                    order,
                    sender,
                    runtime,
                    room,
                    shapes: Vec::new(),
                    buffers: BTreeMap::new(),
                    was: None,
                    totals: None,
                    stamp: None,
                };
                if let Err(Stop::Failed(error)) = parse.run(input) {
                    // the receiver may be gone: then nobody wants to know
                    let _ = parse.sender.blocking_send(Err(error));
                }
            })
            .map_err(|source| spool_error("start a thread for", std::path::Path::new("the script"), source))?;
        Ok(Self { receiver })
    }

    /// The next message; none at the end of the script.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, ReplicaError> {
        self.receiver.recv().await.transpose()
    }
}

enum Stop {
    Failed(ReplicaError),
    NobodyListens,
}

impl From<ReplicaError> for Stop {
    fn from(error: ReplicaError) -> Self {
        Self::Failed(error)
    }
}

#[derive(Default)]
struct Buffer {
    text: Vec<u8>,
    binary: Option<Vec<u8>>,
    rows: usize,
    statements: Vec<(usize, u64)>,
}

impl Buffer {
    fn of(shape: &Shape) -> Self {
        Self { binary: shape.binary.as_ref().map(|_| Vec::new()), ..Self::default() }
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.binary.as_ref().map_or(0, Vec::len)
    }

    /// Adds the last line of the text, which begins at `start`, in binary; from the first row on that cannot be told in it
    /// the block is text.
    fn encode(&mut self, shape: &Shape, start: usize) {
        let (Some(types), Some(binary)) = (&shape.binary, &mut self.binary) else { return };
        let line = after_number(&self.text[start..]);
        if encode_row(types, line, binary).is_err() {
            self.binary = None;
        }
    }
}

/// A line without the number of its statement.
fn after_number(line: &[u8]) -> &[u8] {
    &line[memchr::memchr(b'\t', line).map_or(0, |tab| tab + 1)..]
}

struct Parse {
    order: ApplyOrder,
    sender: mpsc::Sender<Result<Message, ReplicaError>>,
    runtime: Handle,
    room: Arc<Semaphore>,
    shapes: Vec<Arc<Shape>>,
    buffers: BTreeMap<usize, Buffer>,
    was: Option<Vec<u8>>,
    totals: Option<Vec<u8>>,
    stamp: Option<Vec<u8>>,
}

/// The statement whose rows are coming in.
struct Current {
    shape: Option<Arc<Shape>>,
    statement: Statement,
    conversion: Conversion,
    /// The number of its rows, and the same in figures.
    number: (u64, Vec<u8>),
}

impl Parse {
    fn run(&mut self, input: Box<dyn Read + Send>) -> Result<(), Stop> {
        let limits = InflateLimits { bytes_max: self.order.inflated_bytes_max, ratio_max: RATIO_MAX };
        let trouble = Arc::new(Mutex::new(None));
        let mut inflater = Noting {
            inner: Inflater::new(BufReader::with_capacity(64 * 1024, input), limits),
            trouble: trouble.clone(),
        };
        let bounds = ReaderLimits { row_bytes_max: self.order.row_bytes_max, ..ReaderLimits::default() };
        let outcome = {
            let mut reader = Reader::new(BufReader::with_capacity(256 * 1024, &mut inflater), bounds);
            self.read(&mut reader, &trouble)
        };
        let Err(Stop::Failed(ReplicaError::Refused { .. })) = &outcome else { return outcome };
        // damage may look like nonsense before the checksum of its member is reached
        let mut rest = inflater.take(DAMAGE_BYTES);
        let _ = io::copy(&mut rest, &mut io::sink());
        match trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(damaged @ ReplicaError::Damaged(_)) => Err(damaged.into()),
            _ => outcome,
        }
    }

    fn read<R: BufRead>(&mut self, reader: &mut Reader<R>, trouble: &Mutex<Option<ReplicaError>>) -> Result<(), Stop> {
        let mut current: Option<Current> = None;
        loop {
            let (number, event) = match reader.next_numbered() {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(error) => return Err(Stop::Failed(from_dialect(&error, trouble))),
            };
            match event {
                Event::Statement(statement) => {
                    current = Some(Current {
                        shape: None,
                        statement: statement.clone(),
                        conversion: Conversion::AsIs,
                        number: (0, Vec::new()),
                    });
                }
                Event::Row(row) => {
                    let Some(current) = &mut current else { continue };
                    self.row(current, row, number)?;
                }
                Event::SetVal { sequence, value, called } => {
                    self.send(Message::SetVal { sequence, value, called })?;
                }
                Event::Note { name: "was", json } => self.was = Some(copy_escape(json.as_bytes())),
                Event::Note { name: "total", json } => self.totals = Some(copy_escape(json.as_bytes())),
                Event::Note { name: "stamp", json } => self.stamp = stamp(json),
                Event::Note { name: "conflict", json } => {
                    let conflict = ToldConflict::parse(json)
                        .map_err(|message| refused(number, format!("the note of a conflict: {message}")))?;
                    self.send(Message::Conflict(Box::new(conflict)))?;
                }
                Event::Note { name: "missing", json } => {
                    if let Some(missing) = ToldMissing::parse(json) {
                        self.send(Message::Missing(missing))?;
                    }
                }
                Event::Note { .. } => {}
                Event::Watermark(text) => {
                    let text = text.to_owned();
                    self.send(Message::Watermark(text))?;
                }
            }
        }
        let ids: Vec<usize> = self.buffers.keys().copied().collect();
        for id in ids {
            self.flush(id, None)?;
        }
        Ok(())
    }

    fn row(&mut self, current: &mut Current, row: &[u8], number: u64) -> Result<(), Stop> {
        let shape = match &current.shape {
            Some(shape) => shape.clone(),
            None => self.begin(current, number)?,
        };
        let room = if row.len() < BLOCK_BYTES { None } else { Some(self.reserve(usize::MAX)?) };
        let (was, totals, stamp) = (self.was.take(), self.totals.take(), self.stamp.take());
        let (amounts, stamped) = (shape.amounts, shape.stamped);
        let buffer = self.buffers.entry(shape.id).or_insert_with(|| Buffer::of(&shape));
        if buffer.statements.last().is_none_or(|(_, last)| *last != number) {
            buffer.statements.push((buffer.rows, number));
        }
        let start = buffer.text.len();
        if current.number.0 != number {
            current.number = (number, number.to_string().into_bytes());
        }
        buffer.text.extend_from_slice(&current.number.1);
        let refusal =
            convert(&mut buffer.text, &current.conversion, &shape, current.statement.kind, row, was.as_deref());
        if let Err(message) = refusal {
            buffer.text.truncate(start);
            return Err(refused(number, message).into());
        }
        if amounts {
            // behind all other columns of the staging table
            push_was(&mut buffer.text, totals.as_deref());
        }
        if stamped {
            push_was(&mut buffer.text, stamp.as_deref());
        }
        if room.is_none() {
            buffer.encode(&shape, start);
        } else {
            // it is not wanted twice, and numbers are not so long
            buffer.binary = None;
        }
        buffer.text.push(b'\n');
        buffer.rows += 1;
        if buffer.text.len() >= BLOCK_BYTES {
            self.flush(shape.id, room)?;
        }
        Ok(())
    }

    /// The first row of a statement: an empty one for a table that may not be written carries nothing.
    fn begin(&mut self, current: &mut Current, number: u64) -> Result<Arc<Shape>, Stop> {
        let name = &current.statement.table;
        let refuse = |message: String| Stop::Failed(refused(number, message));
        let Some(table) = self.order.catalogue.get(name) else {
            return Err(refuse(format!("table {name} does not exist here")));
        };
        let Some(policy) = self.order.policy.get(name) else {
            return Err(refuse(format!("table {name} is not in policy {:?}", self.order.policy.name)));
        };
        if let Some(reason) = self.order.incoming.refusal(policy.direction) {
            return Err(refuse(format!("table {name} {reason}")));
        }
        let (mut kind, columns, mut conversion) = resolve(table, &current.statement).map_err(refuse)?;
        if kind == ShapeKind::GuardedUpdate && Contest::is_held(&self.order, table) {
            // every row is compared with what was changed here: guards would keep nothing out that is still to be taken
            kind = ShapeKind::Update;
            if let Conversion::Update { guards, .. } = &mut conversion {
                guards.clear();
            }
        }
        let shape = self.shape(table.clone(), kind, columns);
        // what is written to one table keeps its order, whatever kind of statement wrote it; and many tables with a little
        // each are much together
        let held: usize = self.buffers.values().map(Buffer::bytes).sum();
        let crowded = held > BYTES_AHEAD as usize;
        let before: Vec<usize> = self
            .buffers
            .keys()
            .copied()
            .filter(|id| *id != shape.id)
            .filter(|id| crowded || !self.order.rights.quiet || self.shapes[*id].table.name == shape.table.name)
            .collect();
        for id in before {
            self.flush(id, None)?;
        }
        current.shape = Some(shape.clone());
        current.conversion = conversion;
        Ok(shape)
    }

    fn shape(&mut self, table: Table, kind: ShapeKind, columns: Vec<String>) -> Arc<Shape> {
        let found = self
            .shapes
            .iter()
            .find(|shape| shape.table.name == table.name && shape.kind == kind && shape.columns == columns);
        if let Some(shape) = found {
            return shape.clone();
        }
        let travels = matches!(kind, ShapeKind::Upsert(_) | ShapeKind::Update | ShapeKind::GuardedUpdate);
        let amounts = travels && !super::amounts::columns(&self.order, &table).is_empty();
        let both = self.order.policy.get(&table.name).is_some_and(|rules| rules.direction == Direction::Both);
        let stamped = both && !matches!(kind, ShapeKind::Insert | ShapeKind::InsertIgnore);
        let binary = if self.order.bulk && kind == ShapeKind::Insert { binary_types(&table, &columns) } else { None };
        let table = Arc::new(table);
        let shape = Arc::new(Shape { id: self.shapes.len(), table, kind, columns, binary, amounts, stamped });
        self.shapes.push(shape.clone());
        shape
    }

    /// Waits for room for a block of so many bytes, for all there is at most.
    fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Stop> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX).min(BYTES_AHEAD);
        let room = self.room.clone().acquire_many_owned(permits);
        self.runtime.block_on(room).map_err(|_| Stop::NobodyListens)
    }

    /// Hands the rows of a shape over, in room that there is for them already or that is waited for.
    fn flush(&mut self, id: usize, room: Option<OwnedSemaphorePermit>) -> Result<(), Stop> {
        let Some(buffer) = self.buffers.remove(&id) else { return Ok(()) };
        if buffer.rows == 0 {
            return Ok(());
        }
        let shape = self.shapes[id].clone();
        let room = match room {
            Some(room) => room,
            None => self.reserve(buffer.bytes())?,
        };
        let Buffer { text, binary, rows, statements } = buffer;
        self.send(Message::Block(Block { shape, text, binary, rows, statements, _room: room }))
    }

    fn send(&mut self, message: Message) -> Result<(), Stop> {
        self.sender.blocking_send(Ok(message)).map_err(|_| Stop::NobodyListens)
    }
}

/// The columns' types, where all of them can be told in binary.
fn binary_types(table: &Table, columns: &[String]) -> Option<Vec<BinaryType>> {
    columns.iter().map(|name| table.column(name)?.binary).collect()
}

/// Appends the row's fields, each behind a tab.
fn convert(
    text: &mut Vec<u8>,
    conversion: &Conversion,
    shape: &Shape,
    kind: WriteKind,
    row: &[u8],
    was: Option<&[u8]>,
) -> Result<(), String> {
    let from_copy = kind == WriteKind::Copy;
    let may_default = !from_copy && memchr::memmem::find(row, DEFAULT_FIELD).is_some();
    match conversion {
        Conversion::AsIs => {
            if may_default && row.split(|&byte| byte == b'\t').any(|field| field == DEFAULT_FIELD) {
                return Err(format!(
                    "DEFAULT is accepted for generated columns only, table {} has none here",
                    shape.table.name
                ));
            }
            let fields = memchr::memchr_iter(b'\t', row).count() + 1;
            if fields != shape.columns.len() {
                return Err(format!(
                    "{fields} values for {} columns of table {}",
                    shape.columns.len(),
                    shape.table.name
                ));
            }
            text.push(b'\t');
            text.extend_from_slice(row);
        }
        Conversion::Without(generated) => {
            let fields: Vec<&[u8]> = row.split(|&byte| byte == b'\t').collect();
            if fields.len() != shape.columns.len() + generated.len() {
                return Err(format!(
                    "{} values for {} columns of table {}",
                    fields.len(),
                    shape.columns.len() + generated.len(),
                    shape.table.name
                ));
            }
            for (index, field) in fields.iter().enumerate() {
                if generated.contains(&index) {
                    if *field != DEFAULT_FIELD {
                        return Err(format!("a generated column of table {} takes DEFAULT only", shape.table.name));
                    }
                } else if *field == DEFAULT_FIELD {
                    return Err(format!(
                        "DEFAULT is accepted for generated columns only, in table {}",
                        shape.table.name
                    ));
                } else {
                    text.push(b'\t');
                    text.extend_from_slice(field);
                }
            }
        }
        Conversion::Key(positions) => {
            let fields: Vec<&[u8]> = row.split(|&byte| byte == b'\t').collect();
            push_was(text, was);
            for &position in positions {
                text.push(b'\t');
                text.extend_from_slice(fields.get(position).copied().ok_or("a key has too few values")?);
            }
        }
        Conversion::Update { set, key, guards, others } => {
            let fields: Vec<&[u8]> = row.split(|&byte| byte == b'\t').collect();
            let field = |position: usize| fields.get(position).copied().ok_or("an update has too few values");
            push_was(text, was);
            push_bits(text, set, *others);
            if !guards.is_empty() {
                push_bits(text, guards, *others);
            }
            for &position in key {
                text.push(b'\t');
                text.extend_from_slice(field(position)?);
            }
            push_sparse(text, set, *others, field)?;
            if !guards.is_empty() {
                let first = set.len() + key.len();
                push_sparse(text, guards, *others, |index| field(first + index))?;
            }
        }
    }
    Ok(())
}

fn push_was(text: &mut Vec<u8>, was: Option<&[u8]>) {
    text.push(b'\t');
    text.extend_from_slice(was.unwrap_or(b"\\N"));
}

/// Which of the other columns have a value, as a bit string.
fn push_bits(text: &mut Vec<u8>, positions: &[usize], others: usize) {
    text.push(b'\t');
    text.extend((0..others).map(|column| if positions.contains(&column) { b'1' } else { b'0' }));
}

fn push_sparse<'a>(
    text: &mut Vec<u8>,
    positions: &[usize],
    others: usize,
    field: impl Fn(usize) -> Result<&'a [u8], &'static str>,
) -> Result<(), &'static str> {
    for column in 0..others {
        text.push(b'\t');
        match positions.iter().rposition(|&position| position == column) {
            Some(index) => text.extend_from_slice(field(index)?),
            None => text.extend_from_slice(b"\\N"),
        }
    }
    Ok(())
}

pub(super) fn copy_escape(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    for &byte in raw {
        match byte {
            b'\\' => text.extend_from_slice(b"\\\\"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            _ => text.push(byte),
        }
    }
    text
}

fn refused(statement: u64, message: String) -> ReplicaError {
    ReplicaError::Refused { statement, message }
}

/// Passes bytes on and remembers the error that ended them: the reader of the dialect only says that there was one.
struct Noting<R> {
    inner: R,
    trouble: Arc<Mutex<Option<ReplicaError>>>,
}

impl<R: Read> Read for Noting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            let noted = match ChunkError::of(error) {
                Some(ChunkError::TooLarge { .. }) => ReplicaError::TooLarge(error.to_string()),
                _ => ReplicaError::Damaged(error.to_string()),
            };
            self.trouble.lock().unwrap_or_else(PoisonError::into_inner).replace(noted);
        })
    }
}

fn from_dialect(error: &DialectError, trouble: &Mutex<Option<ReplicaError>>) -> ReplicaError {
    match error.kind {
        DialectErrorKind::Io => trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .unwrap_or_else(|| ReplicaError::Damaged(error.to_string())),
        DialectErrorKind::TooLong => ReplicaError::TooLarge(error.to_string()),
        _ => ReplicaError::Refused { statement: error.statement, message: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::without_numbers;

    #[test]
    fn numbers_of_statements_are_taken_off_each_line() {
        assert_eq!(without_numbers(b"1\ta\tb\n12\t\n123\t\\N\tlong\n".to_vec()), b"a\tb\n\n\\N\tlong\n");
        assert_eq!(without_numbers(Vec::new()), b"");
    }
}
