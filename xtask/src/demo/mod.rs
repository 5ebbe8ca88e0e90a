//! `cargo xtask demo`: the whole product on this machine, and a walk through what it is for.

mod keys_file;
mod stack;
mod traffic;
mod walk;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use crate::node_tools::{ensure_installed, repository_root};
use crate::tools::ensure_wasm_target;
use crate::worker_build;
use stack::Stack;

/// Options of the demo.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// End after the walk, with an error if any step of it failed
    #[arg(long)]
    once: bool,
    /// How many keys to import before the walk
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    keys: u32,
}

/// Builds and starts everything, walks, and stays up.
///
/// # Errors
/// When something cannot be built or started, or, with `--once`, when a step of the walk fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = repository_root();
    say("Building the control plane and the Worker (the first time takes some minutes)");
    ensure_wasm_target()?;
    ensure_installed(&root)?;
    worker_build::run(&worker_build::Args { check_size: false })?;
    nightlatch_tests::program::nightlatch_program().context("building the control plane")?;

    Runtime::new()?.block_on(async {
        let stack = Stack::start(&root, args.keys).await?;
        let walked = tokio::select! {
            walked = walk::walk(&stack) => walked,
            () = interrupted() => return stack.stop().await,
        };
        if args.once {
            stack.stop().await?;
            return walked;
        }
        if let Err(error) = &walked {
            eprintln!("\nThe walk failed: {error:#}\nThe stack stays up so that you can look at it.");
        }
        stack.describe();
        interrupted().await;
        stack.stop().await
    })
}

/// The machine's clock: a demonstration is a shell and may ask for it.
#[expect(clippy::disallowed_methods, reason = "a demonstration is a shell")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A heading of the narration.
fn say(text: &str) {
    println!("\n▌ {text}");
}

/// A line of the narration.
fn tell(text: &str) {
    println!("    {text}");
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the signal ends the program by itself.
        std::future::pending::<()>().await;
    }
}
