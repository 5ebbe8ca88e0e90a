//! Asking a person for secrets: unseen on a terminal, line by line from standard input elsewhere. Never from arguments,
//! which everybody on the machine can read.

use std::io::{BufRead as _, IsTerminal as _, Read as _, stdin};
use std::path::Path;

use nightlatch_api::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::exit::Failure;
use crate::secrets::read_private;

/// The longest line that is read.
const MAX_LINE: u64 = 4096;

/// A secret from a file of mode 0600, or else from whoever is asked. `flag` names the file's.
pub(super) fn secret(what: &str, flag: &str, file: Option<&Path>) -> Result<Secret, Failure> {
    if let Some(path) = file {
        return Ok(Secret::from(read_private(path)?.trim_end_matches(['\r', '\n'])));
    }
    asked(what, &format!("type it, write it to standard input as a line, or give {flag} FILE"))
}

/// A code that is good for a moment, and is in no file: from whoever is asked.
pub(super) fn code(what: &str) -> Result<Secret, Failure> {
    asked(what, "type it, or write it to standard input as a line of its own")
}

fn asked(what: &str, advice: &str) -> Result<Secret, Failure> {
    let line = ask(what)?;
    if line.trim().is_empty() {
        return Err(Failure::usage(format!("no {what} was given; {advice}")));
    }
    Ok(Secret::from(line.trim_end_matches(['\r', '\n'])))
}

/// The same for a password that is to be set: a person types it twice.
pub(super) fn new_secret(what: &str, flag: &str, file: Option<&Path>) -> Result<Secret, Failure> {
    let first = secret(what, flag, file)?;
    if file.is_none() && stdin().is_terminal() {
        let again = secret(&format!("{what} once more"), flag, None)?;
        if again.expose() != first.expose() {
            return Err(Failure::usage("the two are not the same; nothing was done"));
        }
    }
    Ok(first)
}

fn ask(what: &str) -> Result<Zeroizing<String>, Failure> {
    let _hidden = stdin().is_terminal().then(|| {
        eprint!("{what}: ");
        Hidden::start()
    });
    // Room for the longest line at once: a text that grows leaves copies behind.
    let mut line = Zeroizing::new(String::with_capacity(usize::try_from(MAX_LINE).unwrap_or_default()));
    stdin().lock().take(MAX_LINE).read_line(&mut line)?;
    Ok(line)
}

/// A terminal that does not show what is typed, for as long as this lives.
struct Hidden(Option<Termios>);

impl Hidden {
    fn start() -> Self {
        let Ok(shown) = tcgetattr(stdin()) else { return Self(None) };
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // What was typed before the question is no answer to it, and stays where it is all the same.
        let is_hidden = tcsetattr(stdin(), OptionalActions::Now, &hidden).is_ok();
        Self(is_hidden.then_some(shown))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(shown) = &self.0 {
            tcsetattr(stdin(), OptionalActions::Now, shown).ok();
            eprintln!();
        }
    }
}
