//! `shop-agent`: the service at each shop. Listens for XML-RPC calls of the office and carries them out on the shop's
//! database.

mod backend;
mod cli;
mod commands;
mod config;
mod control;
mod exit;
mod health;
mod limits;
mod logging;
mod memory;
mod metrics;
mod reload;
mod rpc;
mod server;
mod service;
mod session;
mod settings;
mod systemd;

use std::process::ExitCode;

use installation::said;

fn main() -> ExitCode {
    memory::bound_allocator();
    let cli = cli::Cli::read();
    match commands::carry_out(cli) {
        Ok(_) if said::is_lost() => ExitCode::from(exit::FAILED),
        Ok(code) => code,
        Err(error) => {
            said::talk(format_args!("shop-agent: {}", rpc::chain(error.as_ref())));
            ExitCode::from(exit::code_of(&error))
        }
    }
}
