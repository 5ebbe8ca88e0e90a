//! Measurements, not cases: `cargo nextest run -p nightlatch --run-ignored only --no-capture -E 'test(speed)'`.
//!
//! The figures are worth what the profile is; the ones that are published come from `--release`.

use std::time::Instant;

use nightlatch::domain::import::ImportLine;
use nightlatch::domain::{LabelMatch, Labels, Name, Owner, Scope, Scopes, State, Tier};
use nightlatch::store::import::{self, Import};
use nightlatch::store::keys::{self, KeyFilter};
use nightlatch::store::{PageRequest, Store, os_random};
use nightlatch_key::{Digest, Environment};

use crate::arena::{Arena, request};

async fn issues(arena: &Arena, clients: usize, each: usize) -> f64 {
    let start = Instant::now();
    let clients = (0..clients).map(|_| {
        let (store, context): (Store, _) = (arena.store.clone(), arena.context.clone());
        tokio::spawn(async move {
            for _ in 0..each {
                let context = context.clone();
                store
                    .write(|tx| {
                        Box::pin(async move { keys::issue(tx, &context, request("speed"), &mut os_random).await })
                    })
                    .await
                    .unwrap();
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let count = clients.len() * each;
    for client in clients {
        client.await.unwrap();
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn file(first: u32, count: u32) -> Import {
    let line = |number: u32| ImportLine {
        digest: Digest::of(&number.to_le_bytes()),
        name: Name::new(format!("imported {number}")).unwrap(),
        environment: Environment::Live,
        subject: None,
        scopes: Scopes::new(["invoices:read", if number.is_multiple_of(2) { "a" } else { "b" }]).unwrap(),
        tier: Some(Tier::new("standard").unwrap()),
        owner: number.is_multiple_of(1000).then(|| Owner::new(format!("owner {}", number / 100_000)).unwrap()),
        labels: match number % 10 {
            0 => Labels::new([("team".to_owned(), (number % 1_000).to_string())].into()).unwrap(),
            _ => Labels::default(),
        },
        expires_at: number.is_multiple_of(10).then(|| 1_900_000_000 + i64::from(number)),
        rotate_by: None,
        weak: false,
    };
    let lines = (1..).zip((first..first + count).map(line)).collect();
    Import { lines, rejected: Vec::new(), strict: false, dry_run: false, body_hash: [0; 32], peppers: Vec::new() }
}

async fn imports(arena: &Arena, keys: u32) -> f64 {
    const LINES: u32 = 10_000;
    let mut spent = 0.0;
    for part in 0..keys / LINES {
        let import = file(part * LINES, LINES);
        let start = Instant::now();
        let done = arena
            .write(move |tx, context| Box::pin(async move { import::run(tx, &context, import, &mut os_random).await }))
            .await
            .unwrap();
        assert_eq!(done.created, u64::from(LINES));
        let took = start.elapsed().as_secs_f64();
        spent += took;
        if part % 10 == 9 {
            println!("  {:>9} keys, the last 10,000 in {:.0} ms", (part + 1) * LINES, took * 1000.0);
        }
    }
    f64::from(keys) / spent
}

async fn pages(arena: &Arena) {
    let none = KeyFilter::default;
    let time = |at: i64| Some(at);
    let filters = [
        ("all", none()),
        ("state=active", KeyFilter { state: Some(State::Active), ..none() }),
        ("state=revoked (none)", KeyFilter { state: Some(State::Revoked), ..none() }),
        ("state=retiring (none)", KeyFilter { state: Some(State::Retiring), ..none() }),
        ("state=disabled (none)", KeyFilter { state: Some(State::Disabled), ..none() }),
        ("state=expired (none)", KeyFilter { state: Some(State::Expired), ..none() }),
        ("owner", KeyFilter { owner: Some("owner 1".to_owned()), ..none() }),
        ("issued_by", KeyFilter { issued_by: Some("tok_admin".to_owned()), ..none() }),
        ("issued_by nobody", KeyFilter { issued_by: Some("tok_x".to_owned()), ..none() }),
        ("principal", KeyFilter { subject: Some(1), ..none() }),
        ("scope", KeyFilter { scope: Some(Scope::new("a").unwrap()), ..none() }),
        ("label=team", KeyFilter { label: LabelMatch::parse("team"), ..none() }),
        ("label=team=7 (rare)", KeyFilter { label: LabelMatch::parse("team=7"), ..none() }),
        ("label=team=none", KeyFilter { label: LabelMatch::parse("team=none"), ..none() }),
        ("environment=test (none)", KeyFilter { environment: Some(Environment::Test), ..none() }),
        ("last_used_before (all)", KeyFilter { last_used_before: time(i64::MAX), ..none() }),
        ("last_used_before (none)", KeyFilter { last_used_before: time(0), ..none() }),
        ("expires_before", KeyFilter { expires_before: time(1_900_500_000), ..none() }),
        ("rotate_by_before (none)", KeyFilter { rotate_by_before: time(1), ..none() }),
        ("q, frequent", KeyFilter { q: Some("imported 1".to_owned()), ..none() }),
        ("q, a rare name", KeyFilter { q: Some("ported 999999".to_owned()), ..none() }),
        ("q, absent", KeyFilter { q: Some("nothing like it".to_owned()), ..none() }),
    ];
    for (name, filter) in filters {
        let mut took = Vec::new();
        let mut after = None;
        let mut rows = 0;
        for _ in 0..20 {
            let start = Instant::now();
            let page = PageRequest { limit: 50, after };
            let page = keys::list(&mut arena.read().await, &arena.workspace, &filter, &page).await.unwrap();
            took.push(start.elapsed().as_secs_f64() * 1000.0);
            rows += page.items.len();
            after = page.next;
        }
        took.sort_by(f64::total_cmp);
        println!("  {name:<26} median {:>8.2} ms, worst {:>8.2} ms, {rows} rows", took[10], took[19]);
    }
}

async fn issuing(arena: Arena) {
    for clients in [1, 8, 64] {
        let rate = issues(&arena, clients, if clients == 1 { 500 } else { 20_000 / clients }).await;
        println!("{clients:>3} clients: {rate:.0} issues/s");
    }
}

async fn importing_and_listing(arena: Arena) {
    let keys = std::env::var("NIGHTLATCH_SPEED_KEYS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let rate = imports(&arena, keys).await;
    println!("{keys} keys imported at {rate:.0} rows/s");
    pages(&arena).await;
}

macro_rules! measurements {
    ($($name:ident: $database:ident $measure:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "a measurement"]
            async fn $name() {
                $measure(Arena::$database().await).await;
            }
        )+
    };
}

measurements! {
    issues_on_sqlite: sqlite issuing,
    issues_on_postgres: postgres issuing,
    imports_and_lists_on_sqlite: sqlite importing_and_listing,
    imports_and_lists_on_postgres: postgres importing_and_listing,
}
