//! The HTTP interface: one file per resource, and what they share.
//!
//! A request passes, from the outside in: [`frame`] (request id, log line, metrics, rendering of refusals), [`access`]
//! (who may call this route: denied unless the table says otherwise), then its handler. Handlers read with extractors
//! that refuse in the one problem format, call the store, and answer with the types of `nightlatch-api`.

mod access;
mod app;
mod attempts;
mod audit;
mod body;
mod caller;
mod catalogue;
mod cursor;
mod edges;
mod enrol;
mod etag;
mod frame;
mod gatekeeper;
mod head;
mod health;
mod heard;
mod idempotency;
mod import;
mod keys;
mod members;
mod noted;
mod openapi;
mod params;
mod principals;
mod receipts;
mod refused;
mod request_id;
mod rotations;
mod router;
mod routes;
mod session;
mod sets;
mod source;
mod strays;
mod time;
mod tokens;
mod turns;
mod verify;
mod workspaces;

pub use app::{App, Parts};
pub(crate) use enrol::mint as mint_enrolment;
pub use openapi::document as openapi_document;
pub use router::router;
pub use tokens::mint as mint_token;
