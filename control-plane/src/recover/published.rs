//! A published set, read as an edge would, and as far beyond its head as its files lead: whatever was published counts.

use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Delta, FileName, Head, MAX_DELTA_LEN, Replica, Tag, levels};

use super::Error;
use crate::publisher::PublisherConfig;
use crate::store;
use crate::store::ended::{self, Tagging};
use crate::sync_job::Source;

/// What is published.
pub(super) struct Published {
    pub(super) head: Head,
    /// The verifier key of the key that signed the head.
    pub(super) signer: String,
    /// At the head's version, or beyond.
    pub(super) replica: Replica,
}

impl Published {
    /// Reads and checks the set. `seen` hears of the bytes read.
    pub(super) async fn read(
        source: Source,
        verifiers: &[Verifier],
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Self, Error> {
        let note = source.head().await?.ok_or(Error::NothingPublished)?;
        let head = Head::open(&note, verifiers).map_err(Error::Head)?;
        let signer = verifiers.iter().find(|one| Head::open(&note, std::slice::from_ref(one)).is_ok());
        let signer = signer.map(Verifier::to_vkey).unwrap_or_default();
        let file = async |name: FileName, limit: u64| source.file(&name, limit, seen).await;
        let whole = async |name: FileName, limit: u64| {
            file(name, limit).await?.ok_or_else(|| Error::Broken(name, "is not there".to_owned()))
        };
        let index = whole(head.base_name(), head.base_len).await?;
        let mut parts = Vec::with_capacity(head.base_parts.len());
        for (name, len) in head.part_names().zip(&head.base_parts) {
            parts.push(whole(name, *len).await?);
        }
        let broken = |name: FileName| move |error: nightlatch_keyset::Refused| Error::Broken(name, error.to_string());
        let mut replica = Replica::load(index, parts, &head).map_err(broken(head.base_name()))?;
        let mut deltas = Vec::new();
        for (from, to) in levels::path(0, head.version - head.base_version) {
            let name = head.delta_name(head.base_version + from, head.base_version + to);
            let bytes = whole(name, MAX_DELTA_LEN as u64).await?;
            deltas.push(Delta::open(&bytes, verifiers).map_err(|error| Error::Broken(name, error.to_string()))?);
        }
        replica.advance(&deltas, &head).map_err(broken(head.base_name()))?;
        // A version is committed before its files are written and its head comes last.
        loop {
            let name = head.delta_name(replica.version(), replica.version() + 1);
            let Some(bytes) = file(name, MAX_DELTA_LEN as u64).await? else { break };
            let Ok(delta) = Delta::open(&bytes, verifiers) else { break };
            let commitment = *delta.to_commitment();
            let next = replica.version() + 1;
            replica.advance_to(&[delta], next, &commitment).map_err(broken(name))?;
        }
        Ok(Self { head, signer, replica })
    }

    /// The head in the control plane's own directory, where it is to be believed; whatever copy is read.
    pub(super) async fn here(config: &PublisherConfig, verifiers: &[Verifier]) -> Result<Option<Head>, Error> {
        let directory = config.directory.clone();
        let note = tokio::task::spawn_blocking(move || directory.head()).await.map_err(|_| store::Error::Closed)?;
        // One that cannot be read says nothing.
        let head = note.ok().flatten().and_then(|note| Head::open(&note, verifiers).ok());
        Ok(head.filter(|head| head.set == config.set.as_str()))
    }

    /// The bits of a tag that the set's files have.
    pub(super) fn cut(&self, tag: &Tag) -> [u8; Tag::LEN] {
        ended::cut(tag, self.replica.layout().tag_bits())
    }

    /// What its tags are made with.
    pub(super) fn tagging(&self) -> Tagging {
        Tagging { pepper: self.head.pepper.clone(), tag_bits: self.replica.layout().tag_bits() }
    }
}
