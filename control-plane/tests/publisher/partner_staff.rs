//! Keys of a partner organisation's staff: they stop with the organisation, at edges too.

use nightlatch::domain::{PrincipalState, Reason, Role};
use nightlatch::store::{Error, principals};
use nightlatch_keyset::Replica;

use crate::on_both;
use crate::people::Fate;
use crate::reader::load;
use crate::world::World;

on_both! {
    /// S0-14, S0-27: whatever the number of staff, one change of one profile each.
    s0_14_staff_stop_with_their_organisation
    s0_14_staff_of_a_removed_organisation_are_revoked
}

pub(crate) const AGENCY: u32 = 50;
/// The subjects of its staff, and of somebody of the workspace's own: the next ones.
const STAFF: std::ops::Range<u32> = 2..32;
const OWN: u32 = 32;

impl World {
    /// A partner organisation.
    pub(crate) async fn partner(&self) {
        let workspace = &self.workspace;
        self.execute(&format!(
            "INSERT INTO principals (workspace_id, subject, kind, name, created_at) \
             VALUES ('{workspace}', {AGENCY}, 'partner', 'agency', 0)"
        ))
        .await;
    }

    /// A partner organisation whose staff have two keys each, and an admin with one.
    async fn agency(&self) {
        self.partner().await;
        for subject in STAFF.chain([OWN]) {
            self.member(subject, Role::Admin, "invoices:read").await;
            self.issue_to(subject).await;
        }
        self.issue_to(STAFF.start).await;
        self.execute(&format!("UPDATE members SET role = 'partner_staff', partner = {AGENCY} WHERE subject <> {OWN}"))
            .await;
    }

    /// Suspends, resumes or removes the organisation.
    pub(crate) async fn turn(&self, to: PrincipalState) -> u64 {
        let context = self.context();
        let turned = self.store.write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let reason = Some(Reason::new("over").unwrap());
                let changed = match to {
                    PrincipalState::Suspended => principals::suspend_because(tx, &context, AGENCY, reason.as_ref()),
                    PrincipalState::Active => {
                        return Ok(principals::resume_because(tx, &context, AGENCY, None).await?.keys);
                    }
                    PrincipalState::Removed => {
                        return Ok(principals::remove_because(tx, &context, AGENCY, reason.as_ref()).await?.keys);
                    }
                };
                Ok(changed.await?.keys)
            })
        });
        turned.await.unwrap()
    }
}

/// How many keys an edge refuses for their profile.
fn refused(replica: &Replica) -> usize {
    replica.iter().filter(|row| replica.profile(row.as_ref().unwrap().1.profile).unwrap().refused).count()
}

async fn s0_14_staff_stop_with_their_organisation(world: World) {
    world.agency().await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    assert_eq!(refused(&load(&world.directory).replica), 0);
    let rows = async || world.count("SELECT COUNT(*) FROM profile_changes").await;
    let before = rows().await;
    for (to, wanted) in [
        (PrincipalState::Suspended, STAFF.len() + 1),
        (PrincipalState::Suspended, STAFF.len() + 1),
        (PrincipalState::Active, 0),
    ] {
        world.turn(to).await;
        publisher.flush().await.unwrap();
        assert_eq!(refused(&load(&world.directory).replica), wanted, "{to:?}");
    }
    assert_eq!(rows().await - before, 2 * i64::try_from(STAFF.len()).unwrap(), "one each, there and back");
    // Who is suspended themselves does not come back with the organisation.
    world.becomes(STAFF.start, Fate::Suspended).await;
    world.turn(PrincipalState::Suspended).await;
    world.turn(PrincipalState::Active).await;
    publisher.flush().await.unwrap();
    assert_eq!(refused(&load(&world.directory).replica), 2);
}

async fn s0_14_staff_of_a_removed_organisation_are_revoked(world: World) {
    world.agency().await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    assert_eq!(world.turn(PrincipalState::Removed).await, u64::try_from(STAFF.len()).unwrap() + 1);
    publisher.flush().await.unwrap();
    assert_eq!(refused(&load(&world.directory).replica), STAFF.len() + 1);
    // Each has a receipt, and leaves the set: nothing brings it back.
    assert_eq!(world.sweep().await, u64::try_from(STAFF.len()).unwrap() + 1);
    publisher.flush().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM keys WHERE state <> 'revoked'").await, 1);
    assert_eq!(world.turn(PrincipalState::Removed).await, 0);
}
