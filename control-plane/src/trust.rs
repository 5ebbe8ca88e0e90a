//! Which keys sign a set's heads, and how one takes another's place.
//!
//! A root key signs the list of those keys, the trust note; edges pin the root. A head-signing key is replaced by a note
//! that lists both, then by one that lists the new one alone, when nobody relies on a head of the old one any more. A
//! stolen one is left out at once. Everything happens in the database: running control planes see it there.

use std::sync::Arc;

use nightlatch_keyset::note::{self, NoteError, Signer, Verifier};
use nightlatch_keyset::{StatementError, Trust};

use crate::domain::{SetId, WorkspaceId};
use crate::secrets::Keyring;
use crate::store::trust::{self, Signing, TrustRow};
use crate::store::{self, Context, Read, Store, Tx};

/// How much longer than anybody may rely on its heads a replaced key is listed, in milliseconds.
pub const GRACE_MS: u64 = 60_000;

/// Why the list of keys is not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is no list yet.
    #[error("the set has no trust note yet: start the control plane once where its root key is")]
    None,
    /// A root key that may sign is not here.
    #[error(
        "no root key of this set is here: put the unsigned note into a file with `nightlatch trust request`, sign it where \
         the key is with `nightlatch trust sign`, and bring it back with `nightlatch trust import`"
    )]
    NoRoot,
    /// A note is not to be believed.
    #[error("the trust note is not to be believed: {0}")]
    Untrusted(StatementError),
    /// A note is signed wrongly.
    #[error("the trust note cannot be signed: {0}")]
    Unsigned(NoteError),
    /// A note is not the next.
    #[error("the trust note has version {found}, the next one is {expected}")]
    NotNext {
        /// Its version.
        found: u64,
        /// The next.
        expected: u64,
    },
    /// A note is of another set.
    #[error("the trust note is of set {0}")]
    OtherSet(String),
    /// A note lists no key that this control plane holds.
    #[error("the trust note lists no head-signing key that this control plane holds")]
    NoSigner,
    /// It is too early, or there is nothing to do.
    #[error("{0}")]
    NotNow(String),
}

/// What is so now.
pub struct Standing {
    /// What the note in force says.
    pub trust: Trust,
    /// Its text.
    pub note: String,
    /// Which key signs.
    pub signing: Signing,
    /// The database clock, unix milliseconds.
    pub now: u64,
}

impl Standing {
    /// When the keys that no longer sign may be left out, unix milliseconds: nobody relies on their heads then. `None`
    /// where there are none, or the next key has not begun to sign.
    pub fn retire_at(&self) -> Option<u64> {
        let signs = self.signing.signer.is_some() && self.signing.signer == self.signing.signed_by;
        let others = self.trust.signers.len() > 1;
        (signs && others).then(|| self.signing.since.saturating_add(self.signing.relied_on_ms).saturating_add(GRACE_MS))
    }

    /// The next note, saying the same.
    pub fn next(&self) -> Trust {
        Trust { version: self.trust.version + 1, issued: self.now, ..self.trust.clone() }
    }

    /// The next note, with another key that signs: beside those there are, or instead of them, where those may be a thief's.
    /// Then nothing of the current epoch is accepted any more, and whatever a thief has had accepted is forgotten.
    pub fn with_signer(&self, signer: Verifier, at: (u64, u64), compromised: bool) -> Trust {
        let mut next = self.next();
        if compromised {
            next.signers = vec![signer];
            next.floor = [at.0, at.1 + 1, 0].max(next.floor);
        } else {
            next.signers.push(signer);
        }
        next
    }

    /// The next note, with the signing key alone.
    ///
    /// # Errors
    /// [`Error::NotNow`] where heads of others may still be relied on.
    pub fn without_retired(&self) -> Result<Trust, Error> {
        let at = self.retire_at().ok_or_else(|| {
            Error::NotNow("there is no head-signing key to leave out: the note lists the signing one alone".into())
        })?;
        if self.now < at {
            let seconds = (at - self.now).div_ceil(1000);
            return Err(Error::NotNow(format!("edges may rely on heads of the old key for another {seconds} s")));
        }
        let mut next = self.next();
        next.signers.retain(|signer| Some(signer.to_vkey()) == self.signing.signer);
        Ok(next)
    }
}

/// Reads what is so now; `None` before the first note.
///
/// # Errors
/// [`Error::Store`].
pub async fn standing(read: &mut Read, set: &SetId) -> Result<Option<Standing>, Error> {
    let Some(TrustRow { note, .. }) = trust::latest(read, set).await? else { return Ok(None) };
    let trust = parse(&note)?;
    let signing = trust::signing(read, set).await?;
    let now = u64::try_from(read.now().await?).map_err(|_| store::Error::Corrupt("clock"))?;
    Ok(Some(Standing { trust, note, signing, now }))
}

/// Reads a note from the database, which only this program writes.
pub(crate) fn parse(note: &str) -> Result<Trust, Error> {
    let end = note.rfind("\n\n").ok_or(store::Error::Corrupt("trust note"))?;
    Ok(Trust::parse(&note[..=end]).map_err(|_| store::Error::Corrupt("trust note"))?)
}

/// Signs a note with every root key at hand, so that edges believe it whichever of them they pin. At least one has to be
/// one that the note before lists.
///
/// # Errors
/// [`Error::NoRoot`].
pub fn sign(next: &Trust, before: &[Verifier], roots: &[Arc<Signer>]) -> Result<String, Error> {
    let mut able: Vec<_> = roots.iter().collect();
    able.sort_by_key(|root| !before.contains(&root.verifier()));
    let first = able.first().filter(|root| before.contains(&root.verifier())).ok_or(Error::NoRoot)?;
    let mut note = next.sign(first);
    for root in &able[1..] {
        note = note::cosign(&note, root).map_err(Error::Unsigned)?;
    }
    Ok(note)
}

/// Makes the first note, where there is none and the root key is here. Returns the version in force.
///
/// # Errors
/// [`Error::Store`].
pub async fn establish(
    store: &Store,
    workspace: &WorkspaceId,
    set: &SetId,
    keys: &Keyring,
) -> Result<Option<u64>, Error> {
    let (latest, signing, now) = {
        let mut read = store.read().await?;
        (trust::latest(&mut read, set).await?, trust::signing(&mut read, set).await?, read.now().await?)
    };
    let signer = signing.signer.as_ref().and_then(|vkey| keys.signer(vkey));
    let (None, Some(signer), false) = (&latest, signer, keys.roots.is_empty()) else {
        return Ok(latest.map(|row| row.version));
    };
    let roots: Vec<_> = keys.roots.iter().map(|root| root.verifier()).collect();
    let first = Trust {
        set: set.to_string(),
        version: 1,
        issued: u64::try_from(now).map_err(|_| store::Error::Corrupt("clock"))?,
        floor: [0; 3],
        roots: roots.clone(),
        signers: vec![signer.verifier()],
    };
    let note = sign(&first, &roots, &keys.roots)?;
    let (workspace, set) = (workspace.clone(), set.clone());
    let put = store.write(move |tx| {
        Box::pin(async move {
            if let Some(there) = trust::latest(tx, &set).await? {
                return Ok(there.version);
            }
            enter(tx, &workspace, &set, &first, note, "the first start").await?;
            Ok::<_, Error>(1)
        })
    });
    put.await.map(Some)
}

/// Puts a signed note into force, and has the key sign that it means to.
///
/// # Errors
/// [`Error::Untrusted`] where no root of the note before has signed it; [`Error::NotNext`], [`Error::OtherSet`],
/// [`Error::NoSigner`].
pub async fn put_into_force(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    set: &SetId,
    note: String,
    keys: &Keyring,
    why: &str,
) -> Result<Trust, Error> {
    let before = standing(tx, set).await?.ok_or(Error::None)?;
    let next = Trust::open(&note, &before.trust.roots).map_err(Error::Untrusted)?;
    if next.set != set.as_str() {
        return Err(Error::OtherSet(next.set));
    }
    if next.version <= before.trust.version {
        return Err(Error::NotNext { found: next.version, expected: before.trust.version + 1 });
    }
    let signer = signer_of(&before, &next, keys).ok_or(Error::NoSigner)?;
    enter(tx, workspace, set, &next, note, why).await?;
    trust::change_signer(tx, set, &signer).await?;
    Ok(next)
}

/// The key that is to sign under a note: one that it is the first to list, else the one that signs now, else any that is
/// listed and held.
fn signer_of(before: &Standing, next: &Trust, keys: &Keyring) -> Option<String> {
    let held: Vec<_> = next.signers.iter().filter(|one| keys.signer(&one.to_vkey()).is_some()).collect();
    let fresh = held.iter().find(|one| !before.trust.signers.contains(one));
    let same = held.iter().find(|one| Some(one.to_vkey()) == before.signing.signer);
    fresh.or(same).or_else(|| held.first()).map(|one| one.to_vkey())
}

async fn enter(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    set: &SetId,
    trust: &Trust,
    note: String,
    why: &str,
) -> Result<(), Error> {
    let vkeys = |keys: &[Verifier]| keys.iter().map(Verifier::to_vkey).collect::<Vec<_>>();
    let context = Context::system(workspace.clone(), "trust");
    let says = serde_json::json!({
        "version": trust.version, "roots": vkeys(&trust.roots), "signers": vkeys(&trust.signers), "floor": trust.floor,
    });
    Ok(trust::insert(tx, &context, set, &TrustRow { version: trust.version, note }, says, why).await?)
}
