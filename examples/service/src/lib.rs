//! A service to copy: users in PostgreSQL, read through a cache in each instance.
//!
//! ```text
//!   GET, PUT, DELETE --routes--> service --users (or with_moka)--> database --> PostgreSQL
//!                                   ^                                                |
//!                                   +-------------- listener <------ NOTIFY ---------+
//! ```
//!
//! [`users`] has everything that concerns bytecache. [`with_moka`] is the same with moka, for the
//! comparison, and [`driver`] is for the load generator and the tests. To copy the service, leave
//! these two out.

pub mod database;
pub mod driver;
pub mod listener;
pub mod report;
pub mod routes;
pub mod service;
pub mod users;
pub mod with_moka;
