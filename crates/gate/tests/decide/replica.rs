//! The gate over a real replica.

use crate::world::{NOW, WORKSPACE, brand, key_text, policy, profile};
use nightlatch_gate::policy::Policy;
use nightlatch_gate::{Code, ReplicaKeys, Request, SetFacts, Verdict, decide};
use nightlatch_key::{Digest, Environment};
use nightlatch_keyset::{
    BaseBuilder, BaseInfo, Change, Columns, Commitment, Hash, Head, Layout, Pepper, Replica, Status,
};

const SET: &str = "set_example";

fn published(key: &str, pepper: &Pepper, policy: &Policy) -> (Head, Replica) {
    let info = BaseInfo {
        set: SET.into(),
        workspace: WORKSPACE.into(),
        pepper: pepper.id().into(),
        incarnation: 0,
        epoch: 1,
        version: 1,
        cutoff: 0,
    };
    let mut builder = BaseBuilder::new(info, Layout::for_keys(1, Columns::ALL), 1).unwrap();
    let change = Change {
        tag: pepper.tag(&Digest::of(key.as_bytes())),
        status: Status::Active,
        foreign: false,
        deadline: Some(NOW + 1),
        profile: &profile(),
        subject: 3,
        number: 1,
    };
    builder.push(&change).unwrap();
    let base = builder.finish().unwrap();
    let base_root = base.root;
    let commitment = Commitment::START.then(&base_root);
    let encoded = policy.encode();
    let head = Head {
        set: SET.into(),
        workspace: WORKSPACE.into(),
        brand: brand(),
        incarnation: 0,
        epoch: 1,
        version: 1,
        commitment,
        keys: 1,
        base_version: 1,
        base_commitment: commitment,
        base_root,
        base_len: base.index.len() as u64,
        base_parts: base.parts.iter().map(|part| part.len() as u64).collect(),
        rebase: None,
        pepper: pepper.id().into(),
        pepper_check: pepper.check(),
        accepts_foreign: false,
        policy: Hash::of(&encoded),
        policy_len: encoded.len() as u64,
        issued: NOW * 1000,
        valid_until: NOW * 1000 + 60_000,
        skew: 5_000,
        open_until: None,
        trust: None,
        audit: None,
    };
    let replica = Replica::load(base.index, base.parts, &head).unwrap();
    (head, replica)
}

#[test]
fn a_published_key_passes_and_others_do_not() {
    let (policy, pepper) = (policy(), Pepper::new("p1", SET, &[5; 32]).unwrap());
    let (known, unknown) = (key_text(Environment::Live, NOW, 1), key_text(Environment::Live, NOW, 2));
    let (head, replica) = published(&known, &pepper, &policy);
    let facts = SetFacts::from(&head);
    let outcome = |key: &str, pepper: Option<&Pepper>, now| {
        let keys = ReplicaKeys { replica: &replica, pepper };
        let request = Request { x_api_key: Some(key.as_bytes()), ..Request::new("GET", "/invoices") };
        match decide(&request, &policy, &facts, &keys, now) {
            Verdict::Allow(allow) => Ok(allow.accepted.principal.to_string()),
            Verdict::Deny(denial) => Err(denial.code),
            Verdict::Preflight(_) => panic!("not a preflight"),
        }
    };
    assert_eq!(outcome(&known, Some(&pepper), NOW * 1000), Ok("prn_3".into()));
    assert_eq!(outcome(&known, Some(&pepper), (NOW + 1) * 1000), Err(Code::KeyExpired));
    assert_eq!(outcome(&unknown, Some(&pepper), NOW * 1000), Err(Code::KeyInvalid));
    assert_eq!(outcome(&known, None, NOW * 1000), Err(Code::PepperMissing));
}
