//! `/v1/keys`: issue, list, read, change, end.

mod change;
mod export;
mod filter;
mod issue;
mod list;
mod many;
pub(super) mod view;

pub(super) use change::{
    __path_disable, __path_enable, __path_revoke, __path_update, disable, enable, reason, revoke, update,
};
pub(super) use export::{__path_export, export};
pub(super) use issue::{__path_issue, issue, subject};
pub(super) use list::{__path_list, __path_read, list, read};
pub(super) use many::{__path_revoke_many, revoke_many};
