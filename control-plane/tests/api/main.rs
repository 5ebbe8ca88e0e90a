//! The API through its real router, database and publisher.

mod account_tokens;
mod app;
mod attempts;
mod audit;
mod bad_input;
mod border;
mod catalogue;
mod clock;
mod dump;
mod durable;
mod edges;
mod endings;
mod enrolled;
mod held_back;
mod idempotency;
mod import;
mod inventory;
mod isolation;
mod joining;
mod keys;
mod limits;
mod lists;
mod matrix;
mod members;
mod openapi;
mod operation;
mod operations;
mod outdated;
mod people;
mod principals;
mod problems;
mod racing;
mod receipts;
mod rotations;
mod routes;
mod secrecy;
mod session;
mod shown_out;
mod tenants;
mod token_rights;
mod tokens;
mod waiting;
mod walks;
mod workspaces;

/// Runs a test on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        mod $name {
            #[tokio::test]
            async fn sqlite() {
                super::$name($crate::app::TestApp::sqlite().await).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$name($crate::app::TestApp::postgres().await).await;
            }
        }
    };
}
pub(crate) use on_both;
