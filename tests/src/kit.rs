//! An office, shops, and their agents, ready to synchronise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixtures::generate::{Size, office_data};
use tempfile::TempDir;

use crate::cluster::{self, Cluster};
use crate::compare;
use crate::database::Database;
use crate::process::{self, Finished, Process, binary};

/// What a [`World`] is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Names of the branches; the first has id 1 and so on, as in the fixtures' data.
    pub branches: Vec<String>,
    /// SQL of the application's schema, of the office now and of the shops when they are cleaned.
    pub schema: String,
    /// Policy file.
    pub policy: String,
    /// Data of the office at the start: a script as `pg_dump` writes it.
    pub data: String,
    /// Whether the shops have the schema from the start; without it `clean` has to make it.
    pub shops_have_schema: bool,
    /// What is in the shops' tables before the product sees them, as a script; only for shops that have the schema.
    pub shop_data: String,
}

impl Default for Plan {
    /// The retail fixtures with the data of a corner shop and the branches `north` and `south`.
    fn default() -> Self {
        let mut data = Vec::new();
        office_data(Size::corner_shop(), 1, &mut data).expect("writing to memory");
        Self {
            branches: vec!["north".into(), "south".into()],
            schema: fixtures::SCHEMA.into(),
            policy: fixtures::POLICY.into(),
            data: String::from_utf8(data).expect("the fixtures are UTF-8"),
            shops_have_schema: true,
            shop_data: String::new(),
        }
    }
}

impl Plan {
    /// The retail fixtures with these branches.
    pub fn with_branches(branches: &[&str]) -> Self {
        Self { branches: branches.iter().map(|name| (*name).to_owned()).collect(), ..Self::default() }
    }

    /// A schema, a policy and data of one's own, with one branch, `north`. Small, for what the retail schema has not.
    pub fn of(schema: &str, policy: &str, data: &str) -> Self {
        Self {
            branches: vec!["north".into()],
            schema: schema.into(),
            policy: policy.into(),
            data: data.into(),
            shops_have_schema: true,
            shop_data: String::new(),
        }
    }
}

/// An office and its shops, with running agents. Everything ends and goes when it is dropped.
#[derive(Debug)]
pub struct World {
    /// The office's database.
    pub office: Database,
    /// The shops, in the order of the plan.
    pub shops: Vec<Shop>,
    files: Files,
}

/// One shop.
#[derive(Debug)]
pub struct Shop {
    /// Name of the branch.
    pub name: String,
    /// Id of the branch.
    pub id: u32,
    /// The shop's database.
    pub database: Database,
    agent: Option<Process>,
    url: String,
    files: Files,
    state_dir: PathBuf,
}

/// A world at rest. Copying it, databases and state directories, takes a small part of a second.
#[derive(Debug)]
pub struct Resting {
    world: World,
}

impl Resting {
    /// A copy with databases of its own in these clusters, which must be those of the original. No agent runs yet.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn copy(&self, office: &Cluster, shops: &Cluster) -> World {
        let from = &self.world;
        let dir = tempfile::Builder::new().prefix("sync-world-").tempdir().expect("a temporary directory");
        copy_files(from.files.dir.path(), dir.path());
        let files = Files { dir: std::sync::Arc::new(dir) };
        let copies = from.shops.iter().map(|shop| {
            let database = as_the_original(shops.copy_of(&shop.name, &shop.database));
            Shop::new(&shop.name, shop.id, database, &files)
        });
        World { shops: copies.collect(), office: as_the_original(office.copy_of("office", &from.office)), files }
    }
}

/// A copied database is noticed by its object id; these copies stand for the original.
fn as_the_original(copy: Database) -> Database {
    copy.execute(
        "update sync.incarnation set database_oid = (select oid from pg_database where datname = current_database())",
    );
    copy
}

/// Directories and files; sockets of programs that have ended are left out.
fn copy_files(from: &Path, to: &Path) {
    let copy = || -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        fs::set_permissions(to, fs::metadata(from)?.permissions())?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                copy_files(&entry.path(), &to.join(entry.file_name()));
            } else if kind.is_file() {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    };
    copy().unwrap_or_else(|error| panic!("copying {}: {error}", from.display()));
}

/// Where policy, schema and state lie.
#[derive(Debug, Clone)]
struct Files {
    dir: std::sync::Arc<TempDir>,
}

impl Files {
    fn new(plan: &Plan) -> Self {
        let dir = tempfile::Builder::new().prefix("sync-world-").tempdir().expect("a temporary directory");
        let files = Self { dir: std::sync::Arc::new(dir) };
        for (path, text) in [(files.policy(), &plan.policy), (files.schema(), &plan.schema)] {
            fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn policy(&self) -> PathBuf {
        self.at("policy.toml")
    }

    fn schema(&self) -> PathBuf {
        self.at("schema.sql")
    }
}

impl World {
    /// Databases in the cluster that all tests of this process share, loaded, and agents running; nothing is known to the
    /// office yet, see [`World::enrol`].
    ///
    /// # Panics
    /// If anything of it does not start.
    pub fn new(plan: &Plan) -> Self {
        Self::in_cluster(cluster::shared(), plan)
    }

    /// The same in a cluster of one's own, which may be killed.
    ///
    /// # Panics
    /// If anything of it does not start.
    pub fn in_cluster(cluster: &Cluster, plan: &Plan) -> Self {
        Self::in_clusters(cluster, cluster, plan)
    }

    /// The same with the office's database in one cluster and those of the shops in another: either can be killed alone.
    ///
    /// # Panics
    /// If anything of it does not start.
    pub fn in_clusters(office: &Cluster, shops: &Cluster, plan: &Plan) -> Self {
        let files = Files::new(plan);
        let office = office.database("office");
        office.load(&plan.schema);
        office.load(&plan.data);
        let shops = plan.branches.iter().zip(1..).map(|(name, id)| {
            let database = shops.database(name);
            if plan.shops_have_schema {
                database.load(&plan.schema);
                database.load(&plan.shop_data);
            }
            let mut shop = Shop::new(name, id, database, &files);
            shop.start();
            shop
        });
        Self { shops: shops.collect(), office, files }
    }

    /// Ends all agents in an orderly way and lets the world rest, so that copies of it can be made.
    ///
    /// # Panics
    /// If an agent does not end well.
    pub fn rest(mut self) -> Resting {
        self.shops.iter_mut().for_each(Shop::stop_agent);
        Resting { world: self }
    }

    /// The world most tests want: the retail fixtures, agents running, branches known to the office, nothing cloned yet.
    ///
    /// # Panics
    /// If anything of it does not work.
    pub fn retail(branches: &[&str]) -> Self {
        let world = Self::new(&Plan::with_branches(branches));
        world.enrol();
        world
    }

    /// Prepares the office's database and tells it of all branches.
    ///
    /// # Panics
    /// If a command fails.
    pub fn enrol(&self) {
        self.office(&["init"]).succeeded();
        for shop in &self.shops {
            self.office(&["branch", "add", &shop.name, "--url", shop.url(), "--id", &shop.id.to_string()]).succeeded();
        }
    }

    /// One more shop, running and known to the office.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn open_shop(&mut self, shops: &Cluster, plan: &Plan, name: &str) {
        let id = self.shops.iter().map(|shop| shop.id).max().unwrap_or_default() + 1;
        let database = shops.database(name);
        database.load(&plan.schema);
        let mut shop = Shop::new(name, id, database, &self.files);
        shop.start();
        self.office(&["branch", "add", name, "--url", shop.url()]).succeeded();
        self.shops.push(shop);
    }

    /// A shop burns down: its agent, database and state directory are gone. Another machine of the same name takes its
    /// place, with empty tables and the address of before.
    ///
    /// # Panics
    /// If there is none of that name, or the new one does not come up.
    pub fn replace_shop(&mut self, shops: &Cluster, schema: &str, name: &str) {
        let shop = self.shop_mut(name);
        shop.kill_agent();
        shops.remove_database(&shop.database);
        fs::remove_dir_all(&shop.state_dir).expect("the state directory goes");
        shop.database = shops.database(name);
        shop.database.load(schema);
        shop.start();
    }

    /// Ends a shop, its agent and its database. The office still knows it.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn close_shop(&mut self, shops: &Cluster, name: &str) {
        let at = self.shops.iter().position(|shop| shop.name == name).unwrap_or_else(|| panic!("no shop {name}"));
        let mut shop = self.shops.remove(at);
        shop.kill_agent();
        shops.remove_database(&shop.database);
    }

    /// Clones every shop.
    ///
    /// # Panics
    /// If a clone fails.
    pub fn clone_all(&self) {
        for shop in &self.shops {
            self.office(&["clone", &shop.name]).succeeded();
        }
    }

    /// Runs `office-client` to its end with these arguments, database, state directory and policy being given.
    pub fn office(&self, args: &[&str]) -> Finished {
        process::run(&mut self.office_command(args))
    }

    /// Starts `office-client`, to be watched or killed while it works.
    pub fn start_office(&self, args: &[&str]) -> Process {
        Process::spawn(&mut self.office_command(args))
    }

    /// The same not yet started, for a test that adds to it.
    pub fn office_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("office-client"));
        quiet(&mut command, self.files.dir.path());
        command
            .args(["--database", self.office.url(), "--state-dir"])
            .arg(self.office_state_dir())
            .arg("--policy")
            .arg(self.policy_file())
            .args(args);
        command
    }

    /// A shop by its name.
    ///
    /// # Panics
    /// If there is none.
    pub fn shop(&self, name: &str) -> &Shop {
        self.shops.iter().find(|shop| shop.name == name).unwrap_or_else(|| panic!("no shop {name}"))
    }

    /// The same, to start and stop its agent.
    ///
    /// # Panics
    /// If there is none.
    pub fn shop_mut(&mut self, name: &str) -> &mut Shop {
        self.shops.iter_mut().find(|shop| shop.name == name).unwrap_or_else(|| panic!("no shop {name}"))
    }

    /// Asserts that these tables hold the same rows at the office and at every shop.
    ///
    /// # Panics
    /// If they do not, with the differences.
    pub fn assert_agree(&self, tables: &[&str]) {
        for shop in &self.shops {
            compare::assert_equal(("office", &self.office), (&shop.name, &shop.database), tables);
        }
    }

    /// State directory of the office.
    pub fn office_state_dir(&self) -> PathBuf {
        self.files.at("office-state")
    }

    /// The policy file, which a test may rewrite.
    pub fn policy_file(&self) -> PathBuf {
        self.files.policy()
    }

    /// A directory for files of the test itself.
    pub fn dir(&self) -> &Path {
        self.files.dir.path()
    }
}

impl Shop {
    fn new(name: &str, id: u32, database: Database, files: &Files) -> Self {
        Self {
            name: name.to_owned(),
            id,
            database,
            agent: None,
            url: String::new(),
            files: files.clone(),
            state_dir: files.at(&format!("{name}-state")),
        }
    }

    /// URL of the agent. It stays the same when the agent is started again.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// State directory of the agent.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The running agent.
    ///
    /// # Panics
    /// If it does not run.
    pub fn agent(&mut self) -> &mut Process {
        self.agent.as_mut().unwrap_or_else(|| panic!("the agent of {} was stopped", self.name))
    }

    /// Starts the agent, and waits until it is ready.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with further arguments.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_with(&mut self, args: &[&str]) {
        self.start_in(args, &[]);
    }

    /// The same with further environment variables.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_in(&mut self, args: &[&str], environment: &[(&str, &str)]) {
        self.launch(&[&["--no-auth"], args].concat(), environment);
    }

    /// Starts an agent that lets nobody in without a credential, see [`Shop::add_user`].
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_guarded(&mut self, args: &[&str]) {
        self.launch(args, &[]);
    }

    /// Adds a credential, and gives the file with its password, for `--password-file`.
    ///
    /// # Panics
    /// If it cannot be added.
    pub fn add_user(&self, name: &str, office: &str, password: &str) -> PathBuf {
        let file = self.files.at(&format!("{}-{name}-password", self.name));
        crate::canary::protect(password);
        // never, not even for a moment, for others to read
        let _ = fs::remove_file(&file);
        let mut options = fs::File::options();
        let made = std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600).open(&file);
        made.and_then(|mut made| std::io::Write::write_all(&mut made, password.as_bytes()))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut command = Command::new(binary("shop-agent"));
        quiet(&mut command, self.files.dir.path());
        command.args(["user", "add", name, "--office", office, "--state-dir"]).arg(&self.state_dir);
        process::run(command.arg("--password-file").arg(&file)).succeeded();
        file
    }

    fn launch(&mut self, args: &[&str], environment: &[(&str, &str)]) {
        let listen = self.url.split_once("://").map_or("127.0.0.1:0", |(_, address)| address).to_owned();
        let mut command = self.command("run");
        command.args(["--listen", &listen]).args(args).envs(environment.iter().copied());
        let mut agent = Process::spawn(&mut command);
        self.url = agent.url();
        self.agent = Some(agent);
    }

    /// Runs `shop-agent` to its end with this subcommand on the shop's database and state, for instance `status`.
    pub fn run(&self, subcommand: &str, args: &[&str]) -> Finished {
        process::run(self.command(subcommand).args(args))
    }

    /// Ends the agent at once, as a power failure would.
    pub fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill();
        }
    }

    /// Asks the agent to end, and waits until it has.
    ///
    /// # Panics
    /// If it ends with anything but success.
    pub fn stop_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let status = agent.terminate();
            assert!(status.success(), "the agent of {} ended with {status}\n{}", self.name, agent.stderr());
        }
    }

    /// The same shop on another machine: a copy of its state directory, and this copy of its database. No agent runs yet.
    ///
    /// # Panics
    /// If the directory cannot be copied.
    pub fn copied(&self, database: Database) -> Self {
        let mut copy = Self::new(&self.name, self.id, database, &self.files);
        copy.state_dir = self.files.at(&format!("{}-state", copy.database.name()));
        copy_files(&self.state_dir, &copy.state_dir);
        copy
    }

    /// `shop-agent` with this subcommand on the shop's database and state, not yet started.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(binary("shop-agent"));
        quiet(&mut command, self.files.dir.path());
        command
            .args([subcommand, "--branch", &self.name, "--database", self.database.url(), "--state-dir"])
            .arg(&self.state_dir)
            .arg("--policy")
            .arg(self.files.policy())
            .arg("--schema")
            .arg(self.files.schema());
        command
    }
}

/// Keeps settings of the machine away from a program: its own variables, configuration files of the user.
fn quiet(command: &mut Command, home: &Path) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["SHOP_AGENT_", "OFFICE_CLIENT_", "PG"].iter().any(|prefix| text.starts_with(prefix)) && text != "PG_BINDIR"
        {
            command.env_remove(&name);
        }
    }
    command.env("HOME", home).env("XDG_CONFIG_HOME", home.join("config"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixtures_can_be_loaded() {
        let plan = Plan::default();
        let database = cluster::shared().database("harness");
        database.load(&plan.schema);
        database.load(&plan.data);
        assert_eq!(database.int("select count(*) from branch"), 3);
    }
}
