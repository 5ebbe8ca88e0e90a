//! One small set, always the same, that inputs are held against.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use nightlatch_key::{Brand, Digest, Environment};
use nightlatch_keyset::note::{Signer, Verifier};
use nightlatch_keyset::{
    Author, BaseBuilder, BaseFiles, BaseInfo, Change, Columns, Commitment, Hash, Head, Layout, Pepper, PrincipalKind,
    Profile, Replica, Status, Tag,
};

/// The set's id.
pub const SET: &str = "set_0123456789";
/// Keys of its base.
pub const BASE_KEYS: u32 = 40;
/// Keys that version 2 adds.
pub const ADDED_KEYS: u32 = 6;

/// The set: version 1 is its base, version 2 adds keys, version 3 is the next base.
pub struct Stand {
    /// Who signs everything.
    pub signer: Signer,
    /// The one verifier of the above.
    pub verifiers: [Verifier; 1],
    /// The files of the base at version 1.
    pub base: BaseFiles,
    /// The head of version 2.
    pub head: Head,
    /// A replica at version 2 that has not touched a segment of its base.
    pub replica: Replica,
    /// The publisher at version 2.
    pub author: Author,
    /// The file of the delta to version 2.
    pub delta: Vec<u8>,
    /// The head of version 3.
    pub rebased: Head,
    /// The record that leads there.
    pub record: Vec<u8>,
}

/// The set.
pub fn stand() -> &'static Stand {
    static STAND: OnceLock<Stand> = OnceLock::new();
    STAND.get_or_init(|| Stand::new().expect("the stand is always the same"))
}

/// The tag of the key with that number.
pub fn tag(number: u32) -> Tag {
    static PEPPER: OnceLock<Pepper> = OnceLock::new();
    let pepper = PEPPER.get_or_init(|| Pepper::new("p1", SET, &[5; 32]).expect("a pepper"));
    pepper.tag(&Digest::of(&number.to_le_bytes()))
}

/// A profile with those scopes.
pub fn profile(scopes: &[&str], live: Option<u32>) -> Profile {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    let (kind, environment) = (PrincipalKind::ServiceAccount, Environment::Live);
    Profile { kind, environment, tier: Some("gold".into()), scopes, live, refused: false }
}

/// The state of the key with that number, of that profile.
pub fn key(number: u32, profile: &Profile) -> Change<'_> {
    Change {
        tag: tag(number),
        status: if number.is_multiple_of(5) { Status::Retiring } else { Status::Active },
        foreign: number.is_multiple_of(7),
        deadline: number.is_multiple_of(3).then_some(1_900_000_000 + u64::from(number)),
        profile,
        subject: number % 4,
        number,
    }
}

impl Stand {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let signer = Signer::new("nightlatch/set_0123456789", &[1; 32])?;
        let profiles = [profile(&["a", "b"], None), profile(&[], None), profile(&["c"], Some(2))];
        let mut head = first_head()?;
        let info = BaseInfo {
            set: SET.into(),
            workspace: head.workspace.clone(),
            pepper: head.pepper.clone(),
            incarnation: 0,
            epoch: 1,
            version: 1,
            cutoff: 0,
        };
        let mut builder = BaseBuilder::new(info, Layout::for_keys(BASE_KEYS.into(), Columns::ALL), BASE_KEYS.into())?;
        for number in 0..BASE_KEYS {
            builder.push(&key(number, &profiles[number as usize % 3]))?;
        }
        let base = builder.finish()?;
        name_base(&mut head, &base);
        let mut author = Author::new(Replica::load(base.index.clone(), base.parts.clone(), &head)?)?;
        let added: Vec<Change<'_>> = (100..100 + ADDED_KEYS).map(|number| key(number, &profiles[0])).collect();
        let delta = author.next(&added, &[], &signer)?;
        (head.version, head.commitment) = (2, delta.commitment);
        head.keys += u64::from(ADDED_KEYS);
        let verifiers = [signer.verifier()];
        let mut replica = Replica::load(base.index.clone(), base.parts.clone(), &head)?;
        replica.advance(&[nightlatch_keyset::Delta::open(&delta.bytes, &verifiers)?], &head)?;

        let ended = BTreeSet::from([tag(3), tag(9), tag(101)]);
        let next = author.rebase(1_000_000_000, author.replica().layout(), &ended)?;
        let record = next.record.ok_or("the layout is the same")?;
        let mut rebased = head.clone();
        name_base(&mut rebased, &next.files);
        rebased.rebase = Some((Hash::of(&record), record.len() as u64));
        Ok(Self { signer, verifiers, base, head, replica, author, delta: delta.bytes, rebased, record })
    }
}

fn first_head() -> Result<Head, Box<dyn std::error::Error>> {
    Ok(Head {
        set: SET.into(),
        workspace: "ws_0123456789".into(),
        brand: Brand::new("nl")?,
        incarnation: 0,
        epoch: 0,
        version: 0,
        commitment: Commitment::START,
        keys: 0,
        base_version: 0,
        base_commitment: Commitment::START,
        base_root: Hash::of(b""),
        base_len: 0,
        base_parts: Vec::new(),
        rebase: None,
        pepper: "p1".into(),
        pepper_check: tag(0),
        accepts_foreign: true,
        policy: Hash::of(b""),
        policy_len: 0,
        issued: 1_800_000_000_000,
        valid_until: 1_800_000_060_000,
        skew: 5_000,
        open_until: None,
        trust: None,
        audit: None,
    })
}

/// Makes a base the next version of a head.
fn name_base(head: &mut Head, base: &BaseFiles) {
    (head.epoch, head.version) = (head.epoch + 1, head.version + 1);
    head.base_root = base.root;
    head.base_len = base.index.len() as u64;
    head.base_parts = base.parts.iter().map(|part| part.len() as u64).collect();
    head.commitment = head.commitment.then(&base.root);
    (head.base_version, head.base_commitment) = (head.version, head.commitment);
    head.keys = base.keys;
}
