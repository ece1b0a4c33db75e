//! Tests against a real server: see [`support::Server`].

mod behaviour;
mod cluster;
mod failures;
mod layers;
mod processes;
mod proxy;
mod races;
mod security;
mod support;
