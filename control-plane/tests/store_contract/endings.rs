//! Removing somebody is one transaction: all of what goes with them, or nothing of it.

use futures::future::BoxFuture;
use nightlatch::domain::{Issue, LinkId, Member, MemberId, Name, PrincipalKind, Reason, Role, Scopes};
use nightlatch::signin::Email;
use nightlatch::store::links::{self, NewLink};
use nightlatch::store::members::{self, Invitation};
use nightlatch::store::principals::{self, NewPrincipal};
use nightlatch::store::sessions::{self, Method, NewSession};
use nightlatch::store::tokens::{self, NewManagement};
use nightlatch::store::{Context, Error, Tx, accounts, os_random};
use nightlatch_key::Digest;

use crate::arena::{Arena, on_both, overlap, request};
use crate::dump::Dump;

on_both! {
    s0_14_a_removal_that_is_taken_back_leaves_nothing_behind,
}

/// More keys than are taken in one go.
const KEYS: usize = 503;

/// What the removal of somebody is.
type Removal = for<'t> fn(&'t mut Tx, &'t Context, &'t Whole, &'t Reason) -> BoxFuture<'t, Result<(), Error>>;

/// One of everything that can be removed, each with keys.
#[derive(Clone, Debug)]
struct Whole {
    member: Member,
    account: u32,
    partner: u32,
    link: LinkId,
}

async fn principal(arena: &Arena, kind: PrincipalKind) -> u32 {
    let new = NewPrincipal { kind, name: Name::new("one").unwrap(), description: None, ceiling: None };
    let made = arena.write(move |tx, context| Box::pin(async move { principals::create(tx, &context, &new).await }));
    made.await.unwrap().subject
}

/// Somebody who has joined, with a session and a token.
async fn member(arena: &Arena) -> Member {
    let code = Digest::of(b"code");
    let invitation = Invitation {
        email: "ada@example.com".to_owned(),
        name: None,
        role: Role::Operator,
        partner: None,
        scopes: Scopes::default(),
        tier: None,
        code,
        lifetime_ms: 3_600_000,
    };
    let made = arena.write(move |tx, context| {
        Box::pin(async move {
            members::invite(tx, &context, invitation, &mut os_random).await?;
            let email = Email::parse("ada@example.com").unwrap();
            let account =
                accounts::create(tx, &email, None, Some(("https://id.example", "ada")), &mut os_random).await?.unwrap();
            let member = members::accept(tx, &code, account.as_str(), None, "req", None).await?;
            let now = tx.now().await?;
            let session = NewSession {
                account,
                member: member.id.clone(),
                method: Method::Oidc,
                digest: Digest::of(b"cookie"),
                signed_in_at: now,
                elevated_until: None,
            };
            sessions::start(tx, &context, &session, now, &mut os_random).await?;
            token(tx, &context, &member.id).await?;
            Ok(member)
        })
    });
    made.await.unwrap()
}

async fn token(tx: &mut Tx, context: &Context, member: &MemberId) -> Result<(), Error> {
    let new = NewManagement {
        name: Name::new("theirs").unwrap(),
        rights: None,
        expires_at: None,
        member: Some(member.clone()),
        service_account: None,
    };
    tokens::create_management(tx, context, new, &mut os_random).await.map(drop)
}

async fn link(arena: &Arena, partner: u32) -> LinkId {
    let id = LinkId::generate([7; 10]);
    let new = NewLink { id: id.clone(), partner, client_name: Name::new("c").unwrap(), code: Digest::of(b"link") };
    let made = arena.write(move |tx, context| {
        Box::pin(async move {
            links::create(tx, &context, &new).await?;
            links::accept(tx, &context, &new.code, Scopes::default()).await.map(drop)
        })
    });
    made.await.unwrap();
    id
}

async fn keys(arena: &Arena, subject: u32, link: Option<&LinkId>, count: usize) {
    let scopes = if link.is_some() { Scopes::new(["orders:read"]).unwrap() } else { Scopes::default() };
    let wanted = Issue { subject: Some(subject), scopes, link: link.cloned(), ..request("theirs") };
    let first = arena.issue(wanted.clone()).await.unwrap().key.id;
    futures::future::join_all((1..count).map(|_| async { arena.issue(wanted.clone()).await.unwrap() })).await;
    arena.rotate(&first, overlap(600)).await.unwrap();
}

fn removals() -> [(&'static str, Removal); 4] {
    [
        ("a member", |tx, context, whole, reason| {
            Box::pin(async move { members::remove(tx, context, &whole.member.id, Some(reason)).await.map(drop) })
        }),
        ("a service account", |tx, context, whole, reason| {
            Box::pin(
                async move { principals::remove_because(tx, context, whole.account, Some(reason)).await.map(drop) },
            )
        }),
        ("a link", |tx, context, whole, reason| {
            Box::pin(async move { links::end_as_client(tx, context, &whole.link, reason).await.map(drop) })
        }),
        ("a partner", |tx, context, whole, reason| {
            Box::pin(
                async move { principals::remove_because(tx, context, whole.partner, Some(reason)).await.map(drop) },
            )
        }),
    ]
}

/// S0-14, S2-17.
async fn s0_14_a_removal_that_is_taken_back_leaves_nothing_behind(arena: Arena) {
    let (account, partner) =
        (principal(&arena, PrincipalKind::ServiceAccount).await, principal(&arena, PrincipalKind::Partner).await);
    let whole = Whole { member: member(&arena).await, account, partner, link: link(&arena, partner).await };
    keys(&arena, whole.member.subject, None, KEYS).await;
    keys(&arena, whole.account, None, 3).await;
    keys(&arena, whole.partner, Some(&whole.link), 3).await;
    keys(&arena, whole.partner, None, 3).await;
    // Those who stay.
    keys(&arena, 1, None, 2).await;
    let reason = Reason::new("left us").unwrap();
    for (what, removal) in removals() {
        let before = arena.dump().await;
        let (of, why) = (whole.clone(), reason.clone());
        let aborted: Result<(), Error> = arena
            .write(move |tx, context| {
                Box::pin(async move {
                    removal(tx, &context, &of, &why).await?;
                    // Its last statement fails, whichever that is.
                    Err(Error::NotFound("anything"))
                })
            })
            .await;
        assert!(matches!(aborted, Err(Error::NotFound("anything"))), "{what}: {aborted:?}");
        let after = arena.dump().await;
        for (table, rows) in &before {
            assert!(after[table] == *rows, "{what}: {table}");
        }
        let (of, why) = (whole.clone(), reason.clone());
        let done = arena.write(move |tx, context| Box::pin(async move { removal(tx, &context, &of, &why).await }));
        done.await.unwrap();
        let done = arena.dump().await;
        for table in ["keys", "receipts", "audit", "rotations"] {
            assert!(done[table] != before[table], "{what}: {table}");
        }
    }
    // Each removal ended its own: (keys, of them revoked) by subject.
    let of = async |subject: u32, more: &str| {
        arena
            .number(format!(
                "SELECT COUNT(*) FROM keys WHERE workspace_id <> 'ws_management' AND subject = {subject}{more}"
            ))
            .await
    };
    for (subject, count) in [(whole.member.subject, KEYS as i64 + 1), (account, 4), (partner, 8)] {
        assert_eq!(of(subject, " AND state = 'revoked' AND revoke_reason = 'left us'").await, count);
        assert_eq!(of(subject, "").await, count);
    }
    assert_eq!(of(1, " AND state <> 'revoked'").await, 3);
    written_once(&arena).await;
}

/// Every revoked key has one entry and one receipt, and nobody's rotation is open but the one of who stays.
async fn written_once(arena: &Arena) {
    let dump: Dump = arena.dump().await;
    let revoked = "FROM keys k WHERE k.state = 'revoked' AND k.workspace_id <> 'ws_management'";
    let many = arena.number(format!("SELECT COUNT(*) {revoked}")).await;
    let once = format!(
        "SELECT COUNT(*) {revoked} AND (SELECT COUNT(*) FROM receipts r WHERE r.key_id = k.id) = 1 AND \
         (SELECT COUNT(*) FROM audit a WHERE a.target_id = k.id AND a.action = 'key.revoked' AND a.reason = 'left us') = 1"
    );
    assert_eq!((arena.number(once).await, dump["receipts"].len() as i64), (many, many));
    assert_eq!(arena.number("SELECT COUNT(*) FROM rotations WHERE state = 'open'").await, 1);
    let left = "SELECT (SELECT COUNT(*) FROM sessions WHERE digest IS NOT NULL) \
                + (SELECT COUNT(*) FROM tokens WHERE revoked_at IS NULL)";
    assert_eq!(arena.number(left).await, 0);
}
