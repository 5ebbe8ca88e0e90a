//! The publisher on both databases: what it publishes is what was committed, whatever happens in between.

mod audit;
mod background;
mod before;
mod crash;
mod cuts;
mod denying;
mod folding;
mod formats;
mod gate;
mod heads;
mod interleaving;
mod killed;
mod leadership;
mod log;
mod losing;
mod members;
mod migrated;
mod numbering;
mod outdated;
mod partner_staff;
mod people;
mod permits;
mod reader;
mod rebuilding;
mod recovering;
mod recovering_members;
mod removed_signers;
mod retention;
mod signers;
mod tampering;
mod world;

/// Runs an `async fn(World)` on SQLite and on PostgreSQL, as two tests.
macro_rules! on_both {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name(crate::world::World::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name(crate::world::World::postgres().await).await;
            }
        }
    )*};
}
pub(crate) use on_both;
