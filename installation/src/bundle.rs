//! Support archives: what somebody who is asked for help needs to see, and nothing that must not be seen. A tar.gz for its
//! owner alone.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;

/// What stands where something was left out.
pub const HIDDEN: &str = "(hidden)";

/// A block of tar.
const BLOCK: usize = 512;

/// Bytes of a log that are taken, from its end.
const LOG_BYTES: usize = 256 << 10;

/// Lines of the journal that are taken.
const JOURNAL_LINES: &str = "1000";

/// An archive that is being put together.
#[derive(Debug, Default)]
pub struct Bundle {
    files: Vec<(String, String)>,
    secrets: Vec<String>,
}

impl Bundle {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A text that must not be in it, wherever it turns up. Very short ones would hide everything else and are left alone.
    pub fn keep_out(&mut self, secret: &str) {
        if secret.len() >= 4 {
            self.secrets.push(secret.to_owned());
        }
    }

    /// The password in the address of a database must not be in it.
    pub fn keep_out_password_of(&mut self, address: &str) {
        let mut found = Vec::new();
        redact_address(address, &mut found);
        found.iter().for_each(|secret| self.keep_out(secret));
    }

    /// Adds a file.
    pub fn add(&mut self, name: &str, text: impl Into<String>) {
        self.files.push((name.to_owned(), text.into()));
    }

    /// Adds the configuration: its keys with their values, without its comments; of `hidden` ones, and of passwords in
    /// addresses, only that they are set.
    pub fn add_settings(&mut self, text: &str, hidden: &[&str]) {
        let settings = match text.parse::<toml::Table>() {
            Ok(settings) => settings,
            // a file that cannot be read may hold anything anywhere
            Err(_) => return self.add("configuration.toml", "# it is no TOML; `check.txt` says where it fails\n"),
        };
        let mut shown = toml::Table::new();
        let mut secrets = Vec::new();
        for (key, value) in settings {
            let value = match value {
                _ if hidden.contains(&key.as_str()) => HIDDEN.into(),
                toml::Value::String(text) => redact_address(&text, &mut secrets).into(),
                other => other,
            };
            shown.insert(key, value);
        }
        secrets.iter().for_each(|secret| self.keep_out(secret));
        self.add("configuration.toml", shown.to_string());
    }

    /// Adds the end of a PostgreSQL server's log; of messages only what PostgreSQL itself has written, since what is quoted
    /// in them may be a value of a row.
    pub fn add_server_log(&mut self, path: &Path) {
        if let Ok(log) = std::fs::read(path) {
            let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_BYTES)..]).into_owned();
            let lines: Vec<String> = tail.lines().map(without_quotations).collect();
            self.add("server.log", lines.join("\n") + "\n");
        }
    }

    /// Adds what the journal has of a service, where there is a journal.
    pub fn add_journal(&mut self, unit: &str) {
        let mut journalctl = Command::new("journalctl");
        journalctl.args(["--unit", unit, "--lines", JOURNAL_LINES, "--output", "short-iso", "--no-pager", "--quiet"]);
        let found = journalctl.stdin(Stdio::null()).stderr(Stdio::null()).output();
        let text = found.ok().filter(|found| found.status.success()).map(|found| found.stdout);
        let text = text.map(|text| String::from_utf8_lossy(&text).into_owned()).filter(|text| !text.trim().is_empty());
        self.add(
            "journal.txt",
            text.unwrap_or_else(|| format!("the journal has nothing of {unit} that this user may read\n")),
        );
    }

    /// Adds what is known of the machine.
    pub fn add_machine(&mut self, program: &str, version: &str) {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let release = read("/etc/os-release");
        let named = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
        let memory = read("/proc/meminfo").lines().next().unwrap_or_default().to_owned();
        self.add(
            "about.txt",
            format!(
                "{program} {version}\n{}\nLinux {} {}\n{memory}\n",
                named.trim_matches('"'),
                read("/proc/sys/kernel/osrelease"),
                std::env::consts::ARCH
            ),
        );
    }

    /// Writes it: whole or not at all, readable by its owner alone. What is there already stays.
    ///
    /// # Errors
    /// If there is such a file, or it cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(named)?;
        let written = self.pack(file);
        if written.is_err() {
            let _ = std::fs::remove_file(path);
        }
        written.map_err(named)
    }

    fn pack(&self, file: File) -> io::Result<()> {
        let mut tar = GzEncoder::new(file, Compression::default());
        for (name, text) in &self.files {
            let text = self.secrets.iter().fold(text.clone(), |text, secret| text.replace(secret, HIDDEN));
            tar.write_all(&header(&format!("support/{name}"), text.len()))?;
            tar.write_all(text.as_bytes())?;
            tar.write_all(&vec![0; text.len().next_multiple_of(BLOCK) - text.len()])?;
        }
        tar.write_all(&[0; 2 * BLOCK])?;
        tar.finish()?.sync_all()
    }
}

/// The head of a file in POSIX's ustar form.
fn header(name: &str, bytes: usize) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &name[..name.len().min(99)]);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{bytes:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// An address without its password, which is remembered.
fn redact_address(text: &str, secrets: &mut Vec<String>) -> String {
    // postgresql://user:password@host/database
    if let Some((scheme, rest)) = text.split_once("://") {
        let authority_end = rest.find('/').unwrap_or(rest.len());
        if let Some(at) = rest[..authority_end].rfind('@')
            && let Some(colon) = rest[..at].find(':')
        {
            secrets.push(rest[colon + 1..at].to_owned());
            return redact_words(&format!("{scheme}://{}:{HIDDEN}@{}", &rest[..colon], &rest[at + 1..]), secrets);
        }
    }
    // what was meant as an address and is none: the password may be anywhere before the host
    let is_meant = text.contains("://") || text.starts_with("postgres");
    if let Some((before, host)) = text.rsplit_once('@').filter(|_| is_meant) {
        let without_scheme = ["postgresql:", "postgres:"].iter().find_map(|scheme| before.strip_prefix(scheme));
        let without_scheme = without_scheme.or_else(|| before.split_once("://").map(|(_, rest)| rest));
        if let Some((_, password)) = without_scheme.unwrap_or(before).split_once(':') {
            secrets.push(password.to_owned());
            return redact_words(&format!("{HIDDEN}@{host}"), secrets);
        }
    }
    redact_words(text, secrets)
}

/// `password=...` in an address's query, or in words of key and value: all behind it is left out.
fn redact_words(text: &str, secrets: &mut Vec<String>) -> String {
    match text.to_lowercase().find("password") {
        None => text.to_owned(),
        Some(at) => {
            let end = at + "password".len();
            let value = text.get(end..).unwrap_or_default().trim_start_matches(['=', ' ', '\'']);
            let value = value.split(|c: char| c == '&' || c == '\'' || c.is_whitespace()).next().unwrap_or_default();
            secrets.push(value.to_owned());
            format!("{}={HIDDEN}", text.get(..end).unwrap_or_default())
        }
    }
}

/// A line of a server's log without what stands in quotation marks or behind a colon within an error.
fn without_quotations(line: &str) -> String {
    if !["ERROR:", "WARNING:", "DETAIL:", "CONTEXT:", "HINT:", "STATEMENT:", "NOTICE:"]
        .iter()
        .any(|word| line.contains(word))
    {
        return line.to_owned();
    }
    let mut shown = String::new();
    for (at, part) in line.split('"').enumerate() {
        shown.push_str(if at % 2 == 0 { part } else { "\"...\"" });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_one_that_tar_reads_and_no_secret_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("support.tar.gz");
        let mut bundle = Bundle::new();
        bundle.add_settings(
            "# the password is canary-in-comment\nbranch = \"lisbon\"\ndatabase = \"postgresql://ana:canary-url@host/shop\"\nhook = \"curl canary-hook\"\n",
            &["hook"],
        );
        bundle.keep_out("canary-known");
        bundle.add("check.txt", "cannot reach postgresql://ana:canary-url@host: canary-known\n");
        bundle.add("empty.txt", "");
        bundle.write(&path).unwrap();
        assert!(bundle.write(&path).is_err(), "what is there stays");
        let read = Command::new("tar").args(["-xzOf"]).arg(&path).output().unwrap();
        assert!(read.status.success());
        let text = String::from_utf8(read.stdout).unwrap();
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("branch = \"lisbon\"") && text.contains("ana:(hidden)@host/shop"), "{text}");
        let listed = Command::new("tar").args(["-tzf"]).arg(&path).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed, "support/configuration.toml\nsupport/check.txt\nsupport/empty.txt\n");
    }

    #[test]
    fn passwords_are_found_in_every_form_of_an_address() {
        for (text, shown) in [
            ("postgresql:///shop", "postgresql:///shop"),
            ("postgresql://ana@host/shop", "postgresql://ana@host/shop"),
            ("postgresql://ana:pw1234@host/shop", "postgresql://ana:(hidden)@host/shop"),
            (
                "postgresql://ana@host/shop?password=pw1234&sslmode=require",
                "postgresql://ana@host/shop?password=(hidden)",
            ),
            ("host=h user=ana password='pw1234' dbname=shop", "host=h user=ana password=(hidden)"),
            ("embedded:/var/lib/shop", "embedded:/var/lib/shop"),
            ("postgresql:/ana:pw1234@host/shop", "(hidden)@host/shop"),
            ("postgres//ana:pw1234@host/shop", "(hidden)@host/shop"),
        ] {
            let mut secrets = Vec::new();
            assert_eq!(redact_address(text, &mut secrets), shown);
            assert_eq!(secrets.contains(&"pw1234".to_owned()), text.contains("pw1234"), "{text}: {secrets:?}");
        }
    }

    #[test]
    fn a_password_with_a_slash_is_one_too() {
        let mut secrets = Vec::new();
        assert_eq!(redact_address("postgresql://ana:pw/12@host/shop", &mut secrets), "(hidden)@host/shop");
        assert_eq!(secrets, ["pw/12"]);
    }

    #[test]
    fn what_a_server_quotes_is_left_out() {
        let line = "2026-11-21 [7] ERROR:  invalid input syntax for type integer: \"4111 1111\"";
        assert_eq!(without_quotations(line), "2026-11-21 [7] ERROR:  invalid input syntax for type integer: \"...\"");
        let line = "2026-11-21 [7] LOG:  database system is ready to accept connections";
        assert_eq!(without_quotations(line), line);
    }
}
