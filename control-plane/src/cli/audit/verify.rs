//! `nightlatch audit verify`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use nightlatch_audit::{Break, Check, Earlier, Fault, Header, MAX_LINE_LEN, Proven};
use nightlatch_keyset::note::{NoteError, Verifier};
use nightlatch_keyset::{AuditGap, Head, StatementError, Trust};

use crate::cli::exit::Failure;
use crate::cli::output;
use crate::cli::receipt::{read, verifiers};

const EXAMPLES: &str = "\
Examples:
  nightlatch audit verify audit.ndjson --verifier \"$(nightlatch sets show --json | jq -r .verifier)\"
  nightlatch audit verify audit.ndjson --root \"$ROOT\" --trust trust --checkpoint audit-head-2026-01-31

The trust note is at GET /v1/sets/{set}/trust, for tokens with sets:read, and beside the head that edges read.

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
    /// Believe the export about erasures that are not signed yet: who has just erased something, and made it themselves.
    #[arg(long)]
    allow_unaccounted: bool,
    /// Print JSON for programs instead of text for people.
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (signers, set) = self.believed()?;
        let kept = self.checkpoint.iter().map(|path| Kept::read(path, &signers, set.as_deref()));
        let kept = kept.collect::<Result<Vec<_>, _>>()?;
        let input: Box<dyn BufRead> = if self.file.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(File::open(&self.file).map_err(|error| about(&self.file, &error))?))
        };
        match self.check(input, &signers, set.as_deref(), kept)? {
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

    fn check(
        &self,
        mut input: Box<dyn BufRead>,
        signers: &[Verifier],
        set: Option<&str>,
        kept: Vec<Kept<'_>>,
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
                let head = open(note, signers)
                    .map_err(|why| about(&self.file, &format!("the head in its first line: {why}")))?;
                of_set(&head, set).map_err(|why| about(&self.file, &why))?;
                Some(head)
            }
        };
        for one in &kept {
            one.require_workspace(&header.workspace)?;
        }
        let earlier = kept.into_iter().map(|one| one.earlier).collect();
        // Notes of signers that are not believed explain nothing.
        let gaps: Vec<_> = header.gaps.iter().filter_map(|note| AuditGap::open(note, signers).ok()).collect();
        let unbelieved = header.gaps.len() - gaps.len();
        if unbelieved > 0 {
            eprintln!(
                "warning: {unbelieved} notes of a recovery in the export are of signers that are not believed; {RETIRED}"
            );
        }
        let gaps = gaps.into_iter().filter(|gap| head.as_ref().is_some_and(|head| head.set == gap.set)).collect();
        let mut check = match Check::new(header, head.as_ref(), gaps, earlier) {
            Ok(check) => check,
            Err(found) => return Ok(Err(found)),
        };
        if self.allow_unsigned {
            check = check.allow_unsigned();
        }
        if self.allow_unaccounted {
            check = check.allow_unaccounted();
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

/// What to do about a signature of a key that the trust note lists no longer.
const RETIRED: &str = "where their key was retired since, give its public half with --verifier";

/// A head that was kept, and where.
struct Kept<'p> {
    path: &'p Path,
    workspace: String,
    earlier: Earlier,
}

impl<'p> Kept<'p> {
    fn read(path: &'p Path, signers: &[Verifier], set: Option<&str>) -> Result<Self, Failure> {
        let head = open(&read(path)?, signers).map_err(|why| about(path, &why))?;
        of_set(&head, set).map_err(|why| about(path, &why))?;
        let checkpoint = head.audit.ok_or_else(|| about(path, &"the head carries no checkpoint of the audit log"))?;
        Ok(Self { path, workspace: head.workspace, earlier: Earlier { checkpoint, incarnation: head.incarnation } })
    }

    /// Another workspace's head says nothing of this log, and would accuse whoever keeps it.
    fn require_workspace(&self, workspace: &str) -> Result<(), Failure> {
        if self.workspace == workspace {
            return Ok(());
        }
        let what = format!("the head is of workspace {}, the export of {workspace}", self.workspace);
        Err(about(self.path, &what))
    }
}

fn open(note: &str, signers: &[Verifier]) -> Result<Head, String> {
    Head::open(note, signers).map_err(|error| match error {
        StatementError::Note(NoteError::UnknownSigner) => format!("{error}; {RETIRED}"),
        _ => error.to_string(),
    })
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
