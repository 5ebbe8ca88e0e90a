//! Finding the published state again, and mending its files.
//!
//! The database decides. Every file that the stored head implies is checked against the hashes that were signed; one that
//! is missing or damaged is made again from the change rows, byte for byte, and checked likewise. Files that are ahead of
//! the database, or a history other than the database's, are never overwritten.

use nightlatch_keyset::note::NoteError;
use nightlatch_keyset::{BaseInfo, Delta, FileName, Hash, Head, HeadError, MAX_DELTA_LEN, ProfileTable, Replica};
use nightlatch_sync::Mark;

use super::blocking;
use super::config::PublisherConfig;
use super::cut;
use super::directory::SetDirectory;
use super::epoch::Epoch;
use super::error::Error;
use super::numbering::{encode, policy_file};
use crate::store::publication::{self, Cut, SetState};
use crate::store::{self, Store};

/// What was found.
pub(super) struct Loaded {
    /// The published state; `None` before the first base.
    pub(super) epoch: Option<Epoch>,
    /// A cut that was begun and not finished.
    pub(super) cut: Option<Cut>,
    /// Files that had to be written again.
    pub(super) mended: Vec<String>,
}

/// Checks the directory against the database and mends it.
pub(super) async fn load(store: &Store, config: &PublisherConfig) -> Result<Loaded, Error> {
    let (state, cut) = {
        let mut read = store.read().await?;
        (publication::state(&mut read, &config.set).await?, publication::open_cut(&mut read, &config.set).await?)
    };
    let directory = config.directory.clone();
    blocking(move || Ok(directory.create()?)).await?;
    let stored = stored_head(&state, config)?;
    refuse_if_ahead(config, stored.as_ref().map(|(head, _)| head)).await?;
    let Some((head, note)) = stored else {
        return Ok(Loaded { epoch: None, cut, mended: Vec::new() });
    };

    let mut mender = Mender { store, config, mended: Vec::new() };
    mender.policy(&head).await?;
    let base = mender.base(&head).await?;
    let mut replica = Replica::load(base, &head)?;
    mender.deltas(&head, &mut replica).await?;
    let epoch = Epoch::new(head, note, replica)?;
    mender.head(&epoch.note).await?;
    Ok(Loaded { epoch: Some(epoch), cut, mended: mender.mended })
}

fn stored_head(state: &SetState, config: &PublisherConfig) -> Result<Option<(Head, String)>, Error> {
    let Some(note) = &state.head else {
        if state.version != 0 {
            return Err(store::Error::Corrupt("head").into());
        }
        return Ok(None);
    };
    let head = Head::open(note, &config.verifiers()).map_err(Error::StoredHead)?;
    let stored = (state.incarnation, state.epoch, state.version, state.commitment);
    if head.set != config.set.as_str() || stored != (head.incarnation, head.epoch, head.version, head.commitment) {
        return Err(Error::contradiction("the stored head is not of the stored state"));
    }
    Ok(Some((head, note.clone())))
}

/// Refuses to go on from a database that is older than what has been published. A file is written only after the
/// transaction it belongs to is committed, so any file of a later state says so.
async fn refuse_if_ahead(config: &PublisherConfig, stored: Option<&Head>) -> Result<(), Error> {
    let directory = config.directory.clone();
    let (note, files) = blocking(move || Ok((directory.head()?, directory.list()?))).await?;
    let state = stored.map_or((0, 0, 0), |head| (head.incarnation, head.epoch, head.version));
    if let Some(note) = note {
        match (Head::open(&note, &config.verifiers()), stored) {
            (Ok(published), None) => return Err(Error::Ahead { what: describe(&published) }),
            (Ok(published), Some(stored)) => compare_heads(&published, stored)?,
            (Err(HeadError::Note(NoteError::UnknownSigner)), _) => {
                return Err(Error::contradiction("the published head was signed with another key than this process's"));
            }
            (Err(error), _) => tracing::warn!(%error, "the published head is damaged and will be written again"),
        }
    }
    let ahead = files.into_iter().find(|name| match *name {
        FileName::Base { incarnation, epoch } => (incarnation, epoch) > (state.0, state.1),
        FileName::Delta { incarnation, epoch, to, .. } => (incarnation, epoch, to) > state,
        FileName::Policy(_) => false,
    });
    match ahead {
        Some(name) => Err(Error::Ahead { what: name.to_text() }),
        None => Ok(()),
    }
}

fn compare_heads(published: &Head, stored: &Head) -> Result<(), Error> {
    let (there, here) = (Mark::of(published), Mark::of(stored));
    if published.set != stored.set {
        return Err(Error::contradiction("the directory holds another set"));
    }
    if there > here {
        return Err(Error::Ahead { what: describe(published) });
    }
    if there.state() == here.state() && published.commitment != stored.commitment {
        return Err(Error::contradiction("the published head has another history at the database's version"));
    }
    Ok(())
}

fn describe(head: &Head) -> String {
    format!(
        "the published head (incarnation {}, epoch {}, version {}, issued {})",
        head.incarnation, head.epoch, head.version, head.issued
    )
}

/// Checks files, and makes those again that are not what was signed.
struct Mender<'a> {
    store: &'a Store,
    config: &'a PublisherConfig,
    mended: Vec<String>,
}

impl Mender<'_> {
    async fn policy(&mut self, head: &Head) -> Result<(), Error> {
        let name = head.policy_name();
        let there = self.read(&name, head.policy_len).await?;
        if there.is_none_or(|bytes| Hash::of(&bytes) != head.policy) {
            let bytes = policy_file(&mut self.store.read().await?, &self.config.set, &head.policy).await?;
            self.write(&name, bytes).await?;
        }
        Ok(())
    }

    async fn base(&mut self, head: &Head) -> Result<Vec<u8>, Error> {
        let name = head.base_name();
        let root = head.base_root;
        if let Some(bytes) = self.read(&name, head.base_len).await? {
            let (bytes, right) = blocking(move || {
                let right = Hash::of(&bytes) == root;
                Ok((bytes, right))
            })
            .await?;
            if right {
                return Ok(bytes);
            }
        }
        let epochs = publication::epochs(&mut self.store.read().await?, &self.config.set).await?;
        let row = epochs
            .into_iter()
            .find(|row| (row.incarnation, row.epoch) == (head.incarnation, head.epoch))
            .ok_or(store::Error::Corrupt("epoch"))?;
        if (row.version, row.root, row.commitment) != (head.base_version, head.base_root, head.base_commitment) {
            return Err(Error::contradiction("the stored head names another base than the stored epoch"));
        }
        let info = BaseInfo {
            set: head.set.clone(),
            workspace: head.workspace.clone(),
            pepper: row.pepper_id,
            incarnation: row.incarnation,
            epoch: row.epoch,
            version: row.version,
            cutoff: row.cutoff,
        };
        let built = cut::build(self.store, self.config, info, None).await?;
        if built.root != root || built.keys != row.keys {
            return Err(Error::file_contradicts(&name, "comes out with another root than the one that was signed"));
        }
        self.write(&name, built.bytes.clone()).await?;
        Ok(built.bytes)
    }

    async fn deltas(&mut self, head: &Head, replica: &mut Replica) -> Result<(), Error> {
        let links =
            publication::delta_links(&mut self.store.read().await?, &self.config.set, head.base_version, head.version)
                .await?;
        for version in head.base_version + 1..=head.version {
            let link = links.get(&version).ok_or(store::Error::Corrupt("version"))?;
            let name = head.delta_name(version - 1);
            let expected = Head { version, commitment: replica.commitment().then(link), ..head.clone() };
            let there = self.read(&name, MAX_DELTA_LEN as u64).await?;
            let there = there.and_then(|bytes| Delta::open(&bytes, &self.config.verifiers()).ok());
            if there.is_none_or(|delta| replica.advance(&[delta], &expected).is_err()) {
                let delta = self.rebuild_delta(replica, &expected).await?;
                if delta.link != *link {
                    return Err(Error::file_contradicts(&name, "comes out otherwise than it was signed"));
                }
                replica.advance(&[delta.opened], &expected)?;
                self.write(&name, delta.bytes).await?;
            }
        }
        if *replica.commitment() != head.commitment {
            return Err(Error::contradiction("the stored versions do not lead to the stored head's commitment"));
        }
        Ok(())
    }

    async fn rebuild_delta(&self, replica: &Replica, head: &Head) -> Result<super::numbering::EncodedDelta, Error> {
        let pepper = self.config.pepper(&head.pepper)?;
        let mut profiles = ProfileTable::of(replica.profiles())?;
        encode(&mut self.store.read().await?, self.config, pepper, replica, &mut profiles)
            .await?
            .ok_or_else(|| Error::file_contradicts(&head.delta_name(head.version - 1), "comes out too long"))
    }

    async fn head(&mut self, note: &str) -> Result<(), Error> {
        let (directory, note) = (self.config.directory.clone(), note.to_owned());
        let written = blocking(move || {
            let stale = directory.head()?.as_ref() != Some(&note);
            if stale {
                directory.put_head(&note)?;
            }
            Ok(stale)
        })
        .await?;
        if written {
            self.mended.push(super::directory::HEAD.to_owned());
        }
        Ok(())
    }

    async fn read(&self, name: &FileName, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let (directory, name) = (self.config.directory.clone(), *name);
        blocking(move || Ok(directory.file(&name, limit)?)).await
    }

    async fn write(&mut self, name: &FileName, bytes: Vec<u8>) -> Result<(), Error> {
        let directory: SetDirectory = self.config.directory.clone();
        let file = *name;
        blocking(move || Ok(directory.put(&file, &bytes)?)).await?;
        self.mended.push(name.to_text());
        Ok(())
    }
}
