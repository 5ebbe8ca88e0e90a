//! What the store promises, shown on both databases: every case runs on SQLite and on a real PostgreSQL server.

mod arena;
mod audit;
mod authority;
mod dump;
mod edges;
mod endings;
mod forgetting;
mod imports;
mod keys;
mod lists;
mod oidc_flows;
mod rotations;
mod schema;
mod speed;
mod store;
mod tenancy;
mod tokens;
mod upgrade;
mod waiting;
