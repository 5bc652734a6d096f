//! Configuration files: the commented one that is shipped, with what was chosen filled in.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// Where what was there before is kept.
    pub before: Option<PathBuf>,
}

/// Sets keys in a commented file: the line `#key = example` becomes `key = value`, so that its explanation stays above it;
/// a key that the file does not explain is added at the end.
pub fn fill(template: &str, values: &[(&str, toml::Value)]) -> String {
    let mut lines: Vec<String> = template.lines().map(str::to_owned).collect();
    for (key, value) in values {
        let set = format!("{key} = {value}");
        let example = format!("#{key} = ");
        match lines.iter_mut().find(|line| line.starts_with(&example)) {
            Some(line) => *line = set,
            None => lines.push(set),
        }
    }
    lines.join("\n") + "\n"
}

/// Writes a configuration: whole or not at all, with these permissions. One that is there is replaced with `replace`
/// alone, and kept beside the new one then, under a name that ends with `.old`.
///
/// # Errors
/// If there is one and it is not to be replaced, or it cannot be written.
pub fn write_settings(path: &Path, text: &str, mode: u32, replace: bool) -> io::Result<Written> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut before = None;
    if path.exists() {
        if !replace {
            return Err(named(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already")));
        }
        let kept = with_ending(path, "old");
        fs::copy(path, &kept).map_err(named)?;
        before = Some(kept);
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        fs::create_dir_all(dir)
            .and_then(|()| fs::set_permissions(dir, Permissions::from_mode(0o755)))
            .map_err(named)?;
    }
    let temporary = with_ending(path, "new");
    let write = || -> io::Result<()> {
        let _ = fs::remove_file(&temporary);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(named)?;
    Ok(Written { path: path.to_owned(), before })
}

/// Copies a file that a configuration names into the configuration's directory, where the service may read it and nobody
/// tidies it away. One that is there already stays where it is; another one of that name is replaced with `replace` alone.
///
/// # Errors
/// If it cannot be read or written, or another one is there.
pub fn keep_beside(configuration: &Path, file: &Path, name: &str, mode: u32, replace: bool) -> io::Result<PathBuf> {
    let dir = configuration.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let text = fs::read_to_string(file)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read {}: {error}", file.display())))?;
    let target = std::path::absolute(dir.join(name))?;
    if fs::read_to_string(&target).is_ok_and(|there| there == text) {
        return Ok(target);
    }
    write_settings(&target, &text, mode, replace).map(|written| written.path)
}

/// The last part of a path, as text.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    path.with_file_name(format!("{}.{ending}", file_name(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_stands_below_its_explanation() {
        let template = "# Name.\n#branch = \"lisbon\"\n\n# Flags.\n#no_auth = false\n";
        let filled = fill(template, &[("branch", "a \"b\"".into()), ("new", 7.into())]);
        assert_eq!(filled, "# Name.\nbranch = 'a \"b\"'\n\n# Flags.\n#no_auth = false\nnew = 7\n");
        let table: toml::Table = filled.parse().unwrap();
        assert_eq!(table["branch"].as_str(), Some("a \"b\""));
    }

    #[test]
    fn a_file_that_is_there_is_never_replaced_unasked_and_kept_when_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/a.toml");
        write_settings(&path, "one", 0o640, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(write_settings(&path, "two", 0o640, false).unwrap_err().to_string().contains("there already"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        let written = write_settings(&path, "two", 0o640, true).unwrap();
        assert_eq!(fs::read_to_string(written.before.unwrap()).unwrap(), "one");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    }

    #[test]
    fn a_file_is_kept_beside_its_configuration_once() {
        let dir = tempfile::tempdir().unwrap();
        let configuration = dir.path().join("a.toml");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        let kept = keep_beside(&configuration, &one, "schema.sql", 0o640, false).unwrap();
        assert_eq!(keep_beside(&configuration, &kept, "schema.sql", 0o640, false).unwrap(), kept);
        assert!(keep_beside(&configuration, &two, "schema.sql", 0o640, false).is_err());
        assert_eq!(fs::read_to_string(&kept).unwrap(), "1");
    }
}
