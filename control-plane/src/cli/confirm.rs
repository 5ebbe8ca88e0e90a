//! Asking before something is done that cannot be undone.

use std::io::{BufRead as _, IsTerminal as _, stderr, stdin};

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
