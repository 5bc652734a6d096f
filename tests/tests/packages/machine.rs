//! A machine of one's own: everything of this one is there, and whatever is installed or written goes at the end.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::not_run;
use tests::process::{Finished, Process, run};

/// Mounts live in a namespace of their own, and so do processes: when the first of them ends, nothing is left.
const BOOT: &str = r#"set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
mount -t tmpfs -o mode=755 tmpfs "$1/root/dev"
mkdir -m 1777 "$1/root/dev/shm"
for file in null zero random urandom; do : >"$1/root/dev/$file"; mount --bind "/dev/$file" "$1/root/dev/$file"; done
mount -t proc proc "$1/root/proc"
mount -t tmpfs -o mode=755 tmpfs "$1/root/run"
mount -t tmpfs -o mode=1777 tmpfs "$1/root/tmp"
mkdir "$1/root/tmp/given"
mount --bind "$2" "$1/root/tmp/given"
exec chroot "$1/root" sh -c 'echo booted >&2; exec sleep 3600'"#;

/// The machine. It ends when this is dropped.
pub(crate) struct Machine {
    _init: Process,
    pid: String,
    _dir: tempfile::TempDir,
}

impl Machine {
    /// Boots one; the directory `given` is `/tmp/given` there. None where this machine does not let us.
    pub(crate) fn boot(given: &Path) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            not_run::because("packages as they are installed (needs root)");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("sync-machine-").tempdir().expect("a temporary directory");
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(["--mount", "--pid", "--fork", "--kill-child"]);
            unshare
        };
        let may_mount = run(unshare()
            .args(["sh", "-c"])
            .arg(BOOT.replace("sleep 3600", "true"))
            .arg("sh")
            .arg(dir.path())
            .arg(given));
        if !may_mount.is_success() {
            eprintln!("{}", may_mount.stderr);
            not_run::because_out_of_reach("packages as they are installed (mounting an overlay is not permitted here)");
            return None;
        }
        let mut init = Process::spawn(unshare().args(["sh", "-c", BOOT, "sh"]).arg(dir.path()).arg(given));
        init.wait_for_line("booted", |line| line == "booted");
        let children = PathBuf::from(format!("/proc/{0}/task/{0}/children", init.pid()));
        let pid = std::fs::read_to_string(children).expect("its first process").trim().to_owned();
        Some(Self { _init: init, pid, _dir: dir })
    }

    /// A command line of root's there, with nothing of this process's environment.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--mount", "--pid", "--root", "--wd", "--", "env", "-i"]);
        command.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "sh", "-c"]);
        command.arg(format!("cd /root && {line}"));
        command
    }

    pub(crate) fn sh(&self, line: &str) -> Finished {
        run(&mut self.command(line))
    }

    /// Starts what the unit of that name starts, as the user it names, and waits until it is ready.
    pub(crate) fn start(&self, unit: &str) -> Process {
        let path = self.sh(&format!("ls -d /usr/local/lib/systemd/system/{unit}.service /usr/lib/systemd/system/{unit}.service 2>/dev/null | head -n 1"));
        let text = self.sh(&format!("cat {}", path.stdout.trim())).succeeded();
        let value = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key));
            found.unwrap_or_else(|| panic!("no {key} in {unit}")).to_owned()
        };
        let (user, start) = (value("User="), value("ExecStart="));
        let state = format!("/var/lib/{}", value("StateDirectory="));
        let environment: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Environment=")).collect();
        let mut process = Process::spawn(&mut self.command(&format!(
            "install -d -m 700 -o {user} -g {user} {state} && cd / && umask 077 && \
             exec env STATE_DIRECTORY={state} {} setpriv --reuid={user} --regid={user} --init-groups --no-new-privs {start}",
            environment.join(" ")
        )));
        process.url();
        process
    }

    /// Asks every process of that name to end; not every machine has `pkill`.
    pub(crate) fn terminate(&self, name: &str) {
        let each = "for process in /proc/[0-9]*; do test \"$(cat $process/comm 2>/dev/null)\" != NAME || \
                    kill -TERM ${process#/proc/}; done";
        self.sh(&each.replace("NAME", name)).succeeded();
    }

    /// Files of the state directory that the service could not use.
    pub(crate) fn files_of_others(&self, user: &str) -> String {
        self.sh(&format!("find /var/lib/{user} ! -user {user}")).succeeded()
    }
}
