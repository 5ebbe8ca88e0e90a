//! The typed client of the control plane.
//!
//! ```no_run
//! # async fn example() -> Result<(), nightlatch_api::client::ClientError> {
//! use nightlatch_api::{Environment, IssueKey, client::Client};
//!
//! let client = Client::new("http://127.0.0.1:8717")?.with_token("nlm_live_…");
//! let issued = client.issue_key(&IssueKey::new("billing v2", Environment::Live)).await?;
//! println!("{} works from {}", issued.key.prefix, issued.key.usable_from);
//! # Ok(())
//! # }
//! ```

mod calls;
mod error;
mod pages;
mod people;
mod principals;
mod request;
mod session;

pub use error::ClientError;
pub use principals::Principals;
pub use request::{Client, Tagged};
