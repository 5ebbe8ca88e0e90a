//! A log as the control plane would write it, and its exports.

use std::collections::BTreeMap;

use nightlatch_audit::{
    BAND, Block, Commitments, EXPORT_FORMAT, Earlier, Entry, Footer, Header, Hex, Personal, START, Span, Tree,
    block_of, commitment, embedded, leaf, mountain,
};
use nightlatch_key::Brand;
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{AuditCheckpoint, Commitment, Hash, Head, Tag};

pub(crate) const WORKSPACE: &str = "ws_0123456789";

/// What is told of an entry before it is chained.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deed {
    pub(crate) at: i64,
    pub(crate) actor: String,
    pub(crate) on_behalf_of: Option<String>,
    pub(crate) action: String,
    pub(crate) target: String,
    pub(crate) prefix: Option<String>,
    pub(crate) scopes: Option<String>,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) personal: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    pub(crate) tree: Tree,
}

impl Log {
    pub(crate) fn new(deeds: &[Deed]) -> Self {
        let mut log = Self::default();
        deeds.iter().for_each(|deed| log.write(deed));
        log
    }

    pub(crate) fn write(&mut self, deed: &Deed) {
        let seq = self.entries.len() as u64 + 1;
        let mut values: Vec<(String, String)> = deed.personal.clone();
        values.sort();
        values.dedup_by(|one, other| one.0 == other.0);
        let salt = [seq as u8; 16];
        let committed = values.iter().map(|(field, value)| (field.clone(), commitment(field, &salt, value)));
        let personal = values.iter().map(|(field, value)| Personal {
            field: field.clone(),
            salt: salt.iter().map(|byte| format!("{byte:02x}")).collect(),
            value: value.clone(),
        });
        let mut entry = Entry {
            seq,
            id: seq as i64 + 100,
            at: deed.at,
            actor_type: "member".into(),
            actor_id: deed.actor.clone(),
            on_behalf_of: deed.on_behalf_of.clone(),
            action: deed.action.clone(),
            category: "user.updated".into(),
            target_type: "key".into(),
            target_id: deed.target.clone(),
            prefix: deed.prefix.clone(),
            short_prefix: deed.prefix.as_ref().map(|_| "1hTq3e9f".into()),
            scopes: deed.scopes.clone(),
            before: deed.before.as_deref().map(embedded),
            after: deed.after.as_deref().map(embedded),
            reason: deed.reason.clone(),
            request_id: format!("req_{seq}"),
            commitments: Commitments::new(committed.collect()).to_text(),
            personal: personal.collect(),
            previous_hash: Hex(self.entries.last().map_or(START, |entry| entry.hash.0)),
            hash: Hex(START),
            proof: None,
        };
        entry.hash = Hex(entry.content_hash(WORKSPACE).unwrap());
        self.tree.push(&entry.hash.0, |_, _, _| {});
        self.entries.push(entry);
    }

    pub(crate) fn checkpoint(&self) -> AuditCheckpoint {
        AuditCheckpoint { count: self.tree.count(), root: self.tree.root() }
    }

    /// The log of the first entries.
    pub(crate) fn first(&self, count: usize) -> Self {
        let mut tree = Tree::default();
        let entries = self.entries[..count].to_vec();
        entries.iter().for_each(|entry| tree.push(&entry.hash.0, |_, _, _| {}));
        Self { entries, tree }
    }

    /// The head that signs it.
    pub(crate) fn head(&self) -> Head {
        head((self.tree.count() > 0).then(|| self.checkpoint()))
    }

    pub(crate) fn earlier(&self) -> Earlier {
        Earlier { checkpoint: self.checkpoint(), incarnation: 0 }
    }

    pub(crate) fn header(&self, after: usize, filter: Option<BTreeMap<String, String>>) -> Header {
        let before = self.first(after);
        Header {
            format: EXPORT_FORMAT.into(),
            workspace: WORKSPACE.into(),
            filter,
            head: Some(self.head().sign(&signer())),
            count: self.tree.count(),
            root: Hex(self.tree.root()),
            after: after as u64,
            previous_hash: Hex(before.entries.last().map_or(START, |entry| entry.hash.0)),
            peaks: before.tree.peaks().iter().copied().map(Hex).collect(),
            gaps: Vec::new(),
        }
    }

    /// Everything behind an entry.
    pub(crate) fn span(&self, after: usize) -> Vec<String> {
        lines(&self.header(after, None), &self.entries[after..])
    }

    /// Some entries, each with its proof.
    pub(crate) fn choice(&self, chosen: impl Fn(&Entry) -> bool) -> Vec<String> {
        let entries: Vec<Entry> =
            self.entries.iter().filter(|entry| chosen(entry)).map(|entry| self.proven(entry)).collect();
        lines(&self.header(0, Some(BTreeMap::from([("action".into(), "some".into())]))), &entries)
    }

    pub(crate) fn proven(&self, entry: &Entry) -> Entry {
        let (index, count) = (entry.seq - 1, self.tree.count());
        let (height, _) = mountain(index, count).unwrap();
        let blocks: Vec<Block> = (0..height)
            .step_by(BAND as usize)
            .map(|level| {
                let Span { first, len, .. } = block_of(index, level, height);
                assert_eq!(level, 0, "small logs only");
                let nodes =
                    self.entries[first as usize..(first + len) as usize].iter().map(|entry| leaf(&entry.hash.0));
                Block::new(first, nodes.collect()).unwrap()
            })
            .collect();
        let path = self.tree.path(index, &blocks.iter().collect::<Vec<_>>()).unwrap();
        Entry { proof: Some(path.into_iter().map(Hex).collect()), ..entry.clone() }
    }
}

pub(crate) fn lines(header: &Header, entries: &[Entry]) -> Vec<String> {
    let footer = Footer { end: true, entries: entries.len() as u64, unchained: 2, erased_later: 0 };
    let mut lines = vec![serde_json::to_string(header).unwrap()];
    lines.extend(entries.iter().map(|entry| serde_json::to_string(entry).unwrap()));
    lines.push(serde_json::to_string(&footer).unwrap());
    lines
}

pub(crate) fn signer() -> Signer {
    Signer::new("nightlatch/set_0123456789", &[1; 32]).unwrap()
}

pub(crate) fn head(audit: Option<AuditCheckpoint>) -> Head {
    let zero = Hash([0; 32]);
    Head {
        set: "set_0123456789".into(),
        workspace: WORKSPACE.into(),
        brand: Brand::new("nl").unwrap(),
        incarnation: 0,
        epoch: 1,
        version: 1,
        commitment: Commitment(zero),
        keys: 0,
        base_version: 1,
        base_commitment: Commitment(zero),
        base_root: zero,
        base_len: 200,
        base_parts: Vec::new(),
        rebase: None,
        pepper: "p1".into(),
        pepper_check: Tag::from_bytes([0; 17]),
        accepts_foreign: false,
        policy: zero,
        policy_len: 1,
        issued: 1_800_000_000_000,
        valid_until: 1_800_000_060_000,
        skew: 5_000,
        open_until: None,
        trust: None,
        audit,
    }
}
