//! `nightlatch audit verify`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use nightlatch_audit::{Break, Check, Earlier, Fault, Header, MAX_LINE_LEN, Proven};
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{AuditGap, Head, Trust};

use crate::cli::exit::Failure;
use crate::cli::output;
use crate::cli::receipt::{read, verifiers};

const EXAMPLES: &str = "\
Examples:
  nightlatch audit verify audit.ndjson --verifier \"$(nightlatch sets show --json | jq -r .verifier)\"
  nightlatch audit verify audit.ndjson --root \"$ROOT\" --trust trust --checkpoint audit-head-2026-01-31

A whole export is proven from its first entry to the head that it brings; a filtered one entry by entry, not that there are no
others. The head in the export is as fresh as whoever exported it wanted: what shows that nothing was cut off, and that
nothing before some day was changed, are heads that you kept (`nightlatch audit checkpoint --out FILE`, or the published `head` of
any edge) and give with --checkpoint. Nothing is asked over the network.

It ends with 0 where everything holds and with 1 at the first break, which it names.";

/// Prove an export, offline.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("believed").args(["verifier", "root"]).required(true).multiple(true)))]
pub(super) struct Verify {
    /// The export; - reads standard input.
    file: PathBuf,
    /// A head that was signed before or after: the export has to agree with it.
    #[arg(long, value_name = "HEADFILE")]
    checkpoint: Vec<PathBuf>,
    /// The public half of the key that signs the set's heads.
    #[arg(long, value_name = "VKEY", value_delimiter = ',')]
    verifier: Vec<String>,
    /// The public half of the set's root key; signers are then looked up in the trust note.
    #[arg(long, value_name = "VKEY", value_delimiter = ',', requires = "trust")]
    root: Vec<String>,
    /// The set's trust note.
    #[arg(long, value_name = "FILE", requires = "root")]
    trust: Option<PathBuf>,
    /// Take an export without a signed checkpoint, as of a log before its first head: nothing of it is proven.
    #[arg(long)]
    allow_unsigned: bool,
    /// Print JSON for programs instead of text for people.
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (signers, set) = self.believed()?;
        let mut earlier = Vec::new();
        for path in &self.checkpoint {
            earlier.push(self.earlier(path, &signers, set.as_deref())?);
        }
        let input: Box<dyn BufRead> = if self.file.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(File::open(&self.file).map_err(|error| about(&self.file, &error))?))
        };
        match self.check(input, &signers, set.as_deref(), earlier)? {
            Ok(proven) => self.tell(&proven),
            Err(found) => {
                if self.json {
                    let said = serde_json::json!({
                        "proven": false,
                        "break": { "sequence": found.seq, "what": found.fault.to_string() },
                    });
                    output::json(&said)?;
                }
                Err(about(&self.file, &found))
            }
        }
    }

    /// Whose signatures count, and of which set.
    fn believed(&self) -> Result<(Vec<Verifier>, Option<String>), Failure> {
        let mut signers = verifiers(&self.verifier, "--verifier")?;
        let Some(path) = &self.trust else { return Ok((signers, None)) };
        let roots = verifiers(&self.root, "--root")?;
        let trust = Trust::open(&read(path)?, &roots).map_err(|error| about(path, &error))?;
        signers.extend(trust.signers);
        Ok((signers, Some(trust.set)))
    }

    fn earlier(&self, path: &Path, signers: &[Verifier], set: Option<&str>) -> Result<Earlier, Failure> {
        let head = Head::open(&read(path)?, signers).map_err(|error| about(path, &error))?;
        of_set(&head, set).map_err(|why| about(path, &why))?;
        let checkpoint = head.audit.ok_or_else(|| about(path, &"the head carries no checkpoint of the audit log"))?;
        Ok(Earlier { checkpoint, incarnation: head.incarnation })
    }

    fn check(
        &self,
        mut input: Box<dyn BufRead>,
        signers: &[Verifier],
        set: Option<&str>,
        earlier: Vec<Earlier>,
    ) -> Result<Result<Proven, Break>, Failure> {
        let mut line = String::new();
        if !self.next_line(&mut input, &mut line)? {
            return Ok(Err(Fault::Cut.into()));
        }
        let header = match Header::parse(&line) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault.into())),
        };
        let head = match &header.head {
            None => None,
            Some(note) => {
                let head = Head::open(note, signers)
                    .map_err(|error| about(&self.file, &format!("the head in its first line: {error}")))?;
                of_set(&head, set).map_err(|why| about(&self.file, &why))?;
                Some(head)
            }
        };
        // Notes of signers that are not believed explain nothing.
        let gaps = header.gaps.iter().filter_map(|note| AuditGap::open(note, signers).ok());
        let gaps = gaps.filter(|gap| head.as_ref().is_some_and(|head| head.set == gap.set)).collect();
        let mut check = match Check::new(header, head.as_ref(), gaps, earlier) {
            Ok(check) => check,
            Err(found) => return Ok(Err(found)),
        };
        if self.allow_unsigned {
            check = check.allow_unsigned();
        }
        while self.next_line(&mut input, &mut line)? {
            if let Err(found) = check.line(&line) {
                return Ok(Err(found));
            }
        }
        Ok(check.finish())
    }

    /// Reads a line, without the end of it. One byte more than a line may have shows that it is too long.
    fn next_line(&self, input: &mut Box<dyn BufRead>, line: &mut String) -> Result<bool, Failure> {
        line.clear();
        let read = input.take(MAX_LINE_LEN as u64 + 2).read_line(line).map_err(|error| about(&self.file, &error))?;
        if line.ends_with('\n') {
            line.pop();
        }
        Ok(read > 0)
    }

    fn tell(&self, proven: &Proven) -> Result<(), Failure> {
        if self.json {
            return output::json(&serde_json::json!({
                "proven": proven.signed,
                "workspace": proven.workspace,
                "entries": proven.entries,
                "after": proven.after,
                "count": proven.count,
                "root": proven.root.to_hex(),
                "filtered": proven.filtered,
                "erased": proven.erased,
                "erased_accounted": proven.accounted,
                "checkpoints": proven.earlier,
                "unchained": proven.unchained,
            }));
        }
        output::line(if !proven.signed {
            "The export has no signed checkpoint: nothing of it is proven."
        } else if proven.filtered {
            "Every entry is in the log that was signed. Whether there are others, a filtered export does not say."
        } else {
            "The export is whole, and what was signed."
        })?;
        let span = if proven.filtered {
            format!("{} of {}", proven.entries, proven.count)
        } else {
            format!("{}, after {}, up to {}", proven.entries, proven.after, proven.count)
        };
        output::facts([
            ("workspace", Some(proven.workspace.clone())),
            ("entries", Some(span)),
            ("root", Some(proven.root.to_hex())),
            ("checkpoints", Some(format!("{} more heads agree", proven.earlier))),
            ("erased", (proven.erased > 0).then(|| format!("{} personal values", proven.erased))),
            ("warning", (proven.erased > proven.accounted).then(|| unaccounted(proven))),
            ("waiting", (proven.unchained > 0).then(|| format!("{} behind the checkpoint", proven.unchained))),
        ])
    }
}

/// That fewer erasures are among the entries than it takes, and what to do about it.
fn unaccounted(proven: &Proven) -> String {
    let what = format!("the erasures among these entries account for {} of them", proven.accounted);
    if proven.filtered || proven.after > 0 {
        format!("{what}; export the whole log to see whether others account for the rest")
    } else {
        format!("{what}, others wait behind the checkpoint; export again once they are signed")
    }
}

fn of_set(head: &Head, set: Option<&str>) -> Result<(), String> {
    match set {
        Some(set) if set != head.set => Err(format!("the head is of set {}, the trust note of {set}", head.set)),
        _ => Ok(()),
    }
}

fn about(path: &Path, what: &dyn std::fmt::Display) -> Failure {
    Failure::other(format!("{}: {what}", path.display()))
}
