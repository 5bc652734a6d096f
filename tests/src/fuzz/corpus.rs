//! The inputs that are kept: in `fixtures/corpus/TARGET/`, one file each, named by what is in it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::process::root;

/// Where the inputs of a target are.
pub fn dir(target: &str) -> PathBuf {
    root().join("fixtures/corpus").join(target)
}

/// All inputs of a directory, with their names, in the order of these.
///
/// # Errors
/// When it cannot be read.
pub fn read(dir: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        inputs.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    inputs.sort();
    Ok(inputs)
}
