//! `nightlatch trust` and `nightlatch root`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use nightlatch_keyset::Trust as Note;
use nightlatch_keyset::note::{Signer, Verifier, cosign};
use serde_json::json;

use super::exit::Failure;
use super::home::{Home, Opened};
use super::output;
use crate::secrets::{Keyring, head_signer, read_seed, root_signer};
use crate::store::{edges, publication};
use crate::trust::{self, Standing, put_into_force, sign, standing};

const EXAMPLES: &str = "\
As a matter of routine, on the server's machine (it goes on running, and so do edges):
  nightlatch trust rotate-signer --dry-run
  nightlatch trust rotate-signer
The old key is left out of the list when no head of it can be relied on any more: by the running server where the root
key is in its data directory, else with `nightlatch trust retire`.

When the head-signing key may be a thief's:
  nightlatch trust rotate-signer --compromised

Where the root key is kept elsewhere:
  nightlatch trust request rotate-signer > unsigned
  nightlatch trust sign --root-key root.key < unsigned > signed      (where the root key is)
  nightlatch trust import signed";

/// Say which keys sign a set's heads, and replace them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Trust {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    /// Show the trust note in force, and which key signs.
    Show(Common),
    /// Have a new key sign heads.
    RotateSigner(Rotate),
    /// Leave keys out of the list that another took the place of.
    Retire(Change),
    /// Print the next trust note unsigned, to be signed where the root key is.
    Request(Request),
    /// Sign a trust note from standard input with a root key, to standard output. Needs neither database nor server.
    Sign(Sign),
    /// Put a signed trust note into force.
    Import(Import),
}

/// Replace the root key, which signs the trust note and which edges pin.
#[derive(Debug, Args)]
pub(super) struct Root {
    #[command(subcommand)]
    command: RootCommand,
}

#[derive(Debug, Subcommand)]
enum RootCommand {
    /// Make a new root key and list it beside the old one, signed by both.
    Rotate(Change),
    /// Leave the old root keys out, once every edge pins the new one. Notes stay signed by the old ones too, as long as
    /// their files are in place.
    Retire(Change),
}

/// Where, and how to print.
#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    home: Home,
    /// Print JSON for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    common: Common,
    /// A file of mode 0600 with a root key; those in the data directory when absent.
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct Rotate {
    #[command(flatten)]
    change: Change,
    /// The key may be a thief's: leave it out at once, and let edges forget whatever it signed.
    #[arg(long)]
    compromised: bool,
}

#[derive(Debug, Args)]
struct Request {
    /// What the note is to do.
    what: What,
    #[command(flatten)]
    common: Common,
    /// For rotate-signer: the key may be a thief's.
    #[arg(long)]
    compromised: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    /// List a new head-signing key, which is made now.
    RotateSigner,
    /// Leave out keys that another took the place of.
    Retire,
}

#[derive(Debug, Args)]
struct Sign {
    /// A file of mode 0600 with the root key.
    #[arg(long, value_name = "FILE")]
    root_key: PathBuf,
}

#[derive(Debug, Args)]
struct Import {
    /// The signed note; - reads standard input.
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Trust {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            TrustCommand::Show(common) => common.show().await,
            TrustCommand::RotateSigner(rotate) => rotate.run().await,
            TrustCommand::Retire(change) => {
                let place = Place::open(&change.common, change.root_key.as_deref()).await?;
                let next = place.standing.without_retired()?;
                place.conclude(&change, next, "a replaced head-signing key is left out").await
            }
            TrustCommand::Request(request) => request.run().await,
            TrustCommand::Sign(command) => command.run(),
            TrustCommand::Import(import) => import.run().await,
        }
    }
}

impl Root {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (change, retire) = match self.command {
            RootCommand::Rotate(change) => (change, false),
            RootCommand::Retire(change) => (change, true),
        };
        let mut place = Place::open(&change.common, change.root_key.as_deref()).await?;
        let mut next = place.standing.next();
        if retire {
            if next.roots.len() < 2 {
                return Err(Failure::other("the note lists one root key: there is none to leave out"));
            }
            next.roots = next.roots.split_off(next.roots.len() - 1);
            return place.conclude(&change, next, "the old root keys are left out").await;
        }
        if change.dry_run {
            return output::line(
                "A new root key would be made, and the next trust note would list it beside the others.",
            );
        }
        // Who may sign is known before a key is made.
        sign(&next, &place.standing.trust.roots, &place.keys.roots)?;
        let root = signer(root_signer(place.opened.set.as_str(), &*place.opened.vault.add_root()?))?;
        next.roots.push(root.verifier());
        place.keys.roots.push(Arc::new(root));
        place.conclude(&change, next, "a new root key").await?;
        if change.common.json {
            return Ok(());
        }
        output::line("Give every edge the new root key beside the old one, then run: nightlatch root retire")
    }
}

/// The control plane's things, the note in force, and the root keys at hand.
struct Place {
    opened: Opened,
    keys: Keyring,
    standing: Standing,
}

impl Place {
    async fn open(common: &Common, root_key: Option<&Path>) -> Result<Self, Failure> {
        let opened = common.home.open().await?;
        let mut keys = opened.keys().await?;
        if let Some(path) = root_key {
            keys.roots.insert(0, Arc::new(signer(root_signer(opened.set.as_str(), &*read_seed(path)?))?));
        }
        let mut read = opened.store.read().await.map_err(trust::Error::from)?;
        let standing = standing(&mut read, &opened.set).await?.ok_or(trust::Error::None)?;
        drop(read);
        Ok(Self { opened, keys, standing })
    }

    /// The head-signing key's next, made and kept, and the note that lists it.
    async fn rotated(&self, compromised: bool) -> Result<(Note, Keyring), Failure> {
        let set = self.opened.set.as_str();
        let signer = signer(head_signer(set, &*self.opened.vault.add_head().await?))?;
        let mut read = self.opened.store.read().await.map_err(trust::Error::from)?;
        let state = publication::state(&mut read, &self.opened.set).await.map_err(trust::Error::from)?;
        let next = self.standing.with_signer(signer.verifier(), (state.incarnation, state.epoch), compromised);
        let mut keys = self.keys.clone();
        keys.signers.push(Arc::new(signer));
        Ok((next, keys))
    }

    /// Says so where edges would not learn of another key.
    async fn warn_of_pinned(&self) -> Result<(), Failure> {
        let mut read = self.opened.store.read().await.map_err(trust::Error::from)?;
        let count = edges::without_trust(&mut read, &self.opened.set).await.map_err(trust::Error::from)?;
        if count > 0 {
            eprintln!(
                "warning: {count} running edges report no trust note: they pin the key that signs now and will refuse the \
                 heads of another. Give them the root key that `nightlatch edge config` prints."
            );
        }
        Ok(())
    }

    /// Signs the note and puts it into force.
    async fn conclude(self, change: &Change, next: Note, why: &'static str) -> Result<(), Failure> {
        let note = sign(&next, &self.standing.trust.roots, &self.keys.roots)?;
        if change.dry_run {
            return tell(&next, None, change.common.json);
        }
        let Self { opened, keys, .. } = self;
        enter(&opened, keys, note, why, change.common.json).await
    }
}

async fn enter(opened: &Opened, keys: Keyring, note: String, why: &'static str, json: bool) -> Result<(), Failure> {
    let (workspace, set) = (opened.workspace.clone(), opened.set.clone());
    let put = opened.store.write(move |tx| {
        Box::pin(async move {
            let next = put_into_force(tx, &workspace, &set, note, &keys, why).await?;
            let signing = crate::store::trust::signing(tx, &set).await?;
            Ok::<_, trust::Error>((next, signing.signer))
        })
    });
    let (next, signer) = put.await?;
    tell(&next, signer.as_deref(), json)
}

impl Common {
    async fn show(self) -> Result<(), Failure> {
        let place = Place::open(&self, None).await?;
        let Standing { trust, signing, .. } = &place.standing;
        let local = place.keys.roots.iter().any(|root| trust.roots.contains(&root.verifier()));
        if self.json {
            return output::json(&json!({
                "trust": says(trust), "signer": signing.signer, "signed_by": signing.signed_by,
                "retire_at_ms": place.standing.retire_at(), "root_key_here": local, "note": place.standing.note,
            }));
        }
        tell(trust, signing.signer.as_deref(), false)?;
        if let Some(at) = place.standing.retire_at() {
            let at = jiff::Timestamp::from_millisecond(i64::try_from(at).unwrap_or(i64::MAX)).unwrap_or_default();
            output::line(&format!("the keys that no longer sign may be left out from {}", output::time(at)))?;
        }
        output::line(if local { "a root key is here" } else { "no root key is here" })
    }
}

impl Rotate {
    async fn run(self) -> Result<(), Failure> {
        let place = Place::open(&self.change.common, self.change.root_key.as_deref()).await?;
        // Who may sign is known before a key is made.
        sign(&place.standing.next(), &place.standing.trust.roots, &place.keys.roots)?;
        place.warn_of_pinned().await?;
        if self.change.dry_run {
            let what = if self.compromised { "alone, from the next epoch on" } else { "beside those there are" };
            return output::line(&format!(
                "A new head-signing key would be made, and trust note {} would list it {what}.",
                place.standing.trust.version + 1
            ));
        }
        let (next, keys) = place.rotated(self.compromised).await?;
        let why = if self.compromised { "the head-signing key may be a thief's" } else { "a new head-signing key" };
        Place { keys, ..place }.conclude(&self.change, next, why).await
    }
}

impl Request {
    async fn run(self) -> Result<(), Failure> {
        let place = Place::open(&self.common, None).await?;
        let next = match self.what {
            What::RotateSigner => place.rotated(self.compromised).await?.0,
            What::Retire => place.standing.without_retired()?,
        };
        if self.common.json { output::json(&json!({ "text": next.to_text() })) } else { output::text(&next.to_text()) }
    }
}

impl Sign {
    fn run(self) -> Result<(), Failure> {
        let text = std::io::read_to_string(std::io::Read::take(std::io::stdin(), 16 * 1024))?;
        // Signed already by another root: then this one signs beneath.
        let unsigned = text.rfind("\n\n").map_or(text.as_str(), |end| &text[..=end]);
        let note = Note::parse(unsigned).map_err(|error| Failure::usage(format!("standard input: {error}")))?;
        let root = signer(root_signer(&note.set, &*read_seed(&self.root_key)?))?;
        let signed = if unsigned.len() == text.len() { Ok(note.sign(&root)) } else { cosign(&text, &root) };
        eprintln!("trust note {} of {}, signed by {}", note.version, note.set, root.verifier().to_vkey());
        output::text(&signed.map_err(|error| Failure::usage(error.to_string()))?)
    }
}

impl Import {
    async fn run(self) -> Result<(), Failure> {
        let note = if self.file.as_os_str() == "-" {
            std::io::read_to_string(std::io::Read::take(std::io::stdin(), 16 * 1024))?
        } else {
            std::fs::read_to_string(&self.file)
                .map_err(|error| Failure::usage(format!("{}: {error}", self.file.display())))?
        };
        let place = Place::open(&self.common, None).await?;
        if self.dry_run {
            let next = Note::open(&note, &place.standing.trust.roots).map_err(trust::Error::Untrusted)?;
            return tell(&next, None, self.common.json);
        }
        enter(&place.opened, place.keys, note, "imported", self.common.json).await
    }
}

fn signer(made: Result<Signer, nightlatch_keyset::note::VerifierError>) -> Result<Signer, Failure> {
    made.map_err(|error| Failure::other(error.to_string()))
}

fn says(note: &Note) -> serde_json::Value {
    let vkeys = |keys: &[Verifier]| keys.iter().map(Verifier::to_vkey).collect::<Vec<_>>();
    json!({
        "set": note.set, "version": note.version, "issued_ms": note.issued, "floor": note.floor,
        "roots": vkeys(&note.roots), "signers": vkeys(&note.signers),
    })
}

/// Prints what a note says; without a signer, one that is not in force.
fn tell(note: &Note, signer: Option<&str>, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&json!({ "trust": says(note), "signer": signer, "dry_run": signer.is_none() }));
    }
    let [incarnation, epoch, version] = note.floor;
    output::line(&format!("trust note {} of {}", note.version, note.set))?;
    output::line(&format!("floor   incarnation {incarnation}, epoch {epoch}, version {version}"))?;
    note.roots.iter().try_for_each(|root| output::line(&format!("root    {}", root.to_vkey())))?;
    note.signers.iter().try_for_each(|one| output::line(&format!("signer  {}", one.to_vkey())))?;
    match signer {
        Some(signer) => output::line(&format!("signs   {signer}")),
        None => output::line("Nothing was changed."),
    }
}

impl From<trust::Error> for Failure {
    fn from(error: trust::Error) -> Self {
        Self::other(error.to_string())
    }
}
