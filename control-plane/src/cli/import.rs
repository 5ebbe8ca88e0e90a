//! `nightlatch keys import`: a file of any size, in requests the server takes.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write as _, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nightlatch_api::client::{Client, ClientError};
use nightlatch_api::{ImportOptions, ImportReport, LineError};
use serde::Serialize;

use super::exit::{Failure, Kind};
use super::output;

/// Most lines of one request.
const MAX_LINES: usize = 10_000;
/// Most bytes of one request; the server takes 8 MiB.
const MAX_BYTES: usize = 7 << 20;
/// The longest line that is sent at all.
const MAX_LINE: usize = 64 << 10;
/// How many bad lines are shown.
const SHOWN: u64 = 50;
/// How often a request is tried that the server could not answer.
const TRIES: u32 = 6;

const EXAMPLES: &str = r#"A file has one key a line, by digest (SHA-256) or by text:
  {"digest":"9f86…","name":"acme 17","environment":"live","scopes":["invoices:read"],"entropy_bits":160}
  {"key":"old-system-key","name":"acme 18","environment":"live","rotate_by":"2026-06-30T00:00:00Z"}
Keys of less than 128 declared bits of entropy are weak and need rotate_by.

  nightlatch keys import keys.ndjson --dry-run
  nightlatch keys import keys.ndjson --strict

Keys that are there already are left as they are, so repeating an import that broke off resumes it."#;

/// Import keys that were minted elsewhere, from a file of JSON lines.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Import {
    /// The file; - reads standard input.
    file: PathBuf,
    /// Check the whole file first, and with one bad line import nothing.
    #[arg(long)]
    strict: bool,
    /// Say that sensitive scopes are meant.
    #[arg(long)]
    acknowledge_sensitive: bool,
    /// Check every line and import nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write every bad line's number, code and reason to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    errors_out: Option<PathBuf>,
}

/// What became of a whole file.
#[derive(Debug, Default, Serialize)]
struct Total {
    created: u64,
    existing: u64,
    bad: u64,
    dry_run: bool,
}

impl Import {
    pub(super) async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        let from_stdin = self.file.as_os_str() == "-";
        if self.strict && from_stdin {
            return Err(Failure::usage("--strict reads the file twice; standard input can be read once"));
        }
        let mut bad_lines = BadLines::new(self.errors_out.as_deref())?;
        if self.strict || self.dry_run {
            let checked = self.pass(client, json, true, &mut bad_lines).await?;
            bad_lines.flush()?;
            if self.dry_run {
                return finish(json, &checked);
            }
            if checked.bad > 0 {
                let text = format!("{}; nothing was imported", are_bad(checked.bad));
                return Err(Failure::new(Kind::InPart, text));
            }
        }
        let imported = self.pass(client, json, false, &mut bad_lines).await?;
        bad_lines.flush()?;
        finish(json, &imported)
    }

    /// Sends the whole file once.
    async fn pass(&self, client: &Client, json: bool, dry_run: bool, bad: &mut BadLines) -> Result<Total, Failure> {
        let options = ImportOptions {
            strict: self.strict && !dry_run,
            dry_run,
            acknowledge_sensitive: self.acknowledge_sensitive,
        };
        let (input, length) = open(&self.file)?;
        let mut chunks = Chunks { input, line: 0 };
        let progress = progress(json, length, if dry_run { "checking" } else { "importing" });
        let mut total = Total { dry_run, ..Total::default() };
        while let Some(chunk) = chunks.next()? {
            let too_long = |line| {
                let detail = format!("is longer than {MAX_LINE} bytes");
                LineError { line, code: "invalid_request".to_owned(), detail }
            };
            let mut errors: Vec<_> = chunk.too_long.into_iter().map(too_long).collect();
            if !chunk.body.is_empty() {
                let report = send(client, options, &chunk.body).await?;
                total.created += report.created;
                total.existing += report.existing;
                let in_file = |error: LineError| LineError { line: error.line + chunk.first - 1, ..error };
                errors.extend(report.errors.into_iter().map(in_file));
            }
            errors.sort_by_key(|error| error.line);
            total.bad += errors.len() as u64;
            for error in &errors {
                bad.add(error, &progress)?;
            }
            progress.inc(chunk.read);
            progress
                .set_message(format!("{} created, {} there already, {} bad", total.created, total.existing, total.bad));
        }
        progress.finish_and_clear();
        Ok(total)
    }
}

fn finish(json: bool, total: &Total) -> Result<(), Failure> {
    if json {
        output::json(total)?;
    } else {
        let verb = if total.dry_run { "would be created" } else { "created" };
        let Total { created, existing, bad, .. } = total;
        output::line(&format!("{created} {verb}, {existing} there already, {bad} bad."))?;
    }
    match total.bad {
        0 => Ok(()),
        bad => Err(Failure::new(Kind::InPart, are_bad(bad))),
    }
}

fn are_bad(lines: u64) -> String {
    if lines == 1 { "1 line is bad".to_owned() } else { format!("{lines} lines are bad") }
}

fn open(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(stdin().lock()), None));
    }
    let file = File::open(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let length = file.metadata()?.len();
    Ok((Box::new(BufReader::with_capacity(256 << 10, file)), Some(length)))
}

fn progress(json: bool, length: Option<u64>, verb: &'static str) -> ProgressBar {
    let bar = match length {
        Some(length) => {
            ProgressBar::new(length).with_style(style("{prefix} {wide_bar} {bytes}/{total_bytes}, {eta} left\n{msg}"))
        }
        None => ProgressBar::no_length().with_style(style("{prefix} {bytes}\n{msg}")),
    };
    if json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.with_prefix(verb)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Sends one request. What the server could not answer is sent again: keys that are there already are not made twice.
async fn send(client: &Client, options: ImportOptions, body: &[u8]) -> Result<ImportReport, Failure> {
    let mut pause = Duration::from_millis(200);
    for _ in 1..TRIES {
        match client.import_keys(options, body.to_vec()).await {
            Err(error) if is_passing(&error) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            other => return Ok(other?),
        }
    }
    Ok(client.import_keys(options, body.to_vec()).await?)
}

fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Transport { .. } => true,
        ClientError::Problem(problem) => matches!(problem.status, 408 | 429 | 503),
        _ => false,
    }
}

/// Bad lines: the first few for people, all of them for a file.
struct BadLines {
    shown: u64,
    file: Option<BufWriter<File>>,
}

impl BadLines {
    fn new(path: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self { shown: 0, file: path.map(File::create).transpose()?.map(BufWriter::new) })
    }

    fn add(&mut self, error: &LineError, progress: &ProgressBar) -> Result<(), Failure> {
        if let Some(file) = &mut self.file {
            let text = serde_json::to_string(error).map_err(|error| Failure::other(error.to_string()))?;
            writeln!(file, "{text}")?;
        }
        self.shown += 1;
        if self.shown <= SHOWN {
            let text = format!("line {}: {}: {}", error.line, error.code, output::printable(&error.detail));
            progress.suspend(|| eprintln!("{text}"));
        } else if self.shown == SHOWN + 1 {
            progress.suspend(|| eprintln!("… more are not shown; --errors-out FILE takes them all"));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.file.as_mut().map_or(Ok(()), BufWriter::flush)?)
    }
}

/// A part of a file that fits one request.
struct Chunk {
    /// The number of its first line in the file.
    first: u64,
    body: Vec<u8>,
    /// Lines that are not sent; empty ones stand in their place, so that numbers stay.
    too_long: Vec<u64>,
    /// Bytes of the file.
    read: u64,
}

/// Cuts a file into chunks without ever holding more than one.
struct Chunks<R> {
    input: R,
    line: u64,
}

impl<R: BufRead> Chunks<R> {
    fn next(&mut self) -> std::io::Result<Option<Chunk>> {
        let mut chunk = Chunk { first: self.line + 1, body: Vec::new(), too_long: Vec::new(), read: 0 };
        let mut lines = 0;
        while lines < MAX_LINES && chunk.body.len() + MAX_LINE < MAX_BYTES {
            let start = chunk.body.len();
            let Some((read, fits)) = self.read_line(&mut chunk.body)? else {
                break;
            };
            self.line += 1;
            lines += 1;
            chunk.read += read;
            if !fits {
                chunk.body.truncate(start);
                chunk.too_long.push(self.line);
            }
            chunk.body.push(b'\n');
        }
        Ok((lines > 0).then_some(chunk))
    }

    /// Appends a line without its end; of one that is too long, only the start. `None` at the end of the file.
    fn read_line(&mut self, body: &mut Vec<u8>) -> std::io::Result<Option<(u64, bool)>> {
        let (mut read, mut kept) = (0, 0);
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok((read > 0).then_some((read as u64, kept <= MAX_LINE)));
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            // One byte more than fits tells that it does not.
            let room = (MAX_LINE + 1 - kept).min(part.len());
            body.extend_from_slice(&part[..room]);
            kept += room;
            let used = end.map_or(buffer.len(), |end| end + 1);
            read += used;
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some((read as u64, kept <= MAX_LINE)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &str) -> Vec<Chunk> {
        let mut chunks = Chunks { input: BufReader::with_capacity(7, text.as_bytes()), line: 0 };
        std::iter::from_fn(|| chunks.next().unwrap()).collect()
    }

    #[test]
    fn a_file_is_cut_at_ten_thousand_lines_and_keeps_its_numbers() {
        let text = "x\n".repeat(25_000);
        let chunks = chunks(&text);
        assert_eq!(chunks.iter().map(|chunk| chunk.first).collect::<Vec<_>>(), [1, 10_001, 20_001]);
        assert_eq!(chunks.iter().map(|chunk| chunk.read).sum::<u64>(), text.len() as u64);
        assert_eq!(chunks[2].body, "x\n".repeat(5_000).into_bytes());
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_by_number() {
        let text = format!("a\n{}\nb", "y".repeat(MAX_LINE + 1));
        let chunks = chunks(&text);
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].too_long, [2]);
        assert_eq!(chunks[0].body, b"a\n\nb\n");
        let fits = "y".repeat(MAX_LINE);
        assert!(self::chunks(&fits)[0].too_long.is_empty());
    }

    #[test]
    fn long_lines_are_cut_by_bytes() {
        let text = format!("{}\n", "z".repeat(60 << 10)).repeat(300);
        let chunks = chunks(&text);
        assert!(chunks.len() > 1);
        assert!(chunks.iter().all(|chunk| chunk.body.len() <= MAX_BYTES));
    }

    #[test]
    fn an_empty_file_has_no_chunk() {
        assert!(chunks("").is_empty());
    }
}
