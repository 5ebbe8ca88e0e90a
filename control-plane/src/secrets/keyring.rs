//! The keys of one set, ready for use.

use std::sync::Arc;

use nightlatch_keyset::Pepper;
use nightlatch_keyset::note::Signer;

use super::Secrets;
use crate::store::workspaces::Set;

/// What signs a set's heads and lists, and what its tags are made with. The first start's come first.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Keys that may sign heads.
    pub signers: Vec<Arc<Signer>>,
    /// Keys that may sign the list of those; none where they are kept elsewhere.
    pub roots: Vec<Arc<Signer>>,
    /// Peppers.
    pub peppers: Vec<Pepper>,
}

impl Keyring {
    /// The keys of a set; `None` where its id or a pepper's cannot be.
    ///
    /// Signing keys are one for all sets: what they sign names its set, and so does the signer's name that edges pin, so a
    /// note of one set is a stranger's to every other. No edge and no tenant ever has one.
    pub fn of(secrets: &Secrets, set: &Set) -> Option<Self> {
        let arcs = |signers: Vec<Signer>| signers.into_iter().map(Arc::new).collect();
        let (peppers, set) = (secrets.peppers_of(set.id.as_str(), set.own_pepper), set.id.as_str());
        let peppers = peppers.iter().map(|pepper| Pepper::new(&pepper.id, set, pepper.expose()).ok());
        Some(Self {
            signers: arcs(secrets.head_signers(set).ok()?),
            roots: arcs(secrets.root_signers(set).ok()?),
            peppers: peppers.collect::<Option<_>>()?,
        })
    }

    /// The signer with this verifier key.
    pub fn signer(&self, vkey: &str) -> Option<&Arc<Signer>> {
        self.signers.iter().find(|signer| signer.verifier().to_vkey() == vkey)
    }

    /// Whether a pepper is held.
    pub fn holds_pepper(&self, id: &str) -> bool {
        self.peppers.iter().any(|pepper| pepper.id() == id)
    }
}
