//! Looks up tags that differ from a stored one in a single byte of its rest, each byte in turn: `probe_timing
//! BUCKET_BITS OTHERS`, where so many other keys come after the stored one.
//! Prints nothing; `cargo xtask test` has valgrind count the instructions of each lookup, which must all be as many.

use nightlatch_key::Environment;
use nightlatch_keyset::{Base, BaseBuilder, BaseInfo, Change, Columns, Layout, PrincipalKind, Profile, Status, Tag};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = |at: usize, what: &'static str| std::env::args().nth(at).ok_or(what);
    let bits: u8 = argument(1, "how many bucket bits?")?.parse()?;
    let others: u8 = argument(2, "how many other keys?")?.parse()?;
    let layout = Layout::new(bits, Columns::ALL)?;
    let stored = Tag::from_bytes(std::array::from_fn(|at| (at as u8).wrapping_mul(41)));
    let base = base(layout, stored, others)?;
    // A segment is hashed when it is first touched.
    base.check()?;
    // The rest ends with the last byte of the matched bits; where bucket and tag byte end inside a byte, so does it.
    let last = layout.tag_bits() as usize / 8 - 1;
    for at in (usize::from(bits) / 8 + 2..=last).rev() {
        let mut bytes = *stored.as_bytes();
        bytes[at] ^= 0x24;
        assert!(!probe(&base, &Tag::from_bytes(bytes)), "another tag is taken for the stored one");
    }
    Ok(())
}

/// What is counted: a name for valgrind to go by, so it is never merged with its caller.
#[inline(never)]
fn probe(base: &Base, tag: &Tag) -> bool {
    std::hint::black_box(base.lookup(std::hint::black_box(tag))).is_ok_and(|found| found.is_some())
}

fn base(layout: Layout, stored: Tag, others: u8) -> Result<Base, Box<dyn std::error::Error>> {
    let info = BaseInfo {
        set: "timed".into(),
        workspace: "timed".into(),
        pepper: "p".into(),
        incarnation: 0,
        epoch: 1,
        version: 1,
        cutoff: 0,
    };
    let profile = Profile {
        kind: PrincipalKind::User,
        environment: Environment::Live,
        tier: None,
        scopes: Vec::new(),
        live: None,
        refused: false,
    };
    let mut builder = BaseBuilder::new(info, layout, 1)?;
    let after = (0..others).map(|number| {
        let mut bytes = *stored.as_bytes();
        bytes[0] = 0x80 | number;
        Tag::from_bytes(bytes)
    });
    for tag in after.chain([stored]) {
        builder.push(&Change {
            tag,
            status: Status::Active,
            foreign: false,
            deadline: None,
            profile: &profile,
            subject: 1,
            number: 1,
        })?;
    }
    let files = builder.finish()?;
    Ok(Base::load(files.index, files.parts, &files.root)?)
}
