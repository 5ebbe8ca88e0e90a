//! Files for the measures in JavaScript: a set the way a control plane publishes it, and what to ask it.
//!
//! In the directory: `files/` with everything immutable, `head-0` … `head-5` in the order in which they were in force,
//! `texts` (a key's text a line), `tags` and `strangers` (17 bytes each), and `set.json` with what an edge is told.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nightlatch_keyset::{FileName, Head, Replica, Status, Tag};
use serde_json::json;

use crate::changes::Changes;
use crate::facts::fact;
use crate::random::mixed;
use crate::rebase::{follow, rebase};
use crate::rounds::{interleaved, per_step};
use crate::world::{SET, Tags, World, random_tag};

/// Keys that are asked for.
const ASKED: u64 = 1 << 18;
/// Deltas before the rebase.
const DELTAS: usize = 12;
/// Changes in a delta.
const COUNT: u64 = 1_000;
/// Rounds of the native half of a comparison.
const ROUNDS: usize = 5;

/// Writes them, and measures the same lookups natively.
pub(crate) fn write(keys: u32, subject: bool, out: &Path) -> Result<()> {
    let world = World::new(Tags::Minted, subject)?;
    let files_at = out.join("files");
    fs::create_dir_all(&files_at)?;
    let put = |name: FileName, bytes: &[u8]| fs::write(files_at.join(name.to_text()), bytes);

    let files = world.base(keys)?;
    let mut head = world.head(&files)?;
    put_base(&head, &files.index, &files.parts, &put)?;
    let mut heads = vec![head.clone()];
    let (replica, mut author) = world.start(&files)?;
    drop(files);

    // A set that small is asked for the same keys again.
    let asked: Vec<u64> = (0..ASKED).map(|number| mixed(number) % u64::from(keys)).collect();
    let tags: Vec<Tag> = asked.iter().map(|&number| world.tag(number)).collect();
    let strangers: Vec<Tag> = (0..ASKED).map(random_tag).collect();
    let mut texts = String::new();
    for &number in &asked {
        texts += world.text(number)?.expose();
        texts.push('\n');
    }
    fs::write(out.join("texts"), texts)?;
    let bytes = |tags: &[Tag]| tags.iter().flat_map(|tag| *tag.as_bytes()).collect::<Vec<u8>>();
    fs::write(out.join("tags"), bytes(&tags))?;
    fs::write(out.join("strangers"), bytes(&strangers))?;
    native(keys, &replica, &tags, &strangers);
    drop(replica);

    let mut changes = Changes::new(&world, keys);
    let mut ended = std::collections::BTreeSet::new();
    for _ in 0..DELTAS {
        let batch = changes.next(COUNT.min(u64::from(keys) / 20));
        ended.extend(batch.iter().filter(|change| change.status == Status::Revoked).map(|change| change.tag));
        let authored = author.next(&batch, &[], &world.signer)?;
        put(authored.name, &authored.bytes)?;
        for (name, bytes) in author.levels(&world.signer)? {
            put(name, &bytes)?;
        }
        head.version += 1;
        head.commitment = authored.commitment;
        head.keys = author.replica().len() as u64;
        head.issued += 1;
        heads.push(head.clone());
    }
    let rebased = rebase(&author, &ended)?;
    follow(&mut head, &author, &rebased);
    head.issued += 1;
    put_base(&head, &rebased.files.index, &rebased.files.parts, &put)?;
    put(head.rebase_name(), rebased.record.as_ref().context("the layout stays, so there is a record")?)?;
    heads.push(head);
    for (number, head) in heads.iter().enumerate() {
        fs::write(out.join(format!("head-{number}")), head.sign(&world.signer))?;
    }
    let config = json!({
        "set": SET,
        "verifier": world.signer.verifier().to_vkey(),
        "pepper_id": world.pepper.id(),
        "pepper": vec![5; 32],
        "keys": keys,
        "heads": heads.len(),
        "issued": heads[0].issued,
    });
    fs::write(out.join("set.json"), config.to_string())?;
    Ok(())
}

fn put_base(
    head: &Head,
    index: &[u8],
    parts: &[Vec<u8>],
    put: &impl Fn(FileName, &[u8]) -> std::io::Result<()>,
) -> Result<()> {
    put(head.base_name(), index)?;
    for (name, part) in head.part_names().zip(parts) {
        put(name, part)?;
    }
    ensure!(head.part_names().count() == parts.len(), "a head names all parts");
    Ok(())
}

/// The native half of a comparison with WebAssembly: the same lookups, in the same order.
fn native(keys: u32, replica: &Replica, hits: &[Tag], misses: &[Tag]) {
    let ask = |tags: &[Tag]| {
        per_step(tags.len(), || {
            tags.iter().map(|tag| replica.lookup(tag).ok().flatten().map_or(0, |r| r.profile.into())).sum()
        })
    };
    let mut contenders: Vec<crate::rounds::Contender<'_>> =
        vec![("hit", Box::new(|| ask(hits))), ("miss", Box::new(|| ask(misses)))];
    for (kind, ns) in interleaved(ROUNDS, &mut contenders) {
        fact(format!("native.{keys}.{kind}"), ns);
    }
}
