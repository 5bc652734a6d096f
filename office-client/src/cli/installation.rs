//! `setup`, `check`, `backup`, `restore`: what an installation needs beyond its work.

use std::path::PathBuf;

use clap::Args;

/// `setup`
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// SQL file that creates the application's tables, where the database has none
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
    /// Where the web console listens [default: 127.0.0.1:8900]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// The console's certificate and the chain above it, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key, PEM, readable by its owner only
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A certificate of the console's own, made now
    #[arg(long, conflicts_with = "tls_cert")]
    pub(crate) tls_self_signed: bool,
    /// Plain HTTP beyond this machine: passwords can be read on the way
    #[arg(long)]
    pub(crate) insecure_http: bool,
    /// Somebody who may log in at the console, with the role `decide`; needed where it listens beyond this machine
    #[arg(long, value_name = "NAME")]
    pub(crate) console_user: Option<String>,
    /// File with their password, readable by its owner only
    #[arg(long, value_name = "FILE", conflicts_with = "generate_password", requires = "console_user")]
    pub(crate) password_file: Option<PathBuf>,
    /// Make a password for them, and show it once
    #[arg(long, requires = "console_user")]
    pub(crate) generate_password: bool,
    /// Ask nothing: what no flag says has its default
    #[arg(long)]
    pub(crate) yes: bool,
    /// Replace a configuration that is there; it is kept under a name that ends with .old
    #[arg(long)]
    pub(crate) force: bool,
}

/// `backup`
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write: a gzipped tar
    pub(crate) file: PathBuf,
}

/// `restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A file of `office-client backup`
    pub(crate) file: PathBuf,
    /// Even where there is a database: it is put aside, and kept
    #[arg(long)]
    pub(crate) force: bool,
}

/// `check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Names of branches whose links are tried [default: all]
    pub(crate) names: Vec<String>,
    /// Try no link
    #[arg(long, conflicts_with = "names")]
    pub(crate) offline: bool,
    /// Also write an archive (tar.gz) for whoever is asked for help: versions, settings, these lines, branches, runs, logs;
    /// no secrets and no values of rows
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
}
