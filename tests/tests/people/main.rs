//! What is required of people, roles, scopes and the audit log, walked by id: on SQLite with one process, on PostgreSQL with
//! two replicas that are called in turn. Whether keys are let through is asked of an edge that follows the published files.

mod audit;
mod gateways;
mod inventory;
mod keys;
mod killed;
mod members;
mod partners;
mod proof;
mod service_accounts;
