//! Every bound of the program, in one place.

use std::time::Duration;

/// First chunk or slice of a run, in bytes: small, for nobody knows the line yet.
pub(crate) const CHUNK_BYTES_START: u64 = 16 * 1024;

/// Smallest chunk or slice, in bytes: below it the envelope costs more than a drop.
pub(crate) const CHUNK_BYTES_MIN: u64 = 2 * 1024;

/// Largest chunk or slice, in bytes; a few copies of one are held in memory for each branch that runs.
pub(crate) const CHUNK_BYTES_MAX: u64 = 1024 * 1024;

/// How long one chunk should take on the line: what a drop may cost.
pub(crate) const CHUNK_DURATION_WANTED: Duration = Duration::from_secs(5);

/// How long a connection may take to open.
pub(crate) const CONNECT_DURATION_MAX: Duration = Duration::from_secs(10);

/// How long a connection may stay silent while a quick answer is awaited, unless configured.
pub(crate) const SILENCE_DURATION_MAX: Duration = Duration::from_secs(60);

/// How long it may stay silent while the peer works on something long (clean, a diff, an apply).
pub(crate) const WORK_DURATION_MAX: Duration = Duration::from_secs(600);

/// How long a failing line is tried again without any progress, unless configured.
pub(crate) const RETRY_DURATION_MAX: Duration = Duration::from_secs(120);

/// How long the first contact of a run is tried: a shop that is closed should be known soon.
pub(crate) const FIRST_CONTACT_DURATION_MAX: Duration = Duration::from_secs(10);

/// How long a command may take that brings a line up or down, unless configured.
pub(crate) const LINE_DURATION_MAX: Duration = Duration::from_secs(120);

/// How long a shop that says `busy` is asked again.
pub(crate) const BUSY_DURATION_MAX: Duration = Duration::from_secs(600);

/// First pause between two tries.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(250);

/// Longest pause between two tries.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Rows that wait for a shop up to which they are written out to say how many bytes they are, before anything moves.
pub(crate) const ESTIMATE_ROWS_MAX: i64 = 20_000;

/// Bytes that a row is taken to have on the wire where nothing better is known.
pub(crate) const ROW_BYTES_GUESSED: f64 = 60.0;

/// Time between two lines of progress where nobody sits at a terminal.
pub(crate) const PROGRESS_PAUSE: Duration = Duration::from_secs(10);

/// Largest head of a reply, in bytes.
pub(crate) const REPLY_HEAD_BYTES_MAX: usize = 64 * 1024;

/// A reply up to this size is read in memory; a longer one goes through a file.
pub(crate) const REPLY_MEMORY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest reply with values, in bytes on the wire and after decompression: a slice of a diff is the longest.
pub(crate) const REPLY_VALUE_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// Bytes of all texts and blobs of a reply that is read into memory.
pub(crate) const REPLY_TREE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Values in a reply.
pub(crate) const REPLY_ELEMENTS_MAX: usize = 200_000;

/// Largest reply that is written to a file, in bytes on the wire and after decompression: a whole diff at once.
pub(crate) const REPLY_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;

/// Largest password file, in bytes.
pub(crate) const PASSWORD_BYTES_MAX: u64 = 4096;

/// Shortest password of somebody who logs in to the console.
pub(crate) const PASSWORD_CHARS_MIN: usize = 8;

/// Most branches that are updated at one time.
pub(crate) const JOBS_MAX: usize = 64;

/// Branches that are updated at one time, unless configured.
pub(crate) const JOBS_DEFAULT: usize = 4;

/// How long tables of the office's database are taken to be as they were last seen: a moment, so that an
/// update of hundreds of branches looks once a second instead of a dozen times for each.
pub(crate) const RECHECK: Duration = Duration::from_secs(1);

/// Width of a branch's id range, unless configured (DESIGN.md section 7).
pub(crate) const ID_SPAN_DEFAULT: i64 = 1_000_000_000_000;

/// Longest watermark that is taken from a peer, in characters.
pub(crate) const WATERMARK_CHARS_MAX: usize = 64;

/// Longest name of a frozen diff that is taken from a peer; it becomes part of a file name.
pub(crate) const DIFF_ID_CHARS_MAX: usize = 100;

/// Lines of history that are shown, unless asked for more.
pub(crate) const HISTORY_LINES_DEFAULT: i64 = 20;

/// Conflicts that are listed, unless asked for more.
pub(crate) const CONFLICT_LINES_DEFAULT: i64 = 50;

/// Longest value of a row that is shown to people, in characters; JSON has it whole.
pub(crate) const VALUE_CHARS_SHOWN_MAX: usize = 60;

/// Connections that the console holds at one time.
pub(crate) const CONSOLE_CONNECTIONS_MAX: usize = 256;

/// How long the head of a request may take, and how long a connection may lie idle.
pub(crate) const CONSOLE_HEADER_DURATION_MAX: Duration = Duration::from_secs(30);

/// How long the body of a request may take.
pub(crate) const CONSOLE_BODY_DURATION_MAX: Duration = Duration::from_secs(10);

/// Largest body of a request to the console, in bytes.
pub(crate) const CONSOLE_BODY_BYTES_MAX: usize = 64 * 1024;

/// How long the console waits for open connections when it ends.
pub(crate) const CONSOLE_STOP_DURATION_MAX: Duration = Duration::from_secs(5);

/// Lines of a list that one call of the programming interface gets.
pub(crate) const CONSOLE_API_LINES_MAX: i64 = 1000;

/// How often the console looks which branch is due.
pub(crate) const CONSOLE_SCHEDULE_PAUSE: Duration = Duration::from_secs(2);

/// How long the office's own command for alerts may take, and the program that alerts are posted to.
pub(crate) const CONSOLE_ALERT_DURATION_MAX: Duration = Duration::from_secs(30);

/// How often the console looks how branches stand while somebody watches.
pub(crate) const CONSOLE_LOOK_PAUSE: Duration = Duration::from_secs(3);

/// The same while nobody does.
pub(crate) const CONSOLE_IDLE_PAUSE: Duration = Duration::from_secs(30);

/// Shortest time between two pictures of a run at work.
pub(crate) const CONSOLE_FRAME_PAUSE: Duration = Duration::from_millis(300);

/// Runs that have ended and that the console still has every step of.
pub(crate) const CONSOLE_ENDED_RUNS_MAX: usize = 200;

/// People who are logged in at one time.
pub(crate) const CONSOLE_LOGINS_MAX: usize = 1000;

/// How long a login lasts without being used.
pub(crate) const CONSOLE_LOGIN_IDLE_MAX: Duration = Duration::from_secs(12 * 3600);

/// Conflicts or rows in quarantine on one page.
pub(crate) const CONSOLE_CARDS_MAX: i64 = 20;

/// Runs on one page of the history.
pub(crate) const CONSOLE_RUNS_MAX: i64 = 50;

/// Longest value of a row that the console shows, in characters.
pub(crate) const CONSOLE_VALUE_CHARS_MAX: usize = 400;
