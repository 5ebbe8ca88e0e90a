//! Asking before something is done that cannot be undone.

use std::io::{BufRead as _, IsTerminal as _, stderr, stdin};

use clap::Args;

use super::exit::Failure;

/// Whether the person at the terminal says yes. Where there is none, nothing is asked and nothing may be done.
pub(super) fn confirmed(question: &str) -> Result<bool, Failure> {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return Err(Failure::usage("there is no terminal to ask on; give --yes to do it without asking"));
    }
    eprint!("{question}");
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Whether somebody is sure already.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Sure {
    /// Do not ask. Off a terminal nothing is done without it.
    #[arg(long)]
    yes: bool,
}

impl Sure {
    /// Asks who is not sure yet.
    ///
    /// # Errors
    /// Where they say no, or there is nobody to ask.
    pub(super) fn or_ask(self, question: &str) -> Result<(), Failure> {
        if self.yes || confirmed(&format!("{question} [y/N] "))? {
            Ok(())
        } else {
            Err(Failure::other("nothing was done"))
        }
    }
}
