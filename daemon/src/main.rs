//! The refwatch daemon and command line.

mod app;
mod barrier;
mod cli;
mod client;
mod config;
mod directory;
mod engine;
mod filter;
mod grpc;
mod log;
mod pass;
mod problems;
mod releases;
mod service;
mod settings;
mod status;
mod subscriptions;
mod wire;

fn main() -> std::process::ExitCode {
    cli::main()
}
