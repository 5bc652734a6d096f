//! Credentials: a user, and a password from a file that nobody else can read. Never from the command line.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use base64::Engine as _;

use super::LinkError;
use crate::limits::PASSWORD_BYTES_MAX;

/// A user and a password, as the `Authorization` header carries them.
#[derive(Clone)]
pub(crate) struct Credentials {
    header: String,
}

impl Credentials {
    /// Credentials for HTTP Basic.
    pub(crate) fn new(user: &str, password: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Self { header: format!("Basic {pair}") }
    }

    /// The value of the `Authorization` header.
    pub(crate) fn header(&self) -> &str {
        &self.header
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials([redacted])")
    }
}

/// Reads a password: the first line of a file that group and others cannot read.
pub(crate) fn read_password(path: &Path) -> Result<String, LinkError> {
    let wrong = |reason: String| LinkError::Password { path: path.to_owned(), reason };
    let mut file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| wrong(error.to_string()))?;
    if !metadata.is_file() {
        return Err(wrong("it is no file".to_owned()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(wrong(format!("others can read it (mode {:o})", metadata.mode() & 0o777)));
    }
    let mut text = String::new();
    file.by_ref()
        .take(PASSWORD_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|_| wrong("it cannot be read as text".to_owned()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(wrong("its first line is empty".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_password_is_the_first_line_of_a_private_file() {
        assert_eq!(read_password(file("geheim \nrest\n", 0o600).path()).unwrap(), "geheim ");
        assert_eq!(read_password(file("geheim", 0o400).path()).unwrap(), "geheim");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o660] {
            let error = read_password(file("geheim", mode).path()).unwrap_err();
            assert!(error.to_string().contains("others can read it"), "{error}");
            assert!(!error.to_string().contains("geheim"));
        }
        assert!(read_password(file("\n", 0o600).path()).is_err());
    }

    #[test]
    fn a_password_never_shows_in_debug_output() {
        assert!(!format!("{:?}", Credentials::new("office", "geheim")).contains("Z2VoZWlt"));
    }
}
