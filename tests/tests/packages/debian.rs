//! The Debian packages: installed, upgraded, removed and purged in a root of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::not_run;
use tests::process::{binary, root, run};

/// A root file system that has nothing but what dpkg puts there.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sync-root-").tempdir().expect("a temporary directory");
        for path in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log", "etc"] {
            fs::create_dir_all(dir.path().join(path)).expect("a directory");
        }
        fs::write(dir.path().join("var/lib/dpkg/status"), "").expect("a file");
        Self { dir }
    }

    fn dpkg(&self, args: &[&str]) -> String {
        let mut dpkg = Command::new("dpkg");
        // the scripts run here and not in the root, which has no shell; they honour DPKG_ROOT
        dpkg.arg(format!("--root={}", self.dir.path().display()));
        dpkg.args(["--force-script-chrootless", "--force-depends", "--force-confold"]).args(args);
        run(&mut dpkg).succeeded()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }
}

/// Both packages under this version number.
pub(crate) fn packages(version: &str, dir: &Path) -> [PathBuf; 2] {
    let programs = ["shop-agent", "office-client"].map(binary);
    let from = programs[0].parent().expect("a directory");
    let mut build = Command::new(root().join("packaging/build-deb"));
    build.arg("--from").arg(from).arg(dir).env("SYNC_PACKAGE_VERSION", version).env("SYNC_DEB_COMPRESSION", "none");
    let said = run(&mut build).succeeded();
    let paths: Vec<PathBuf> = said.lines().map(PathBuf::from).collect();
    paths.try_into().unwrap_or_else(|paths| panic!("two packages, not {paths:?}"))
}

#[test]
fn packages_install_upgrade_and_go_without_touching_settings_or_the_shops_data() {
    // SAFETY of the machine: everything happens below a temporary directory
    if !nix::unistd::geteuid().is_root() {
        not_run::because("packages (dpkg needs root)");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let machine = Machine::new();
    let install = |version: &str| {
        for package in packages(version, dir.path()) {
            machine.dpkg(&["--install", package.to_str().expect("UTF-8")]);
        }
    };
    install("0.1.0");
    for program in ["shop-agent", "office-client"] {
        let version = run(Command::new(machine.at("usr/bin").join(program)).arg("--version")).succeeded();
        assert!(version.starts_with(program), "{version}");
        for path in
            [format!("usr/share/man/man1/{program}.1.gz"), format!("usr/share/bash-completion/completions/{program}")]
        {
            assert!(fs::metadata(machine.at(&path)).is_ok_and(|file| file.len() > 100), "{path}");
        }
    }
    for program in ["shop-agent", "office-client"] {
        let users = fs::read_to_string(machine.at("etc/passwd")).expect("users");
        assert!(users.contains(&format!("{program}:")), "{program} has a user of its own");
        let unit = machine.at("usr/lib/systemd/system").join(format!("{program}.service"));
        assert!(fs::read_to_string(&unit).is_ok_and(|unit| unit.contains(&format!("/usr/bin/{program} "))), "{unit:?}");
    }

    // what an administrator and the shop put there
    let settings = machine.at("etc/shop-agent/shop-agent.toml");
    fs::write(&settings, "branch = \"lisbon\"\n").expect("written");
    let data = machine.at("var/lib/shop-agent/database/data");
    fs::create_dir_all(&data).expect("a directory");
    fs::write(data.join("PG_VERSION"), "15\n").expect("written");
    let of_the_office = machine.at("var/lib/office-client/database/data/PG_VERSION");
    fs::create_dir_all(of_the_office.parent().expect("a directory")).expect("a directory");
    fs::write(&of_the_office, "15\n").expect("written");

    install("0.2.0");
    let listed = machine.dpkg(&["--list"]);
    assert!(listed.contains("0.2.0") && !listed.contains("0.1.0"), "{listed}");
    let kept = || fs::read_to_string(&settings).ok();
    assert_eq!(kept().as_deref(), Some("branch = \"lisbon\"\n"), "an upgrade leaves the settings alone");

    machine.dpkg(&["--remove", "shop-agent", "office-client"]);
    assert!(!machine.at("usr/bin/shop-agent").exists());
    assert!(kept().is_some(), "so does a removal");
    machine.dpkg(&["--purge", "shop-agent", "office-client"]);
    assert!(kept().is_none(), "a purge does not");
    assert!(data.join("PG_VERSION").exists(), "but no package ever removes the shop's data");
    assert!(of_the_office.exists(), "nor the office's");
}
