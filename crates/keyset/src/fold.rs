//! Merging a base's segment with what has changed since: the one piece of work that a rebase is made of, for publisher and
//! edge alike.

use alloc::vec::Vec;

use crate::base::Found;
use crate::codec::Malformed;
use crate::pepper::Tag;
use crate::replica::Replica;
use crate::row::Record;
use crate::segment::SegmentWriter;

/// What does not go over into the next base, and what profiles are called there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Slots, ascending.
    pub(crate) removed_slots: Vec<u32>,
    /// Tags of added keys, ascending.
    pub(crate) removed_added: Vec<Tag>,
    /// By old number the new one; `None` for profiles that nobody has any more.
    pub(crate) profiles: Vec<Option<u32>>,
}

impl Plan {
    fn removes(&self, tag: &Tag) -> bool {
        self.removed_added.binary_search(tag).is_ok()
    }
}

/// A segment's block in the next base, and its piece of the directory. The segment is checked first if it has not been.
///
/// # Errors
/// [`Malformed`] where the segment is not what was signed, or a key that stays has a profile that does not.
pub(crate) fn merge(replica: &Replica, plan: &Plan, segment: usize) -> Result<(Vec<u8>, Vec<u8>), Malformed> {
    let base = &replica.base;
    if !base.is_checked(segment) {
        base.check_segment(segment)?;
    }
    let (layout, first) = (replica.layout(), base.index().rank(segment));
    let mut removed = Removed::new(&plan.removed_slots, first);
    let kept = base.places(segment).filter(|(place, _)| !removed.has(first + *place as u32));
    let mut kept = kept.map(|(place, bucket)| {
        let found = Found { segment, place };
        (base.tag(found, bucket), replica.base_record(found))
    });
    let start = layout.first_tag(segment);
    let mut removed_added = plan.removed_added.as_slice();
    removed_added = &removed_added[removed_added.partition_point(|tag| *tag < start)..];
    let in_segment = |(tag, _): &(Tag, Record)| layout.segment_of(layout.split(tag).bucket) == segment;
    let added = replica.overlay.from(&start).take_while(in_segment);
    let mut added = added.filter(|(tag, _)| match removed_added {
        [first, rest @ ..] if first == tag => {
            removed_added = rest;
            false
        }
        _ => true,
    });

    // Exactly as many as there will be: what is reserved too much stays.
    let removed_here = plan.removed_slots.partition_point(|&slot| slot < first + base.blocks[segment].keys)
        - plan.removed_slots.partition_point(|&slot| slot < first);
    let added_here = replica.overlay.from(&start).take_while(in_segment).filter(|(tag, _)| !plan.removes(tag)).count();
    let expected = base.blocks[segment].keys as usize - removed_here + added_here;
    let mut writer = SegmentWriter::new(layout, segment, expected);
    let mut put = |(tag, record): (Tag, Record)| {
        let profile =
            plan.profiles.get(record.profile as usize).copied().flatten().ok_or(Malformed::Value("profile"))?;
        writer.push(&tag, &Record { profile, ..record })
    };
    let (mut next_kept, mut next_added) = (kept.next(), added.next());
    loop {
        match (next_kept.take(), next_added.take()) {
            (None, None) => break,
            (Some((tag, record)), None) => {
                put((tag, record?))?;
                next_kept = kept.next();
            }
            (None, Some(key)) => {
                put(key)?;
                next_added = added.next();
            }
            (Some((tag, record)), Some(key)) if tag < key.0 => {
                put((tag, record?))?;
                (next_kept, next_added) = (kept.next(), Some(key));
            }
            (before, Some(key)) => {
                put(key)?;
                (next_kept, next_added) = (before, added.next());
            }
        }
    }
    writer.finish()
}

/// Removed slots, asked for in ascending order.
struct Removed<'a>(&'a [u32]);

impl<'a> Removed<'a> {
    fn new(slots: &'a [u32], first: u32) -> Self {
        Self(&slots[slots.partition_point(|&slot| slot < first)..])
    }

    fn has(&mut self, slot: u32) -> bool {
        match self.0 {
            [first, rest @ ..] if *first == slot => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }
}
