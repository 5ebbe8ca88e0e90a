//! Profiles: what a key may do and for whom, said once for all keys that share it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use nightlatch_key::Environment;

use crate::codec::{Malformed, Reader};
use crate::row::MAX_PROFILES;

/// Scopes in one profile, at most.
const MAX_SCOPES: usize = 1024;
/// Bytes of the shortest profile.
pub(crate) const LEAST_LEN: usize = 6;
/// Characters of a scope or a tier, at most.
const MAX_NAME_LEN: usize = 64;

/// Whom a key acts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalKind {
    /// A paired device.
    Gateway,
    /// An organisation inside a workspace.
    Partner,
    /// A program of the workspace.
    ServiceAccount,
    /// A member.
    User,
}

impl PrincipalKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Partner, Self::ServiceAccount, Self::User];

    /// The name in the API and in route policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Partner => "partner",
            Self::ServiceAccount => "service_account",
            Self::User => "user",
        }
    }

    /// The kind of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The number files store.
    pub const fn code(self) -> u8 {
        match self {
            Self::User => 0,
            Self::ServiceAccount => 1,
            Self::Partner => 2,
            Self::Gateway => 3,
        }
    }

    /// The kind of a stored number, if it has one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// The combination of kind, environment, tier, scopes and flags that keys share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Whom keys of this profile act for.
    pub kind: PrincipalKind,
    /// Where they are meant to be used.
    pub environment: Environment,
    /// The name of their rate limit, if they have one.
    pub tier: Option<String>,
    /// What they may do, ascending, each once.
    pub scopes: Vec<String>,
    /// The subject that a *live* profile belongs to: one member's, in one environment, whose contents are replaced. `None`
    /// for an interned one, which never changes and may be shared.
    pub live: Option<u32>,
    /// Whether its keys are all refused, as disabled ones are: the member it belongs to is suspended or removed. Only a live
    /// profile can say so.
    pub refused: bool,
}

/// The bits of a profile's flags.
const LIVE: u8 = 1;
const REFUSED: u8 = 2;
/// The flags that profiles have in bases and deltas of this version and of the one before.
pub(crate) const FLAGS: u8 = LIVE | REFUSED;
pub(crate) const FLAGS_BEFORE: u8 = LIVE;

impl Profile {
    /// Whether keys of this profile have that scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.binary_search_by(|have| have.as_str().cmp(scope)).is_ok()
    }

    /// The bytes of the profile, the same for equal profiles.
    ///
    /// # Errors
    /// [`Malformed`] where a name is empty or too long, there are too many scopes, or they are not ascending.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(16);
        out.push(self.kind.code());
        out.push(match self.environment {
            Environment::Live => 0,
            Environment::Test => 1,
        });
        if self.refused && self.live.is_none() {
            return Err(Malformed::Value("profile"));
        }
        let refused = if self.refused { REFUSED } else { 0 };
        out.push(u8::from(self.live.is_some()) | refused);
        if let Some(subject) = self.live {
            out.extend_from_slice(&subject.to_le_bytes());
        }
        put_name(&mut out, self.tier.as_deref().unwrap_or_default());
        if self.scopes.len() > MAX_SCOPES || self.tier.as_ref().is_some_and(|t| !is_name(t)) {
            return Err(Malformed::Value("profile"));
        }
        if !self.scopes.is_sorted_by(|a, b| a < b) {
            return Err(Malformed::Order("scopes"));
        }
        out.extend_from_slice(&(self.scopes.len() as u16).to_le_bytes());
        for scope in &self.scopes {
            if !is_name(scope) {
                return Err(Malformed::Value("scope"));
            }
            put_name(&mut out, scope);
        }
        Ok(out)
    }

    /// Reads one profile, of a file whose format's profiles have at most those flags.
    pub(crate) fn decode(reader: &mut Reader<'_>, flags_at_most: u8) -> Result<Self, Malformed> {
        let kind = PrincipalKind::from_code(reader.u8("profile")?).ok_or(Malformed::Value("profile"))?;
        let environment = match reader.u8("profile")? {
            0 => Environment::Live,
            1 => Environment::Test,
            _ => return Err(Malformed::Value("profile")),
        };
        let flags = reader.u8("profile")?;
        // None but a live one is refused.
        if flags > flags_at_most || flags == REFUSED {
            return Err(Malformed::Value("profile"));
        }
        let live = if flags & LIVE != 0 { Some(reader.u32("profile")?) } else { None };
        let tier = match reader.short_text("tier")? {
            "" => None,
            name if is_name(name) => Some(String::from(name)),
            _ => return Err(Malformed::Value("tier")),
        };
        let count = usize::from(reader.u16("profile")?);
        if count > MAX_SCOPES {
            return Err(Malformed::Value("profile"));
        }
        // A scope has a length and a character.
        let mut scopes: Vec<String> = Vec::with_capacity(count.min(reader.len() / 2));
        for _ in 0..count {
            let scope = reader.short_text("scope")?;
            if !is_name(scope) {
                return Err(Malformed::Value("scope"));
            }
            if scopes.last().is_some_and(|last| last.as_str() >= scope) {
                return Err(Malformed::Order("scopes"));
            }
            scopes.push(scope.into());
        }
        Ok(Self { kind, environment, tier, scopes, live, refused: flags & REFUSED != 0 })
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
}

/// Whom a live profile belongs to, and where it counts.
type Owner = (u32, bool);

/// The numbered profiles of an epoch, as a publisher keeps them: an interned one is known by its bytes, a live one by whom
/// it belongs to.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProfileTable {
    interned: BTreeMap<Vec<u8>, u32>,
    live: BTreeMap<Owner, u32>,
}

impl ProfileTable {
    /// The table of a replica's profiles.
    ///
    /// # Errors
    /// [`Malformed`] where one of them cannot be encoded or is there twice.
    pub(crate) fn of(profiles: &[Profile]) -> Result<Self, Malformed> {
        let mut this = Self::default();
        for profile in profiles {
            this.add(profile)?;
        }
        Ok(this)
    }

    fn len(&self) -> usize {
        self.interned.len() + self.live.len()
    }

    /// The number of a profile, if it has one. Of a live one the contents may be others.
    pub(crate) fn number(&self, profile: &Profile) -> Result<Option<u32>, Malformed> {
        Ok(match profile.live {
            Some(subject) => self.live.get(&(subject, is_test(profile))).copied(),
            None => self.interned.get(&profile.encode()?).copied(),
        })
    }

    /// Gives a profile the next number.
    ///
    /// # Errors
    /// [`Malformed`] where it has one, cannot be encoded, or there are too many.
    pub(crate) fn add(&mut self, profile: &Profile) -> Result<u32, Malformed> {
        let encoded = profile.encode()?;
        let number = self.len();
        if number >= MAX_PROFILES {
            return Err(Malformed::Value("profile count"));
        }
        let replaced = match profile.live {
            Some(subject) => self.live.insert((subject, is_test(profile)), number as u32),
            None => self.interned.insert(encoded, number as u32),
        };
        if replaced.is_some() { Err(Malformed::Order("profiles")) } else { Ok(number as u32) }
    }
}

fn is_test(profile: &Profile) -> bool {
    profile.environment == Environment::Test
}

/// Reads a section of profiles, which have at most those flags, that must fill `bytes` exactly.
pub(crate) fn decode_section(bytes: &[u8], count: usize, flags_at_most: u8) -> Result<Vec<Profile>, Malformed> {
    let mut reader = Reader::new(bytes);
    // Every profile has bytes, so a count beyond them fails before the vector has grown past what is really there.
    let mut profiles = Vec::with_capacity(count.min(bytes.len() / LEAST_LEN));
    for _ in 0..count {
        profiles.push(Profile::decode(&mut reader, flags_at_most)?);
    }
    reader.finish()?;
    if profiles.len() > MAX_PROFILES {
        return Err(Malformed::Value("profile count"));
    }
    Ok(profiles)
}
