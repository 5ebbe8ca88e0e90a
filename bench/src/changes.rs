//! The changes of a working day: four adds for every three revokes and three changes.

use nightlatch_keyset::{Change, Status};

use crate::facts::{choose, choose_of_bits};
use crate::random::mixed;
use crate::world::{DEADLINE_BITS, ENDLESS, PROFILE_BITS, SUBJECT_BITS, World, deadline};

/// Changes to a set of `keys`, none of which touches a key twice.
pub(crate) struct Changes<'a> {
    world: &'a World,
    keys: u64,
    touched: u64,
    added: u64,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(world: &'a World, keys: u32) -> Self {
        Self { world, keys: keys.into(), touched: 0, added: 0 }
    }

    /// The next `count` of them.
    pub(crate) fn next(&mut self, count: u64) -> Vec<Change<'a>> {
        let Parts { adds, revokes, deadlines, profiles } = Parts::of(count);
        let world = self.world;
        let mut changes = Vec::with_capacity(count as usize);
        for _ in 0..adds {
            changes.push(world.key(self.keys + self.added));
            self.added += 1;
        }
        for _ in 0..revokes {
            changes.push(Change { status: Status::Revoked, ..self.touch() });
        }
        for _ in 0..deadlines {
            let bits = mixed(self.touched << 20);
            changes.push(Change { deadline: Some(deadline(bits)), ..self.touch() });
        }
        for _ in 0..profiles {
            let bits = mixed(self.touched << 20) >> 20;
            changes.push(Change { profile: world.profile(bits), ..self.touch() });
        }
        changes
    }

    /// A key that was not touched before. Tags are random, so keys in order are slots without one.
    fn touch(&mut self) -> Change<'a> {
        let key = self.world.key(self.touched % self.keys);
        self.touched += 1;
        key
    }
}

/// How many of each kind.
struct Parts {
    adds: u64,
    revokes: u64,
    deadlines: u64,
    profiles: u64,
}

impl Parts {
    fn of(count: u64) -> Self {
        let (adds, revokes) = (count * 4 / 10, count * 3 / 10);
        let changes = count - adds - revokes;
        Self { adds, revokes, deadlines: changes / 2, profiles: changes - changes / 2 }
    }
}

/// Bytes that so many changes to a set of `keys` with tags of `tag_bits` cannot do without: which keys, out of all, and
/// what is new about them, each as likely as any other.
pub(crate) fn bound(count: u64, keys: u32, tag_bits: u32, subject: bool) -> f64 {
    let Parts { adds, revokes, deadlines, profiles } = Parts::of(count);
    let keys = u64::from(keys);
    let endless = ENDLESS as f64 / 256.0;
    let ends = -endless * endless.log2() - (1.0 - endless) * (1.0 - endless).log2();
    let subject = if subject { f64::from(SUBJECT_BITS) } else { 0.0 };
    let of_one = f64::from(PROFILE_BITS) + ends + (1.0 - endless) * f64::from(DEADLINE_BITS) + subject;
    let bits = choose_of_bits(tag_bits, adds)
        + adds as f64 * of_one
        + choose(keys, revokes)
        + choose(keys, deadlines)
        + deadlines as f64 * f64::from(DEADLINE_BITS)
        + choose(keys, profiles)
        + profiles as f64 * f64::from(PROFILE_BITS);
    bits / 8.0
}
