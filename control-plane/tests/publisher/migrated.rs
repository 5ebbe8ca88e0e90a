//! A database that an earlier program has filled, under this one: nothing of it is lost, and that program goes on beside it.

use nightlatch::domain::{KeyId, KeyRef, Rotation, RotationId, SetId, State, WorkspaceId};
use nightlatch::store::audit::{self, AuditFilter};
use nightlatch::store::keys::{self, KeyView};
use nightlatch::store::tokens::{self, Holder};
use nightlatch::store::{Error, PageRequest, Store, receipts, rotations, routes, workspaces};
use nightlatch_gate::policy::Policy;
use nightlatch_key::{Digest, KeyText};
use nightlatch_keyset::Status;
use nightlatch_tests::postgres::ScratchDatabase;

use crate::before::{Before, Round, SET, WORKSPACE, policy, token_id};
use crate::log::proven;
use crate::reader::{assert_equals, load};
use crate::world::World;

mod an_earlier_programs_database_is_taken_over_whole {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sqlite() {
        let temp = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", temp.path().join("nightlatch.db").display());
        super::an_earlier_programs_database_is_taken_over_whole(url, temp).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn postgres() {
        let url = super::ScratchDatabase::create().await.unwrap().url().to_owned();
        super::an_earlier_programs_database_is_taken_over_whole(url, tempfile::tempdir().unwrap()).await;
    }
}

async fn an_earlier_programs_database_is_taken_over_whole(url: String, temp: tempfile::TempDir) {
    let before = Before::migrate(&url).await;
    let first = Round::new(0);
    before.write(&first).await;

    let store = Store::connect(&url).await.unwrap();
    let (workspace, set) = workspaces::first(&mut store.read().await.unwrap()).await.unwrap().unwrap();
    assert_eq!((workspace.id.as_str(), set.id.as_str()), (WORKSPACE, SET), "the workspace of before is the first");
    let of = (WorkspaceId::parse(WORKSPACE).unwrap(), SetId::parse(SET).unwrap());
    let mut world = World::with(store, url, of.0, of.1, temp);
    // What has ended long ago would leave with the next base.
    (world.limits.max_versions, world.limits.min_overlay) = (1_000, 100_000);
    is_whole(&world, &first, 0).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    is_published(&world, first.entries, first.keys.len()).await;
    adopts(&world, &first, 0).await;

    // It is still there, and writes on, in its own words.
    let second = Round::new(1);
    before.write(&second).await;
    before.publish(1).await;
    is_whole(&world, &second, 1).await;
    publisher.flush().await.unwrap();
    publisher.flush().await.unwrap();
    is_published(&world, first.entries + second.entries, first.keys.len() + second.keys.len()).await;
    adopts(&world, &second, 1).await;
    publisher.stop().await;
    // And it reads the first workspace as it always did.
    let founding =
        "SELECT COUNT(*) FROM workspaces WHERE id = (SELECT id FROM workspaces ORDER BY created_at, id LIMIT 1)";
    assert_eq!(world.count(&format!("{founding} AND id = '{WORKSPACE}'")).await, 1);
}

async fn by_text(world: &World, text: &str) -> KeyView {
    let mut read = world.store.read().await.unwrap();
    keys::by_digest(&mut read, &world.workspace, &Digest::of(text.as_bytes())).await.unwrap().unwrap()
}

/// Everything of a round is read as it was written.
async fn is_whole(world: &World, round: &Round, number: i64) {
    let now = world.store.now().await.unwrap();
    for written in &round.keys {
        let view = by_text(world, &written.text).await;
        let key = &view.key;
        assert_eq!((key.id.as_str(), i64::from(key.number)), (written.id.as_str(), written.number));
        let state = match written.status {
            _ if written.expired => State::Expired,
            Status::Active => State::Active,
            Status::Retiring => State::Retiring,
            Status::Disabled => State::Disabled,
            Status::Revoked => State::Revoked,
        };
        assert_eq!(key.state(now), state, "{}", written.id);
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        assert_eq!((scopes.as_slice(), key.owner.as_deref()), (["a:read", "b:write"].as_slice(), Some("ops")));
        assert_eq!(
            (key.tier.as_ref().map(|tier| tier.as_str()), key.labels.as_map()["team"].as_str()),
            (Some("gold"), "x")
        );
        assert!(key.link.is_none() && key.owner_member.is_none() && key.issuer_member.is_none());
        assert_eq!(view.rotation.is_some(), written.status == Status::Retiring, "{}", written.id);
    }
    let mut read = world.store.read().await.unwrap();
    let id = RotationId::parse(&round.rotation).unwrap();
    let rotation: Rotation = rotations::get(&mut read, &world.workspace, &id).await.unwrap();
    assert!(rotation.is_open(now));
    let (from, to) = (&round.keys[1].id, &round.keys[5].id);
    assert_eq!((rotation.predecessor.as_str(), rotation.successor.as_str()), (from.as_str(), to.as_str()));
    let current = routes::current(&mut read, &world.workspace, &world.set).await.unwrap().unwrap();
    assert_eq!((current.revision, &current.policy), (number + 1, &policy()));
    Policy::decode(&current.policy).unwrap();
    let page = PageRequest { limit: 200, after: None };
    let log = audit::list(&mut read, &world.workspace, &AuditFilter::default(), &page).await.unwrap().items;
    assert!(log.len() as i64 >= round.entries * (number + 1));
    let revoked = KeyRef::Id(KeyId::parse(&round.keys[3].id).unwrap());
    receipts::evidence(&mut read, &world.workspace, &world.set, &revoked).await.unwrap().unwrap();
    drop(read);
    // Each token opens what it opened, by the text that its holder has.
    for (place, (text, works)) in round.tokens.iter().zip([true, false, true]).enumerate() {
        let (holder, now) = holder(world, text).await;
        assert_eq!((holder.token.id.as_str(), holder.token.is_usable(now)), (token_id(number, place).as_str(), works));
        assert_eq!(holder.standing.is_some(), place < 2);
        assert!(holder.token.key.is_none() && holder.key.is_none());
    }
}

async fn holder(world: &World, text: &KeyText) -> (Holder, i64) {
    tokens::by_digest(&mut world.store.read().await.unwrap(), &text.digest()).await.unwrap().unwrap()
}

/// A management token becomes a key, once, and goes on opening what it opened; one that was revoked stays so.
async fn adopts(world: &World, round: &Round, number: i64) {
    for (place, works) in [(0, true), (1, false)] {
        let text = &round.tokens[place];
        for _ in 0..2 {
            let (found, _) = holder(world, text).await;
            let adopted = world
                .store
                .write::<_, Error, _>(move |tx| Box::pin(async move { tokens::adopt(tx, &found.token).await }));
            adopted.await.unwrap();
        }
        let (holder, now) = holder(world, text).await;
        assert_eq!(holder.token.id.as_str(), token_id(number, place));
        let key = holder.key.unwrap().key;
        assert_eq!(Some(&key.id), holder.token.key.as_ref());
        assert_eq!((holder.token.is_usable(now), key.state(now) == State::Active), (works, works));
        assert!(holder.standing.is_some());
    }
}

/// Edges get every key as the database has it, and the log is chained from its first entry on.
async fn is_published(world: &World, entries: i64, count: usize) {
    let edge = load(&world.directory);
    assert_equals(&edge.replica, &world.pepper("p1"), &world.keys().await);
    assert_eq!((edge.replica.len(), edge.policy), (count, Policy::decode(&policy()).unwrap()));
    let whole = proven(world, &[edge.head]).await.unwrap();
    assert_eq!((whole.entries, whole.unchained, whole.erased), (entries as u64, 0, 0));
}
