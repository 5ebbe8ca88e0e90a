//! The audit log as an auditor has it: an export, and the heads that were kept.

use nightlatch::domain::Actor;
use nightlatch::store::audit::{self, AuditFilter, Exporter, Span};
use nightlatch::store::{Context, Error};
use nightlatch_audit::{Break, Check, Earlier, Entry, Header, Proven, Tree};
use nightlatch_keyset::{AuditGap, Hash, Head};

use crate::world::World;

/// An export in lines.
pub(crate) async fn export(world: &World, after: u64, filter: Option<AuditFilter>) -> Result<Vec<String>, Error> {
    let named = filter.as_ref().map(|_| [("filter".to_owned(), "some".to_owned())].into());
    let span = Span { after, filter, named };
    let (mut exporter, header) = Exporter::begin(world.store.clone(), world.workspace.clone(), span).await?;
    let mut lines = vec![serde_json::to_string(&header).unwrap()];
    while let Some(entries) = exporter.next().await? {
        lines.extend(entries.iter().map(|entry| serde_json::to_string(entry).unwrap()));
    }
    let footer = exporter.end().await?;
    lines.push(serde_json::to_string(&footer).unwrap());
    Ok(lines)
}

/// Holds an export against its own head and others, as `nightlatch audit verify` does.
pub(crate) fn verify(lines: &[String], earlier: &[Head]) -> Result<Proven, Break> {
    let header = Header::parse(&lines[0])?;
    let head = header.head.as_ref().map(|note| Head::open(note, &World::verifiers()).unwrap());
    let gaps = header.gaps.iter().map(|note| AuditGap::open(note, &World::verifiers()).unwrap()).collect();
    let earlier =
        earlier.iter().filter_map(|head| Some(Earlier { checkpoint: head.audit?, incarnation: head.incarnation }));
    let mut check = Check::new(header, head.as_ref(), gaps, earlier.collect())?;
    for line in &lines[1..] {
        check.line(line)?;
    }
    check.finish()
}

/// The whole log, held against its own head and others.
pub(crate) async fn proven(world: &World, earlier: &[Head]) -> Result<Proven, Break> {
    verify(&export(world, 0, None).await.unwrap(), earlier)
}

/// The entries of an export.
pub(crate) fn entries(lines: &[String]) -> Vec<Entry> {
    lines[1..lines.len() - 1].iter().map(|line| Entry::parse(line).unwrap()).collect()
}

/// As whom a member acts.
pub(crate) fn member(world: &World, id: &str) -> Context {
    Context {
        actor: Actor { kind: "member".into(), id: id.into() },
        source: Some("192.0.2.1".into()),
        ..world.context()
    }
}

/// Writes an entry and nothing else: what is personal about somebody is erased.
pub(crate) async fn entry_alone(world: &World, about: &str) -> u64 {
    let (context, about) = (world.context(), about.to_owned());
    let erased =
        world.store.write::<_, Error, _>(move |tx| Box::pin(async move { audit::erase(tx, &context, &about).await }));
    erased.await.unwrap().values
}

/// What somebody does who may write to the database and wants an entry to have said something else: everything that
/// follows from it is computed anew, to the last node that proofs are made of.
pub(crate) async fn rewrite(world: &World, seq: u64, action: &str) {
    let mut all = entries(&export(world, 0, None).await.unwrap());
    let mut tree = Tree::default();
    let mut before = Hash([0; 32]);
    let (mut statements, mut nodes) = (Vec::new(), Vec::new());
    for entry in &mut all {
        if entry.seq == seq {
            action.clone_into(&mut entry.action);
        }
        entry.previous_hash.0 = before;
        entry.hash.0 = entry.content_hash(world.workspace.as_str()).unwrap();
        before = entry.hash.0;
        tree.push(&before, |level, place, root| nodes.push((level, place, root)));
        let (previous, hash) = (world.blob(&entry.previous_hash.to_string()), world.blob(&entry.hash.to_string()));
        statements.push(format!(
            "UPDATE audit SET action = '{}', prev_hash = {previous}, hash = {hash} WHERE seq = {}",
            entry.action, entry.seq
        ));
    }
    for (level, place, root) in nodes {
        let root = world.blob(&root.to_hex());
        statements.push(format!("UPDATE audit_nodes SET hash = {root} WHERE level = {level} AND place = {place}"));
    }
    let peaks: String = tree.peaks().iter().map(Hash::to_hex).collect();
    let (hash, peaks) = (world.blob(&before.to_hex()), world.blob(&peaks));
    statements.push(format!("UPDATE audit_chains SET count = {}, hash = {hash}, peaks = {peaks}", tree.count()));
    world.execute(&statements.join("; ")).await;
}
