//! Comparisons of speed. Each measures ours and its baseline in the same run, interleaved, and states the ratio: an
//! absolute figure says more about the machine than about us. See docs/PERFORMANCE.md.

mod apply;
mod calls;
mod capture;
mod clone;
mod codec;
mod lag;
mod measure;
mod memory;
mod processor;
mod python;
mod reader;
mod shops;
mod table;
mod update;
mod wire;
mod world;
mod xmlrpc_c;

use clap::Parser;

use measure::{Comparison, Settings};

/// A group of comparisons: its name on the command line, what it compares, and the work.
struct Group {
    name: &'static str,
    about: &'static str,
    run: fn(&Settings) -> Vec<Comparison>,
}

const GROUPS: &[Group] = &[
    Group {
        name: "codec",
        about: "XML-RPC documents against other libraries and the bare base64 codec",
        run: codec::run,
    },
    Group { name: "reader", about: "the strict SQL reader against sqlparser", run: reader::run },
    Group { name: "calls", about: "XML-RPC calls per second against a bare hyper handler", run: calls::run },
    Group { name: "wire", about: "bytes on the wire against the bare gzip payload", run: wire::run },
    Group { name: "apply", about: "changed rows as SQL text against COPY of the same rows", run: apply::run },
    Group { name: "update", about: "diffs, and whole updates with nothing to do", run: update::run },
    Group { name: "capture", about: "what shops pay for capture: pgbench, bulk statements", run: capture::run },
    Group { name: "lag", about: "a whole update against built-in logical replication", run: lag::run },
    Group { name: "shops", about: "500 shops updated by one office process", run: shops::run },
    Group { name: "clone", about: "a whole clone against pg_dump and psql", run: clone::run },
    Group { name: "memory", about: "peak memory of a clone, by its size", run: memory::run },
];

/// Measures what users wait for, beside what they would pick instead.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    /// What to measure; everything when nothing is named
    names: Vec<String>,
    /// Rounds of each comparison, ours and the baseline in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A tenth of the data: whether it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// How much the group `memory` clones, as 10GB or 500MB, instead of 100 MB and 1 GB, and `clone` instead of 300 MB; it
    /// needs about four times as much of the disk
    #[arg(long, value_parser = memory::parse_size)]
    size: Option<u64>,
    /// One JSON object per comparison
    #[arg(long)]
    json: bool,
}

fn main() -> std::process::ExitCode {
    // what has to be a process of its own is this program again
    match std::env::args().nth(1).as_deref() {
        Some(calls::BARE) => {
            calls::serve_bare();
            return std::process::ExitCode::SUCCESS;
        }
        Some(shops::SERVE) => {
            shops::serve();
            return std::process::ExitCode::SUCCESS;
        }
        _ => {}
    }
    let cli = Cli::parse();
    if let Some(unknown) = cli.names.iter().find(|name| GROUPS.iter().all(|group| group.name != **name)) {
        eprintln!("bench: there is no {unknown:?}; there are:");
        for group in GROUPS {
            eprintln!("  {:<8} {}", group.name, group.about);
        }
        return std::process::ExitCode::from(2);
    }
    let settings = Settings { rounds: cli.rounds.max(1), share: if cli.quick { 10 } else { 1 }, size: cli.size };
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for group in GROUPS.iter().filter(|group| cli.names.is_empty() || cli.names.iter().any(|name| name == group.name)) {
        eprintln!("== {}: {}", group.name, group.about);
        // what went wrong has been said; an hour of other measurements is not lost for it
        match std::panic::catch_unwind(|| (group.run)(&settings)) {
            Ok(comparisons) => all.extend(comparisons),
            Err(_) => failed.push(group.name),
        }
    }
    if cli.json {
        table::print_json(&all)
    } else {
        table::print(&all)
    }
    if failed.is_empty() {
        return std::process::ExitCode::SUCCESS;
    }
    eprintln!("bench: failed: {}", failed.join(", "));
    std::process::ExitCode::FAILURE
}
