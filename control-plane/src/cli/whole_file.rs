//! Files that are written whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Failure;
use super::output;

/// As many links as Linux follows.
const LINKS: usize = 40;

/// Writes a file, mode 0600, that has its name once it is whole; what had the name stays until then. Devices, pipes and
/// what else is no file to replace are written as they are.
pub(super) async fn write<T>(
    path: &Path,
    fill: impl AsyncFnOnce(&mut dyn Write) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Some(target) = replaceable(path).map_err(|error| about(path, error))? else {
        let opened = OpenOptions::new().append(true).open(path);
        return fill(&mut opened.map_err(|error| about(path, error))?).await;
    };
    let mut file = begin(&target)?;
    let filled = tokio::select! {
        filled = fill(&mut file) => filled?,
        // Whoever is interrupted takes what it has begun away: the file is gone with its value.
        stopped = interrupted() => {
            stopped?;
            return Err(Failure::other("interrupted: nothing was written").about(&path.display().to_string()));
        }
    };
    finish(file, &target)?;
    Ok(filled)
}

/// Says what came of a file. Of none that cannot be replaced: it may be standard output itself.
pub(super) fn tell(path: &Path, text: &str) -> Result<(), Failure> {
    match replaceable(path) {
        Ok(Some(_)) => output::line(text),
        _ => Ok(()),
    }
}

/// A file in the making, mode 0600, beside the one it becomes: half of it never has its name.
pub(super) fn begin(path: &Path) -> Result<NamedTempFile, Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    NamedTempFile::new_in(directory.unwrap_or_else(|| ".".as_ref())).map_err(|error| about(path, error))
}

/// Gives the file its name, in place of what has it.
fn finish(file: NamedTempFile, path: &Path) -> Result<(), Failure> {
    file.as_file().sync_all().map_err(|error| about(path, error))?;
    file.persist(path).map(drop).map_err(|error| about(path, error.error))
}

/// The same where nothing may have the name: what is there stays, and the file keeps the name it has.
pub(super) fn finish_new(file: NamedTempFile, path: &Path) -> Result<(), Failure> {
    file.as_file().sync_all().map_err(|error| about(path, error))?;
    let Err(failed) = file.persist_noclobber(path) else { return Ok(()) };
    let why = about(path, failed.error);
    match failed.file.keep() {
        Ok((_, kept)) => Err(why.but(&format!("what was to be there is in {}", kept.display()))),
        Err(_) => Err(why),
    }
}

/// A failure with the file's name.
pub(super) fn about(path: &Path, error: io::Error) -> Failure {
    Failure::from(error).about(&path.display().to_string())
}

/// Where a file is made anew that is asked for by this name: where links lead. `None` where something is written that
/// cannot be replaced.
fn replaceable(path: &Path) -> io::Result<Option<PathBuf>> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Ok(None);
    }
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        // What a shell has opened is its own, whatever name it has besides.
        if ["/dev/fd", "/dev/stdout", "/dev/stderr", "/proc"].iter().any(|opened| target.starts_with(opened)) {
            return Ok(None);
        }
        match fs::read_link(&target) {
            Ok(next) => target = target.parent().unwrap_or_else(|| "".as_ref()).join(next),
            Err(_) => return Ok(Some(target)),
        }
    }
    Err(io::Error::other("too many links"))
}

/// Waits for somebody to interrupt or end the program. A hang-up ends it as ever, or not at all under `nohup`.
async fn interrupted() -> io::Result<()> {
    let (mut interrupt, mut end) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = end.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_finds_its_name_taken_is_kept_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let mut file = begin(&path).unwrap();
        file.write_all(b"secret").unwrap();
        fs::write(&path, "somebody else's").unwrap();
        let told = finish_new(file, &path).unwrap_err().to_string();
        let kept = told.rsplit_once(" is in ").unwrap().1;
        assert_eq!(fs::read_to_string(kept).unwrap(), "secret");
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody else's");
    }
}
