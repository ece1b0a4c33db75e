//! Tests against a real server: see [`support::Server`].

mod behaviour;
mod checker;
mod failures;
mod layers;
mod proxy;
mod races;
mod support;
