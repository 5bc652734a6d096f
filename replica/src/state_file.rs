//! A small file of the state directory, which is always whole: it is replaced at once, or not at all.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::ReplicaError;
use crate::spool::spool_error;

/// Puts a value in the place of what the file holds, as JSON.
pub(crate) fn replace(path: &Path, value: &impl Serialize) -> Result<(), ReplicaError> {
    // a name of its own: several runs may write at one time, and the last rename counts
    let temporary = path.with_extension(format!("{:016x}", rand::random::<u64>()));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_data()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        spool_error("write", path, source)
    })
}
