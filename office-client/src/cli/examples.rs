//! Examples, which come first in every help: most people who ask for it want to see one.

pub(super) const SETUP: &str = "\
Examples:
  office-client setup                              asks
  office-client setup --schema retail.sql --policy retail.toml --yes
  office-client setup --listen 0.0.0.0:8900 --tls-self-signed --console-user ana --generate-password
";
pub(super) const BACKUP: &str = "\
Examples:
  office-client backup /backups/office-monday.tar.gz
";
pub(super) const RESTORE: &str = "\
Examples:
  office-client restore /backups/office-monday.tar.gz --force
  office-client verify --all --repair
";
pub(super) const CHECK: &str = "\
Examples:
  office-client check                              everything
  office-client check shop-17                      and the link to this branch alone
  office-client check --bundle support.tar.gz      for whoever is asked for help; without secrets and rows
";
pub(super) const INIT: &str = "\
Examples:
  office-client init
  office-client --database postgresql://office@localhost/retail init
";
pub(super) const BRANCH: &str = "\
Examples:
  office-client branch add shop-17 --url http://10.0.17.2:9000
  office-client branch set shop-17 --window 22:00-06:00 --schedule 'at 22:30 jitter 15m'
  office-client branch pause shop-17
";
pub(super) const CLONE: &str = "\
Examples:
  office-client clone shop-17 --dry-run            what would be sent
  office-client clone shop-17
  office-client clone shop-17 --export shop-17.clone
";
pub(super) const ADOPT: &str = "\
Examples:
  office-client adopt shop-17                      nothing happens unless all rows agree
  office-client adopt shop-17 --repair             rows that differ travel by the direction of their table
";
pub(super) const UPDATE: &str = "\
Examples:
  office-client update shop-17
  office-client update --all --jobs 8
  office-client update --all --watch=5m             again every five minutes, until Ctrl-C
  office-client update shop-17 --dry-run           what would move
";
pub(super) const AFTER_RESTORE: &str = "\
Examples:
  office-client after-restore
  office-client update --all
";
pub(super) const AFTER_UPGRADE: &str = "\
Examples:
  office-client after-upgrade
";
pub(super) const IMPORT: &str = "\
Examples:
  office-client import shop-17.changes
";
pub(super) const STATUS: &str = "\
Examples:
  office-client status
  office-client status shop-17 --json
";
pub(super) const HISTORY: &str = "\
Examples:
  office-client history
  office-client history shop-17 -n 5
";
pub(super) const VERIFY: &str = "\
Examples:
  office-client verify shop-17
  office-client verify shop-17 --repair
";
pub(super) const CONFLICTS: &str = "\
Examples:
  office-client conflicts                          the open ones
  office-client conflicts list --all --branch shop-17
  office-client conflicts show 12
  office-client conflicts resolve 12 --take shop
  office-client conflicts resolve 12 --take '+351 21 000 0000'
  office-client conflicts resolve 12 --value shop  the word itself
";
pub(super) const POLICY: &str = "\
Examples:
  office-client policy show shop                   what flows where
  office-client policy import retail.toml
  office-client policy check retail.toml
";
pub(super) const COMPLETIONS: &str = "\
Examples:
  office-client completions bash > /etc/bash_completion.d/office-client
";
pub(super) const MAN: &str = "\
Examples:
  office-client man | man -l -
";
pub(super) const QUARANTINE: &str = "\
Examples:
  office-client quarantine                         what waits
  office-client quarantine list --branch shop-17
  office-client quarantine show 12
  office-client quarantine retry 12                after the cause was mended
  office-client quarantine drop 12 --yes
";
pub(super) const CALL: &str = "\
Examples:
  office-client call http://127.0.0.1:9000 system.listMethods
  office-client call http://127.0.0.1:9000 diff i:0
";
pub(super) const CONFORMANCE: &str = "\
Examples:
  office-client conformance http://127.0.0.1:9000
  office-client conformance https://10.0.17.2:9000 --json
";
pub(super) const CONSOLE: &str = "\
Examples:
  office-client console                                    on this machine: http://127.0.0.1:8900
  office-client console --listen 127.0.0.1:0               on a port that is free
  office-client console user add ana --role decide         asks for the password
  office-client console --listen 10.0.0.5:8900 --tls-self-signed
";
