//! `nightlatch emergency-deny`.

use std::path::{Path, PathBuf};

use clap::Args;
use nightlatch_key::Digest;
use nightlatch_keyset::note::{Signer, Verifier};
use nightlatch_keyset::{Deny, Head, MAX_DENIED, Trust};
use serde_json::json;

use super::exit::Failure;
use super::home::Home;
use super::output;
use crate::domain::KeyRef;
use crate::publisher::SetDirectory;
use crate::publisher::directory::{DENY, TRUST};
use crate::secrets::{head_signer, read_private, read_seed, root_signer};
use crate::store::keys;

const EXAMPLES: &str = "\
With the control plane down, a leaked key's text in a file of mode 0600, and the set's files at hand:
  nightlatch emergency-deny --set-dir nightlatch-data/sets/set_1hTq3e9fKz --key-file leaked --signing-key nightlatch-data/secrets/head.key

Anywhere, for a bucket that edges read:
  nightlatch emergency-deny --out deny --set set_1hTq3e9fKz --role root --digest 9f86… --signing-key root.key
  aws s3 cp deny s3://bucket/edge/deny

Each note names the keys of the ones before: take the one that is in place as --out, or read it with --before. Edges look
for the note when they have not heard of the control plane for a quarter of a head's validity. The control plane takes it
over before it publishes again, from the directory of its published files: put it there, too.";

/// The highest number of a note that is gone by without being believed: far beyond any clock's seconds.
const MOST: u64 = 1 << 53;

/// Have edges refuse keys while no head can be signed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EmergencyDeny {
    #[command(flatten)]
    home: Home,
    /// The directory of the set's files, with its head: the note is put beside it.
    #[arg(long, value_name = "DIR", required_unless_present = "out")]
    set_dir: Option<PathBuf>,
    /// Write the note to this file instead.
    #[arg(long, value_name = "FILE", conflicts_with = "set_dir")]
    out: Option<PathBuf>,
    /// The note in place, whose keys stay denied; the one at the destination when absent.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// A file of mode 0600 with keys' texts, one a line; - reads standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// SHA-256 of a key's text, in hexadecimal digits. May be given many times.
    #[arg(long, value_name = "HEX")]
    digest: Vec<String>,
    /// The id of a key. Needs the database. May be given many times.
    #[arg(long, value_name = "KEY_ID")]
    key: Vec<String>,
    /// A file of mode 0600 with a root key or a head-signing key of the set.
    #[arg(long, value_name = "FILE")]
    signing_key: PathBuf,
    /// Which of the two the key is; found out from the directory's head and trust note when absent.
    #[arg(long)]
    role: Option<Role>,
    /// Begin anew where the note in place cannot be believed.
    #[arg(long)]
    replace: bool,
    /// Say what would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// A root key: it signs the list of head-signing keys.
    Root,
    /// A head-signing key.
    Signer,
}

impl EmergencyDeny {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let place = Beside::read(self.set_dir.as_deref())?;
        let set = self.home.set().map(str::to_owned).or_else(|| place.set());
        let set = set.ok_or_else(|| Failure::usage("there is no head to tell the set by; give --set"))?;
        let seed = read_seed(&self.signing_key)?;
        let named = |error: nightlatch_keyset::note::VerifierError| Failure::usage(format!("--set: {error}"));
        let root = root_signer(&set, &seed).map_err(named)?;
        let head = head_signer(&set, &seed).map_err(named)?;
        let (signer, known) = place.signer(self.role, root, head)?;
        let Before { deny: before, above } = self.note_before(&set, &known)?;
        let mut digests: Vec<Digest> = before.map_or_else(Vec::new, |deny| deny.digests);
        let were = digests.len();
        digests.extend(self.digests(&set).await?);
        digests.sort_by_key(|digest| *digest.as_bytes());
        digests.dedup_by_key(|digest| *digest.as_bytes());
        let added = digests.len() - were;
        if digests.len() > MAX_DENIED {
            return Err(Failure::other(format!(
                "a note names at most {MAX_DENIED} keys, this one would name {}: bring the control plane back and revoke the \
                 keys there",
                digests.len()
            )));
        }
        let issued = u64::try_from(now_ms()).map_err(|_| Failure::other("the clock is before 1970"))?;
        // Edges go by the highest number they have seen, and that note may not be here: seconds are above those of all notes
        // made before, wherever they were made.
        let next = above.checked_add(1).ok_or_else(|| Failure::other("no number is left above the note's in place"))?;
        let number = next.max(issued / 1000);
        let deny = Deny { set: set.clone(), number, issued, digests };
        let note = deny.sign(&signer);
        let to = self.destination();
        if added > 0 && !self.dry_run {
            write(&to, &note)?;
        }
        if self.json {
            return output::json(&json!({
                "set": set, "number": number, "denied": deny.digests.len(), "added": added, "written": added > 0 && !self.dry_run,
                "file": to, "signer": signer.verifier().to_vkey(),
            }));
        }
        if added == 0 {
            return output::line("The note in place names these keys already: nothing was written.");
        }
        let would = if self.dry_run { "would name" } else { "names" };
        output::line(&format!("deny note {number} of {set} {would} {} keys, {added} of them new", deny.digests.len()))?;
        if self.dry_run {
            return Ok(());
        }
        output::line(&format!(
            "written to {0}\nPut it wherever edges read the set, beside `head`, under the name `deny`:\n  \
             aws s3 cp {0} s3://BUCKET/PREFIX/deny\n  npx wrangler r2 object put BUCKET/PREFIX/deny --file {0}\n\
             nightlatch sync copies it by itself from the directory of the published files.",
            to.display()
        ))
    }

    fn destination(&self) -> PathBuf {
        match (&self.set_dir, &self.out) {
            (Some(directory), _) => directory.join(DENY),
            (None, Some(file)) => file.clone(),
            (None, None) => PathBuf::from(DENY),
        }
    }

    /// The note that this one goes on from.
    fn note_before(&self, set: &str, known: &[Verifier]) -> Result<Before, Failure> {
        let path = self.before.clone().unwrap_or_else(|| self.destination());
        let note = match std::fs::read_to_string(&path) {
            Ok(note) => note,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.before.is_none() => {
                return Ok(Before { deny: None, above: 0 });
            }
            Err(error) => return Err(Failure::usage(format!("{}: {error}", path.display()))),
        };
        match Deny::open(&note, known) {
            Ok(deny) if deny.set == set => Ok(Before { above: deny.number, deny: Some(deny) }),
            _ if self.replace => Ok(Before { deny: None, above: claimed_number(&note).unwrap_or(0) }),
            Ok(deny) => Err(Failure::other(format!("{} is of set {}", path.display(), deny.set))),
            Err(error) => Err(Failure::other(format!(
                "{} is not to be believed: {error}; --replace begins anew, without its keys",
                path.display()
            ))),
        }
    }

    async fn digests(&self, set: &str) -> Result<Vec<Digest>, Failure> {
        let mut digests = Vec::new();
        if let Some(path) = &self.key_file {
            let text = if path.as_os_str() == "-" {
                zeroize::Zeroizing::new(std::io::read_to_string(std::io::Read::take(std::io::stdin(), 64 * 1024))?)
            } else {
                read_private(path)?
            };
            digests.extend(
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| Digest::of(line.as_bytes())),
            );
        }
        for text in &self.digest {
            digests.push(digest(text).ok_or_else(|| Failure::usage(format!("{text} is not 64 hexadecimal digits")))?);
        }
        if !self.key.is_empty() {
            let opened = self.home.of_set(set).open().await?;
            let mut read = opened.store.read().await.map_err(|error| Failure::other(error.to_string()))?;
            for id in &self.key {
                let key = KeyRef::parse(id).ok_or_else(|| Failure::usage(format!("{id} is not a key's id")))?;
                let view = keys::get(&mut read, &opened.workspace, &key).await;
                digests.push(view.map_err(|error| Failure::other(format!("{id}: {error}")))?.key.digest);
            }
        }
        if digests.is_empty() {
            return Err(Failure::usage("give the keys: --key-file, --digest or --key"));
        }
        Ok(digests)
    }
}

/// The note that another goes on from.
struct Before {
    /// What it says, if it is to be believed.
    deny: Option<Deny>,
    /// The number to be above.
    above: u64,
}

/// The number that a note says it has, whoever signed it: edges may believe it where this program does not. One that leaves
/// no room for others was never given by this program.
fn claimed_number(note: &str) -> Option<u64> {
    let number = note.lines().find_map(|line| line.strip_prefix("number "))?.parse().ok()?;
    (number <= MOST).then_some(number)
}

/// The head and the trust note of a directory, not believed yet.
#[derive(Default)]
struct Beside {
    head: Option<String>,
    trust: Option<String>,
}

impl Beside {
    fn read(directory: Option<&Path>) -> Result<Self, Failure> {
        let Some(directory) = directory.map(SetDirectory::new) else { return Ok(Self::default()) };
        let broken = |error: crate::publisher::directory::DirectoryError| Failure::other(error.to_string());
        Ok(Self { head: directory.head().map_err(broken)?, trust: directory.note(TRUST).map_err(broken)? })
    }

    fn set(&self) -> Option<String> {
        self.head.as_ref()?.lines().find_map(|line| line.strip_prefix("set ")).map(str::to_owned)
    }

    /// The signer that the key is, and those whose notes are believed.
    fn signer(&self, role: Option<Role>, root: Signer, head: Signer) -> Result<(Signer, Vec<Verifier>), Failure> {
        let trust = self.trust.as_ref().and_then(|note| Trust::open(note, &[root.verifier()]).ok());
        let role = role.or_else(|| match (&trust, &self.head) {
            (Some(_), _) => Some(Role::Root),
            (None, Some(note)) => Head::open(note, &[head.verifier()]).is_ok().then_some(Role::Signer),
            (None, None) => None,
        });
        let role = role.ok_or_else(|| {
            Failure::usage(
                "the key has signed neither the head nor the trust note there: a head-signing key that another took the place \
                 of is of no use (`nightlatch trust show`); else say with --role what it is",
            )
        })?;
        let listed = trust.map_or_else(Vec::new, |trust| [trust.roots, trust.signers].concat());
        let mut known = listed;
        known.extend([root.verifier(), head.verifier()]);
        Ok((if role == Role::Root { root } else { head }, known))
    }
}

/// The note appears whole or not at all: edges may be looking.
fn write(path: &Path, note: &str) -> Result<(), Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| Failure::usage("give a file's name"))?;
    SetDirectory::new(directory).put_note(name, note).map_err(|error| Failure::other(error.to_string()))
}

fn digest(text: &str) -> Option<Digest> {
    let bytes = text.as_bytes();
    let digit = |at: usize| char::from(bytes[at]).to_digit(16);
    if bytes.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::try_from(digit(2 * at)? << 4 | digit(2 * at + 1)?).ok()?;
    }
    Some(Digest::from_bytes(digest))
}

#[expect(clippy::disallowed_methods, reason = "the note says when it was made, for people")]
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
