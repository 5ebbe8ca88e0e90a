//! Trust and deny notes on their way from the source to the target.
//!
//! Both are copied as they are, and never in the place of one with a higher number. Trust goes before the head that needs
//! it. Deny goes as soon as it is seen, whatever becomes of heads: it exists for the time when none can be signed.

use std::time::Duration;

use nightlatch_keyset::note::NoteError;
use nightlatch_keyset::{Head, StatementError};
use nightlatch_sync::Refusal;
use tokio::time::{Instant, sleep};

use super::note::{NoteName, claimed_set, statement};
use super::source::Answer;
use super::target::Written;
use super::trusted::{Age, contradiction, untrusted};
use super::{SyncError, SyncJob};

/// How often a source is asked for its trust note where no head says that there is a new one.
const TRUST_EVERY: Duration = Duration::from_secs(60);
/// How often a note is written anew because somebody else's came in between.
const RACES: u32 = 4;

/// One note, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// What the source has, checked.
    pub(super) text: Option<String>,
    /// Whether the target has it, as far as is known.
    pub(super) placed: bool,
}

/// Both notes, and when to look.
#[derive(Debug, Default)]
pub(super) struct Carrying {
    trust: Carried,
    deny: Carried,
    /// A deny note that was found while a head was waited for.
    found: Option<String>,
    looked_for_trust: Option<Instant>,
    /// The set that heads and notes are about.
    set: Option<String>,
    told_of_root: bool,
}

impl Carrying {
    fn of(&mut self, name: NoteName) -> &mut Carried {
        if name == NoteName::Deny { &mut self.deny } else { &mut self.trust }
    }

    /// Looks at the target again before it is relied on.
    pub(super) fn forget_target(&mut self) {
        (self.trust.placed, self.deny.placed) = (false, false);
    }
}

impl SyncJob {
    /// The source's next head. With `hold` it may take a while, in which a deny note may turn up: then there is none.
    pub(super) async fn next_head(&mut self, hold: bool) -> Result<Option<String>, SyncError> {
        if !hold {
            return self.source.next_head(false).await;
        }
        let found = tokio::select! {
            biased;
            head = self.source.next_head(true) => return head,
            found = self.watch_for_deny() => found,
        };
        self.carrying.found = Some(found);
        Ok(None)
    }

    /// Waits for a deny note that has not been seen.
    async fn watch_for_deny(&self) -> String {
        loop {
            sleep(self.options.poll).await;
            match self.source.note(NoteName::Deny, false).await {
                Ok(Answer::Text(text)) if self.carrying.deny.text.as_ref() != Some(&text) => return text,
                Ok(_) => {}
                // Whether the source can be reached, the head tells.
                Err(error) => tracing::debug!(%error, "the deny note cannot be read"),
            }
        }
    }

    /// Copies what is new of the notes. Returns the names of those that were written, or would be. What is wrong with one
    /// of them is no reason not to copy heads, and comes back beside it.
    pub(super) async fn carry(&mut self) -> (Vec<&'static str>, Option<SyncError>) {
        let mut written = Vec::new();
        let mut trouble = None;
        let due = self.carrying.looked_for_trust.is_none_or(|looked| looked.elapsed() >= TRUST_EVERY);
        if self.trusted.has_roots() && due {
            trouble = self.look_for_trust().await.err();
        }
        let looked = self.look_for_deny().await;
        trouble = trouble.or_else(|| looked.err());
        for name in [NoteName::Trust, NoteName::Deny] {
            match self.place(name).await {
                Ok(true) => written.push(name.as_str()),
                Ok(false) => {}
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        (written, trouble)
    }

    /// Opens the source's head, by a new trust note where it takes one. The target has that note before this is back.
    pub(super) async fn open_head(&mut self, text: &str) -> Result<(Head, bool), SyncError> {
        let mut written = false;
        let mut opened = Head::open(text, self.trusted.signers());
        let lacking = match &opened {
            Ok(head) => self.trusted.lacks(head.trust),
            Err(StatementError::Note(NoteError::UnknownSigner)) => self.trusted.has_roots(),
            Err(_) => false,
        };
        if lacking {
            self.look_for_trust().await?;
            opened = Head::open(text, self.trusted.signers());
        }
        let head = opened.map_err(|error| SyncError::Untrusted(format!("the source's head: {error}")))?;
        if let Some(version) = head.trust.filter(|_| self.trusted.lacks(head.trust)) {
            return Err(SyncError::Untrusted(format!(
                "the source's head names trust note {version}, which the source does not have"
            )));
        }
        self.trusted.admit(&head)?;
        if head.trust.is_some() && !self.trusted.has_roots() && !self.carrying.told_of_root {
            self.carrying.told_of_root = true;
            tracing::warn!(
                "the set has a trust note, which is not copied; edges that pin its root need it: give --root"
            );
        }
        self.carrying.set = Some(head.set.clone());
        if head.trust.is_some() {
            written = self.place(NoteName::Trust).await?;
        }
        Ok((head, written))
    }

    async fn look_for_trust(&mut self) -> Result<(), SyncError> {
        let answer = self.source.note(NoteName::Trust, false).await?;
        if let Answer::Text(text) = answer {
            let age = self.trusted.take(&text).inspect_err(|_| self.source.forget_note(NoteName::Trust))?;
            self.took_trust(age, text);
        }
        self.carrying.looked_for_trust = Some(Instant::now());
        Ok(())
    }

    fn took_trust(&mut self, age: Age, text: String) {
        match age {
            Age::News => {
                // What was believed of the target may have been signed by a key that is believed no more. Its head is looked
                // at beside the source's, also where that is the one we have.
                self.known = None;
                self.source.forget_note(NoteName::Head);
                self.carrying.set = self.trusted.set().map(str::to_owned);
            }
            Age::Same if self.carrying.trust.text.as_ref() == Some(&text) => return,
            Age::Same => {}
            Age::Older => {
                tracing::warn!("the source's trust note is older than one seen before, and is not copied");
                return;
            }
        }
        self.carrying.trust = Carried { text: Some(text), placed: false };
    }

    async fn look_for_deny(&mut self) -> Result<(), SyncError> {
        let text = match self.carrying.found.take() {
            Some(text) => text,
            None => match self.source.note(NoteName::Deny, false).await? {
                Answer::Text(text) => text,
                Answer::Missing | Answer::Unchanged => return Ok(()),
            },
        };
        if self.carrying.deny.text.as_ref() == Some(&text) {
            return Ok(());
        }
        self.check_deny(&text).inspect_err(|_| self.source.forget_note(NoteName::Deny))?;
        self.carrying.deny = Carried { text: Some(text), placed: false };
        Ok(())
    }

    fn check_deny(&self, text: &str) -> Result<(), SyncError> {
        let name = NoteName::Deny;
        let (set, number) = self.trusted.read(name, text).map_err(|error| untrusted(name, error))?;
        if self.carrying.set.as_ref().is_some_and(|expected| *expected != set) {
            return Err(SyncError::Refused { what: "the source's deny note", refusal: Refusal::OtherSet });
        }
        let before = self.carrying.deny.text.as_ref().and_then(|text| self.trusted.read(name, text).ok());
        if before.is_some_and(|(_, before)| number < before) {
            return Err(SyncError::Refused { what: "the source's deny note", refusal: Refusal::Rollback });
        }
        Ok(())
    }

    /// Writes a note to the target, if that lacks it. True where it was written, or would be.
    async fn place(&mut self, name: NoteName) -> Result<bool, SyncError> {
        let may_be_there = name == NoteName::Trust && self.trusted.has_roots();
        let carried = self.carrying.of(name);
        if carried.placed || (carried.text.is_none() && !may_be_there) {
            return Ok(false);
        }
        for _ in 0..RACES {
            let held = self.target.note(name).await?;
            if may_be_there {
                self.take_targets_trust(held.as_ref().map(|held| held.text.as_str()));
            }
            let Some(text) = self.carrying.of(name).text.clone() else {
                self.carrying.of(name).placed = true;
                return Ok(false);
            };
            if !self.is_due(name, &text, held.as_ref().map(|held| held.text.as_str()))? {
                self.carrying.of(name).placed = true;
                return Ok(false);
            }
            self.refuse_other_target(&text).await?;
            if self.options.dry_run {
                self.carrying.of(name).placed = true;
                return Ok(true);
            }
            match self.target.put_note(name, &text, held.as_ref()).await? {
                Written::Yes(_) => {
                    self.carrying.of(name).placed = true;
                    return Ok(true);
                }
                Written::Later(wait) => sleep(wait).await,
                Written::Raced => {}
            }
        }
        Err(SyncError::Raced)
    }

    /// A target may have been given a later trust note than the source has; then it is gone by.
    fn take_targets_trust(&mut self, held: Option<&str>) {
        let Some(held) = held else { return };
        if matches!(self.trusted.take(held), Ok(Age::News)) {
            self.took_trust(Age::News, held.to_owned());
        }
    }

    /// Whether a note is to be written in the place of what the target has.
    fn is_due(&self, name: NoteName, text: &str, held: Option<&str>) -> Result<bool, SyncError> {
        let Some(held) = held.filter(|held| *held != text) else { return Ok(held.is_none()) };
        let (set, number) = self.trusted.read(name, text).map_err(|error| untrusted(name, error))?;
        let (there, there_number) = match self.trusted.read(name, held) {
            Ok(read) => read,
            Err(StatementError::Version) => {
                return Err(SyncError::Untrusted(format!(
                    "the target's {} note is of a newer format than this program's: use a newer program",
                    name.as_str()
                )));
            }
            Err(error) => {
                tracing::warn!(%error, name = name.as_str(), "a note of the target is not believed and will be replaced");
                return Ok(true);
            }
        };
        if there != set {
            return Err(SyncError::Refused { what: "the source against the target", refusal: Refusal::OtherSet });
        }
        if there_number == number && statement(text) != statement(held) {
            return Err(contradiction(name, number));
        }
        if there_number > number {
            tracing::warn!(name = name.as_str(), number, there_number, "the target has a later note, which stays");
        }
        // The same one with a further signature is for readers who know that signer only.
        Ok(there_number < number || (there_number == number && held.len() < text.len()))
    }

    /// Notes are written before heads are compared: a target that is another set's must show before that.
    async fn refuse_other_target(&self, text: &str) -> Result<(), SyncError> {
        let head = self.target.note(NoteName::Head).await?;
        let there = head.as_ref().and_then(|head| claimed_set(&head.text));
        if there.is_some_and(|there| claimed_set(text) != Some(there)) {
            return Err(SyncError::Refused { what: "the source against the target", refusal: Refusal::OtherSet });
        }
        Ok(())
    }
}
