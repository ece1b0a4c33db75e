//! Tests against a real server: see [`support::Server`].

mod behaviour;
mod cluster;
mod entries;
mod failures;
mod layers;
mod links;
mod processes;
mod proxy;
mod races;
mod security;
mod support;
#[cfg(feature = "tls")]
mod tls;
