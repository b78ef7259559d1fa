//! The hub against a model of the database and of clients, over arbitrary interleavings.

mod model;
mod rules;
mod world;

pub(super) use self::world::hub;
