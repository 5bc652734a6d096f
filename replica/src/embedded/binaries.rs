//! Finding the programs of PostgreSQL on this machine.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::EmbeddedError;

/// Oldest major version the product works with.
pub const OLDEST_MAJOR: u32 = 13;

/// Where the programs of one PostgreSQL version are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The directory that holds `postgres` and `initdb`.
    pub dir: PathBuf,
    /// Major version, [`OLDEST_MAJOR`] or newer.
    pub major: u32,
}

impl Binaries {
    /// Path of one of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Looks at one directory; `Err` says in a few words why it will not do.
    fn at(dir: &Path) -> Result<Self, String> {
        for name in ["postgres", "initdb"] {
            if !dir.join(name).is_file() {
                return Err(format!("no {name} in {}", dir.display()));
            }
        }
        let output = Command::new(dir.join("postgres"))
            .arg("--version")
            .output()
            .map_err(|error| format!("{}: {error}", dir.join("postgres").display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let major = major_of(&text).ok_or_else(|| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            format!("{}/postgres does not tell its version: {}", dir.display(), complaint.trim())
        })?;
        if major < OLDEST_MAJOR {
            return Err(format!("{} has version {major}, too old", dir.display()));
        }
        Ok(Self { dir: dir.to_owned(), major })
    }
}

/// Major version in the output of `postgres --version`, such as `postgres (PostgreSQL) 15.18 (Debian ...)` or `... 18beta1`.
fn major_of(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("(PostgreSQL) ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Finds the programs of PostgreSQL: the explicit directory if there is one and no other, else that of the environment
/// variable `PG_BINDIR`, else the newest of what `pg_config --bindir` says, the distributions' usual places, `PATH`, and
/// the npm package unpacked in `.cache/postgresql` (here, or in the home directory).
pub fn find_binaries(explicit: Option<&Path>) -> Result<Binaries, EmbeddedError> {
    find(explicit, None)
}

/// The same, of exactly the major version that made an existing cluster.
pub(super) fn find(explicit: Option<&Path>, major: Option<u32>) -> Result<Binaries, EmbeddedError> {
    let wanted = major.map_or_else(|| format!("{OLDEST_MAJOR} or newer"), |major| major.to_string());
    let from_environment = env::var_os("PG_BINDIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = explicit.map(Path::to_owned).or(from_environment) {
        return match Binaries::at(&dir) {
            Ok(found) if major.is_none_or(|major| major == found.major) => Ok(found),
            Ok(found) => Err(EmbeddedError::NoBinaries {
                wanted,
                tried: format!("{} has version {}", dir.display(), found.major),
            }),
            Err(tried) => Err(EmbeddedError::NoBinaries { wanted, tried }),
        };
    }
    let mut best: Option<Binaries> = None;
    let mut complaints = Vec::new();
    for group in [configured(), usual_places(), on_path(), unpacked()] {
        for dir in group {
            match Binaries::at(&dir) {
                Ok(found) if major.is_some_and(|major| major != found.major) => {
                    complaints.push(format!("{} has version {}", dir.display(), found.major));
                }
                Ok(found) if best.as_ref().is_none_or(|best| best.major < found.major) => best = Some(found),
                Ok(_) => {}
                Err(complaint) => complaints.push(complaint),
            }
        }
        if let Some(best) = best.take() {
            return Ok(best);
        }
    }
    complaints.dedup();
    complaints.truncate(5);
    let tried = if complaints.is_empty() { "looked in the usual places".to_owned() } else { complaints.join("; ") };
    Err(EmbeddedError::NoBinaries { wanted, tried })
}

/// What `pg_config` of `PATH` says; it may belong to a client-only installation.
fn configured() -> Vec<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output();
    let Ok(output) = output else {
        return Vec::new();
    };
    let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if dir.join("postgres").is_file() { vec![dir] } else { Vec::new() }
}

/// Debian and Ubuntu, Red Hat and SUSE, Alpine, source builds, Homebrew.
fn usual_places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/usr/lib", "postgresql"),
        ("/usr/libexec", "postgresql"),
        ("/usr/local", "pgsql"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ] {
        let Ok(entries) = std::fs::read_dir(parent) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let dir = entry.path();
                places.extend([dir.join("bin"), dir].into_iter().filter(|dir| dir.join("postgres").is_file()));
            }
        }
    }
    places.sort();
    places
}

fn on_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).filter(|dir| dir.join("postgres").is_file()).collect()
}

/// Where `scripts/prerequisites.sh` unpacks the npm package.
fn unpacked() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from(".cache/postgresql/bin")];
    if let Some(home) = env::var_os("HOME") {
        places.push(PathBuf::from(home).join(".cache/postgresql/bin"));
    }
    places.retain(|dir| dir.join("postgres").is_file());
    places.iter_mut().for_each(|dir| *dir = std::path::absolute(&*dir).unwrap_or_else(|_| dir.clone()));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_however_a_distribution_spells_it() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_of("something else"), None);
    }

    #[test]
    fn an_explicit_directory_is_not_replaced_by_another() {
        let error = find_binaries(Some(Path::new("/nonexistent/bin"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/bin"), "{error}");
    }

    #[test]
    fn a_cluster_of_another_version_is_refused_with_the_version_it_needs() {
        let error = find(None, Some(9999)).unwrap_err();
        assert!(error.to_string().contains("no PostgreSQL 9999 server programs"), "{error}");
    }
}
