//! Whom an edge believes, and what becomes of what it had from those it believes no more.

use nightlatch_keyset::Trust;

use super::Edge;
use crate::{Refusal, Serving};

impl<P> Edge<P> {
    /// Takes a trust note. True where it is news.
    ///
    /// Where it no longer lists the key that signed the head in force, or a delta on the way there, all of it is let go: the
    /// key may be a thief's, and what a delta of several versions says is not in the commitment. What this edge had accepted
    /// from it does not count any more either, or a thief could have made it refuse every head to come; instead, nothing below
    /// the note's floor is accepted. Deny notes of that key go too, or one of the highest number would shut out all others.
    ///
    /// # Errors
    /// [`Refusal`] where it is not signed by a root, of another set, or older than one taken before.
    pub fn take_trust(&mut self, note: &str) -> Result<bool, Refusal> {
        let Some(removed) = self.trusted.take(note, &self.config)? else { return Ok(false) };
        let gone = |signer: [u8; 4]| !self.trusted.signers().iter().any(|key| key.id() == signer);
        let led_by_gone = |serving: &Serving<P>| gone(serving.signer) || serving.led_by.iter().copied().any(gone);
        if self.serving.as_ref().is_some_and(led_by_gone) {
            (self.serving, self.pending) = (None, None);
        }
        if self.pending.as_ref().is_some_and(|pending| gone(pending.signer)) {
            // Half-way to a head that is no longer believed.
            (self.serving, self.pending) = (None, None);
        }
        if removed && self.marked_by.is_none_or(gone) {
            (self.mark, self.marked_by) = (None, None);
        }
        self.denied.keep(self.trusted.all());
        if let Some(serving) = &mut self.serving {
            serving.denied = self.denied.digests();
        }
        Ok(true)
    }

    /// The trust note it goes by, to be kept by a durable edge and given back after a restart.
    pub fn trust_note(&self) -> Option<&str> {
        self.trusted.note()
    }

    /// What that note says.
    pub fn trust(&self) -> Option<&Trust> {
        self.trusted.trust()
    }

    /// Whether it is time to look for a deny note, the object `deny` beside the head: nothing has been heard of the control
    /// plane for more than a quarter of a head's validity. As long as it is heard of, heads say what has ended.
    pub fn wants_deny(&self, now: u64) -> bool {
        self.serving
            .as_ref()
            .is_none_or(|Serving { head, .. }| now.saturating_sub(head.issued) > (head.valid_until - head.issued) / 4)
    }

    /// Takes a deny note: the keys it names are revoked here from now on. True where it names new ones.
    ///
    /// # Errors
    /// [`Refusal`] where it is not signed by a root or a signer of heads, or of another set.
    pub fn take_deny(&mut self, note: &str) -> Result<bool, Refusal> {
        let news = self.denied.take(note, &self.config.set, self.trusted.all())?;
        if news && let Some(serving) = &mut self.serving {
            serving.denied = self.denied.digests();
        }
        Ok(news)
    }

    /// The deny note it goes by, to be kept by a durable edge and given back after a restart.
    pub fn deny_note(&self) -> Option<&str> {
        self.denied.note()
    }

    /// The id of the key that signed the head which that was; `None` where nobody has said so since a restart. A durable edge
    /// keeps it beside the mark.
    pub fn marked_by(&self) -> Option<[u8; 4]> {
        self.marked_by
    }

    /// Says who signed the head that the mark kept from before a restart is of. Without it, the mark counts as a thief's as
    /// soon as any key is taken off the list.
    pub fn set_marked_by(&mut self, signer: [u8; 4]) {
        self.marked_by = Some(signer);
    }
}
