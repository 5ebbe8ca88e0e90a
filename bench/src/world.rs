//! A key set without a control plane: its keys are numbers, and everything about a key follows from its number.

use anyhow::{Result, anyhow};
use nightlatch_key::{Brand, CLOCK_ORIGIN, Environment, KeyText, mint};
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{
    Author, BaseBuilder, BaseFiles, BaseInfo, Change, Columns, Commitment, Hash, Head, Layout, Pepper, PrincipalKind,
    Profile, Replica, Status, Tag,
};

use crate::random::{Random, mixed};

pub(crate) const SET: &str = "set_0123456789";
/// Profiles, spread evenly: 10 bits each key.
pub(crate) const PROFILE_BITS: u32 = 10;
/// Deadlines lie in a window of so many seconds: 25 bits each key that has one.
pub(crate) const DEADLINE_BITS: u32 = 25;
/// Subjects, spread evenly: 20 bits each key.
pub(crate) const SUBJECT_BITS: u32 = 20;
/// Of 256 keys so many have no deadline.
pub(crate) const ENDLESS: u64 = 102;
/// Unix milliseconds at which everything here happens.
pub(crate) const NOW: u64 = 1_800_000_000_000;

const WORKSPACE: &str = "ws_0123456789";
const PEPPER: &str = "p1";

/// How a key's tag follows from its number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tags {
    /// Random bits: as good as any, and fast.
    Random,
    /// The tag of a minted key's text.
    Minted,
}

/// Who publishes, and what.
pub(crate) struct World {
    pub(crate) signer: Signer,
    pub(crate) pepper: Pepper,
    pub(crate) columns: Columns,
    tags: Tags,
    profiles: Vec<Profile>,
}

impl World {
    pub(crate) fn new(tags: Tags, subject: bool) -> Result<Self> {
        let profiles = 0..1_u32 << PROFILE_BITS;
        Ok(Self {
            signer: Signer::new(&format!("nightlatch/{SET}"), &[1; 32])?,
            pepper: Pepper::new(PEPPER, SET, &[5; 32])?,
            columns: Columns { subject, number: false },
            tags,
            profiles: profiles
                .map(|number| Profile {
                    kind: PrincipalKind::ServiceAccount,
                    environment: Environment::Live,
                    tier: Some("gold".into()),
                    scopes: vec![format!("scope-{number:04}:read"), format!("scope-{number:04}:write")],
                    live: None,
                    refused: false,
                })
                .collect(),
        })
    }

    /// The text of a key.
    pub(crate) fn text(&self, number: u64) -> Result<KeyText> {
        let mut random = Random(mixed(number) << 8);
        let mut fill = |bytes: &mut [u8]| bytes.iter_mut().for_each(|byte| *byte = random.next() as u8);
        Ok(mint(&brand()?, Environment::Live, NOW / 1_000 - 1_000_000, &mut fill))
    }

    /// The tag of a key.
    pub(crate) fn tag(&self, number: u64) -> Tag {
        if self.tags == Tags::Minted
            && let Ok(text) = self.text(number)
        {
            return self.pepper.tag(&text.digest());
        }
        random_tag(number)
    }

    /// The key as it was issued.
    pub(crate) fn key(&self, number: u64) -> Change<'_> {
        let bits = mixed(!number);
        let subject = (bits >> 44) as u32 & ((1 << SUBJECT_BITS) - 1);
        Change {
            tag: self.tag(number),
            status: Status::Active,
            foreign: false,
            deadline: (bits & 0xff >= ENDLESS).then(|| deadline(bits >> 8)),
            profile: self.profile(bits >> 34),
            subject: if self.columns.subject { subject } else { 0 },
            number: 0,
        }
    }

    /// One of the profiles, by any number.
    pub(crate) fn profile(&self, bits: u64) -> &Profile {
        &self.profiles[bits as usize % self.profiles.len()]
    }

    pub(crate) fn info(&self) -> BaseInfo {
        BaseInfo {
            set: SET.into(),
            workspace: WORKSPACE.into(),
            pepper: PEPPER.into(),
            incarnation: 0,
            epoch: 1,
            version: 1,
            cutoff: NOW / 1_000,
        }
    }

    /// The base of the keys 0 to `keys`.
    pub(crate) fn base(&self, keys: u32) -> Result<BaseFiles> {
        let keys = u64::from(keys);
        let mut builder = BaseBuilder::new(self.info(), Layout::for_keys(keys, self.columns), keys)?;
        for number in 0..keys {
            builder.push(&self.key(number))?;
        }
        Ok(builder.finish()?)
    }

    /// The head of a base.
    pub(crate) fn head(&self, files: &BaseFiles) -> Result<Head> {
        let commitment = Commitment::START.then(&files.root);
        Ok(Head {
            set: SET.into(),
            workspace: WORKSPACE.into(),
            brand: brand()?,
            incarnation: 0,
            epoch: 1,
            version: 1,
            commitment,
            keys: files.keys,
            base_version: 1,
            base_commitment: commitment,
            base_root: files.root,
            base_len: files.index.len() as u64,
            base_parts: lengths(files),
            rebase: None,
            pepper: PEPPER.into(),
            pepper_check: self.pepper.check(),
            accepts_foreign: false,
            policy: Hash::of(b""),
            policy_len: 0,
            issued: NOW,
            valid_until: NOW + 60_000,
            skew: 5_000,
            open_until: None,
            trust: None,
            audit: None,
        })
    }

    /// A replica and a publisher at a base.
    pub(crate) fn start(&self, files: &BaseFiles) -> Result<(Replica, Author)> {
        let head = self.head(files)?;
        let load = || Replica::load(files.index.clone(), files.parts.clone(), &head).map_err(|e| anyhow!("{e}"));
        Ok((load()?, Author::new(load()?)?))
    }
}

/// The lengths of a base's parts.
pub(crate) fn lengths(files: &BaseFiles) -> Vec<u64> {
    files.parts.iter().map(|part| part.len() as u64).collect()
}

/// A tag of random bits.
pub(crate) fn random_tag(number: u64) -> Tag {
    let mut bytes = [0; Tag::LEN];
    bytes[..8].copy_from_slice(&mixed(number).to_be_bytes());
    bytes[8..16].copy_from_slice(&mixed(number ^ 0xaaaa_0000_0000_0000).to_be_bytes());
    bytes[16] = mixed(number ^ 0x5555_0000_0000_0000) as u8;
    Tag::from_bytes(bytes)
}

/// A deadline in the window, by any number.
pub(crate) fn deadline(bits: u64) -> u64 {
    CLOCK_ORIGIN + (1 << 28) + (bits & ((1 << DEADLINE_BITS) - 1))
}

fn brand() -> Result<Brand> {
    Ok(Brand::new("nl")?)
}
