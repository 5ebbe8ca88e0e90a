//! Workspaces beside the founding one.

use nightlatch::domain::Name;
use nightlatch::store::tenancy::{self, NewWorkspace};
use nightlatch::store::{Error, Page, PageRequest, os_random, workspaces};
use nightlatch_key::{Brand, Digest};

use crate::arena::{Arena, on_both};

on_both! {
    s3_01_the_founding_workspace_is_the_oldest_whatever_the_clock_says,
}

/// An hour, milliseconds.
const HOUR: i64 = 3_600_000;

async fn s3_01_the_founding_workspace_is_the_oldest_whatever_the_clock_says(arena: Arena) {
    // It was made by a clock that was an hour ahead, and has been set right since.
    arena.execute(format!("UPDATE workspaces SET created_at = created_at + {HOUR} WHERE kind = 'tenant'")).await;
    let mut made = Vec::new();
    for brand in ["acme", "zeta"] {
        let context = arena.context.clone();
        let wanted = NewWorkspace {
            name: Name::new(brand).unwrap(),
            brand: Brand::new(brand).unwrap(),
            owner_email: None,
            enrolment: Digest::of(brand.as_bytes()),
            lifetime_ms: 1000,
        };
        let work = arena.store.write::<_, Error, _>(move |tx| {
            Box::pin(async move { tenancy::create(tx, &context, &wanted, &mut os_random).await })
        });
        made.push(work.await.unwrap());
    }
    let mut read = arena.store.read().await.unwrap();
    let (founding, set) = workspaces::first(&mut read).await.unwrap().unwrap();
    assert_eq!((&founding.id, &set.id), (&arena.workspace, &arena.set));
    let now = read.now().await.unwrap();
    for one in &made {
        assert!(one.workspace.created_at > founding.created_at);
        // What is measured by the clock is by the real one.
        assert!(one.enrolment_ends <= now + 1000, "{} at {now}", one.enrolment_ends);
    }
    let Page { items, .. } = tenancy::list(&mut read, None, &PageRequest { limit: 10, after: None }).await.unwrap();
    assert_eq!(items.last().unwrap().0, arena.workspace, "newest first");
}
