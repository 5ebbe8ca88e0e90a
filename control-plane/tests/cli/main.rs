//! The program as people and scripts run it.

mod administration;
mod auditing;
mod denying;
mod edges;
mod exporting;
mod importing;
mod inventory;
mod people;
mod principals;
mod program;
mod recovering;
mod serving;
mod set;
mod signing_in;
