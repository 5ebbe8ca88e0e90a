//! Inputs that are taken, from which all others are made.

use nightlatch_gate::policy::{CredentialSource, Draft, Policy, RouteDraft};
use nightlatch_key::{Brand, Digest, Environment, mint};
use nightlatch_keyset::{AuditCheckpoint, AuditGap, Author, Deny, Hash, Head, Profile, Replica, Trust};

use crate::delta::body;
use crate::stand::{BASE_KEYS, Stand, key, profile, stand};

/// The inputs of a target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let stand = stand();
    match target {
        "audit_export" => exports(),
        "audit_note" => vec![text_of(&gap(stand).sign(&stand.signer))],
        "audit_row" => rows(),
        "base" => vec![[&stand.base.index[..], &stand.base.parts.concat()].concat()],
        "delta" => deltas(stand),
        "deny" => vec![text_of(&denied(stand).sign(&stand.signer))],
        "file_name" => file_names(stand),
        "head" => {
            let open = Head {
                open_until: Some(stand.head.valid_until),
                trust: Some(2),
                audit: Some(gap(stand).published),
                ..stand.head.clone()
            };
            [&stand.head, &stand.rebased, &open].map(|head| text_of(&head.sign(&stand.signer))).into()
        }
        "key_text" => key_texts(),
        "note" => vec![stand.head.sign(&stand.signer).into_bytes(), stand.verifiers[0].to_vkey().into_bytes()],
        "policy" => policies(),
        "profile" => profiles(stand),
        "rebase" => records(stand),
        "report" => reports(),
        "statement" => {
            vec![text_of(std::str::from_utf8(&stand.delta[4..][..note_len(&stand.delta)]).unwrap_or_default())]
        }
        "trust" => vec![trusted(stand).to_text().into_bytes()],
        _ => Vec::new(),
    }
}

fn trusted(stand: &Stand) -> Trust {
    Trust {
        set: stand.head.set.clone(),
        version: 2,
        issued: stand.head.issued,
        floor: [0, 1, 3],
        roots: vec![stand.signer.verifier(); 2],
        signers: vec![stand.signer.verifier()],
    }
}

fn gap(stand: &Stand) -> AuditGap {
    AuditGap {
        set: stand.head.set.clone(),
        incarnation: 1,
        issued: stand.head.issued,
        published: AuditCheckpoint { count: 1_200, root: Hash::of(b"root") },
        kept: 1_100,
    }
}

/// The golden exports, and one of nothing.
fn exports() -> Vec<Vec<u8>> {
    let whole = include_str!("../../../crates/audit/golden/whole.ndjson");
    let choice = include_str!("../../../crates/audit/golden/choice.ndjson");
    let nothing = format!(
        "{{\"format\":\"nightlatch.audit-export/1\",\"workspace\":\"ws_0\",\"filter\":null,\"head\":null,\"count\":0,\
         \"root\":\"{}\",\"after\":0,\"previous_hash\":\"{}\",\"peaks\":[],\"gaps\":[]}}\n\
         {{\"end\":true,\"entries\":0,\"unchained\":0}}\n",
        Hash::of(b""),
        Hash([0; 32])
    );
    [whole, choice, &nothing].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Words of entries, separated by units' separators.
fn rows() -> Vec<Vec<u8>> {
    let words = |words: &[&str]| words.join("\u{1f}").into_bytes();
    vec![
        words(&[
            "1",
            "7",
            "1800000000000",
            "ws_0",
            "member",
            "mem_1",
            "-",
            "key.issued",
            "user.updated",
            "key",
            "key_1",
        ]),
        words(&[
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "p",
            "s",
            "a:read",
            "{}",
            "{\"a\":1}",
            "why",
            "req",
            "a:00",
        ]),
        Vec::new(),
    ]
}

fn denied(stand: &Stand) -> Deny {
    let digests = (1..4).map(|byte| Digest::from_bytes([byte; 32])).collect();
    Deny { set: stand.head.set.clone(), number: 2, issued: stand.head.issued, digests }
}

fn note_len(file: &[u8]) -> usize {
    file.first_chunk().map_or(0, |len| u32::from_le_bytes(*len) as usize)
}

/// What is signed of a note.
fn text_of(note: &str) -> Vec<u8> {
    note.rfind("\n\n").map_or(Vec::new(), |end| note.as_bytes()[..=end].to_vec())
}

/// Bodies of deltas to version 3: every kind of change, of keys in the base and keys added since.
fn deltas(stand: &Stand) -> Vec<Vec<u8>> {
    let (shared, live, new) = (profile(&["a", "b"], None), profile(&["c", "d"], Some(2)), profile(&["new"], None));
    let refused = Profile { refused: true, ..live.clone() };
    let none: Vec<_> = Vec::new();
    let ended =
        |number| nightlatch_keyset::Change { status: nightlatch_keyset::Status::Revoked, ..key(number, &shared) };
    let all = [
        (none, vec![]),
        (vec![ended(0), ended(3), ended(100)], vec![]),
        (vec![key(1, &new), key(101, &new), key(200, &new), key(201, &shared)], vec![live]),
        ((300..340).map(|number| key(number, &shared)).collect(), vec![]),
        (vec![], vec![refused]),
        (
            (0..BASE_KEYS)
                .map(|number| nightlatch_keyset::Change { subject: 9, deadline: None, ..ended(number) })
                .collect(),
            vec![],
        ),
    ];
    let bodies = all.iter().filter_map(|(changes, live)| {
        let authored = stand.author.clone().next(changes, live, &stand.signer).ok()?;
        body(&authored.bytes).map(<[u8]>::to_vec)
    });
    bodies.collect()
}

fn records(stand: &Stand) -> Vec<Vec<u8>> {
    let fresh = |replica: &Replica| Author::new(replica.clone()).ok();
    assert!(fresh(&stand.replica).is_none(), "it has added keys");
    let cutoffs = [0, 1_900_000_020, u64::MAX];
    let others = cutoffs.into_iter().filter_map(|cutoff| {
        stand.author.rebase(cutoff, stand.author.replica().layout(), &Default::default()).ok()?.record
    });
    std::iter::once(stand.record.clone()).chain(others).collect()
}

fn profiles(stand: &Stand) -> Vec<Vec<u8>> {
    let len = u32::from_le_bytes([48, 49, 50, 51].map(|at: usize| stand.base.index[at])) as usize;
    vec![
        [&[3][..], &stand.base.index[192..192 + len]].concat(),
        vec![1, 0, 0, 0, 0, 0, 0],
        [&[1, 3, 1, 1, 7, 0, 0, 0, 1, b't', 2, 0, 1, b'a', 2, b'a', b'b'][..]].concat(),
        // A refused one.
        [&[1, 0, 0, 3, 7, 0, 0, 0, 0, 1, 0, 1, b'a'][..]].concat(),
        vec![0],
    ]
}

fn file_names(stand: &Stand) -> Vec<Vec<u8>> {
    let head = &stand.rebased;
    let names = [head.base_name(), head.rebase_name(), head.policy_name(), head.delta_name(2, 3)];
    names.into_iter().chain(head.part_names()).map(|name| name.to_text().into_bytes()).collect()
}

fn key_texts() -> Vec<Vec<u8>> {
    let brands = [("nl", Environment::Live), ("abcdefghijkl", Environment::Test)];
    let texts = brands.into_iter().filter_map(|(brand, environment)| {
        let brand = Brand::new(brand).ok()?;
        let mut next = 0_u8;
        let mut random = |out: &mut [u8]| {
            out.iter_mut().for_each(|byte| {
                next = next.wrapping_mul(29).wrapping_add(17);
                *byte = next;
            });
        };
        Some(mint(&brand, environment, 1_800_000_000, &mut random).expose().as_bytes().to_vec())
    });
    texts.collect()
}

fn policies() -> Vec<Vec<u8>> {
    let mut draft = Draft::new("Example");
    let mut route = RouteDraft::new("GET", "/v1/invoices/{id}");
    route.scopes.push("invoices:read".into());
    draft.routes.push(route);
    let mut route = RouteDraft::new("POST", "/v1/hooks/{*rest}");
    (route.open, route.max_connection_age) = (true, Some(60));
    route.credentials.push(CredentialSource::Query("key".into()));
    let mut more = draft.clone();
    more.developer_url = Some("https://example.com/keys".into());
    more.routes.push(route);
    let none = Draft::new("r");
    [none, draft, more].into_iter().filter_map(|draft| Some(Policy::new(draft).ok()?.encode())).collect()
}

fn reports() -> Vec<Vec<u8>> {
    let full = r#"{"set":"set_1","instance":"i","sequence":3,"runtime":"cloudflare","version":"0.1.0",
        "applied":{"incarnation":0,"epoch":2,"version":7,"issued":1800000000000},
        "seen":[{"key":"1hTq3e9fKz","at":1800000000000},{"key":"kn_12","at":18446744073709551615}]}"#;
    let bare = r#"{"set":"","instance":"\u0041","sequence":0,"runtime":"","version":"","applied":null}"#;
    [full, bare].map(|text| text.as_bytes().to_vec()).to_vec()
}
