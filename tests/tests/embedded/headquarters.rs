//! An office with a private database, set up as its people would, and a shop that calls nobody.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::kit::{Plan, World};
use tests::process::{Finished, Process, binary, run};

use crate::shop::{POLICY, SCHEMA};

/// The office is what its settings say; the shop `north` is one of the kit.
pub(crate) struct Headquarters {
    pub(crate) world: World,
    database: PathBuf,
    state: PathBuf,
    config: PathBuf,
    console: Option<Process>,
}

impl Headquarters {
    /// The office's database and state in these directories; the branch is known to it, and nothing cloned.
    pub(crate) fn new(database: impl FnOnce(&Path) -> PathBuf, state: impl FnOnce(&Path) -> PathBuf) -> Self {
        let world = World::new(&Plan::of(SCHEMA, POLICY, ""));
        let dir = world.dir().to_owned();
        let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o711);
        // as root, the database runs as another user, who has to pass through
        fs::set_permissions(&dir, open).expect("opened");
        let mut office = Self {
            database: database(&dir),
            state: state(&dir),
            config: dir.join("office.toml"),
            console: None,
            world,
        };
        let mut setup = office.command(&["setup", "--yes", "--schema"]);
        setup.arg(dir.join("schema.sql")).arg("--database").arg(format!("embedded:{}", office.database.display()));
        let said = run(setup.arg("--state-dir").arg(&office.state).arg("--policy").arg(office.world.policy_file()));
        // the only thing that may be wrong is a disk that is small
        let wrong: Vec<&str> = said.stdout.lines().filter(|line| line.starts_with("WRONG")).collect();
        assert!(wrong.iter().all(|line| line.contains("less than 1.0 GiB")), "{}{}", said.stdout, said.stderr);
        assert_eq!(said.is_success(), wrong.is_empty(), "{}", said.stderr);
        let url = office.shop().url().to_owned();
        office.office(&["branch", "add", "north", "--url", &url]).succeeded();
        office.open();
        office
    }

    pub(crate) fn shop(&self) -> &tests::kit::Shop {
        self.world.shop("north")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("office-client"));
        command.env("HOME", self.world.dir()).arg("--config").arg(&self.config).args(words);
        command
    }

    pub(crate) fn office(&self, words: &[&str]) -> Finished {
        run(&mut self.command(words))
    }

    /// The console runs, as the service does, and with it the database.
    pub(crate) fn open(&mut self) {
        let mut console = Process::spawn(&mut self.command(&["console", "--listen", "127.0.0.1:0"]));
        console.url();
        self.console = Some(console);
    }

    pub(crate) fn close(&mut self) {
        let status = self.console.take().map(|mut console| console.terminate());
        assert!(status.is_some_and(|status| status.success()), "the console ended in order");
    }

    /// Another machine: settings, state and database carried over with `tar`, paths as they are there.
    pub(crate) fn carry_to(&mut self, there: &Path) {
        assert!(self.console.is_none(), "the old machine has to rest");
        for dir in [&mut self.database, &mut self.state] {
            let target = there.join(dir.file_name().expect("a name"));
            carry(dir, &target);
            let text = fs::read_to_string(&self.config).expect("settings");
            let moved = text.replace(&dir.display().to_string(), &target.display().to_string());
            fs::write(&self.config, moved).expect("written");
            *dir = target;
        }
    }

    /// What programs of the office do; the console has to run.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let psql = tests::psql::find().expect("psql");
        let mut command = Command::new(psql);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]);
        run(command.arg(&self.database).args(["main", "-c", sql])).succeeded()
    }

    pub(crate) fn count(&self, sql: &str) -> i64 {
        let said = self.sql(sql);
        said.trim().parse().unwrap_or_else(|_| panic!("{said:?} is no number"))
    }
}

/// A directory with everything in it, owners and modes too, somewhere else; what was there is put away.
pub(crate) fn carry(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    let script = "tar -C \"$1\" -cf - . | tar -C \"$2\" -xpf - && mv \"$1\" \"$1.old-machine\"";
    run(Command::new("sh").args(["-c", script, "sh"]).arg(from).arg(to)).succeeded();
}
