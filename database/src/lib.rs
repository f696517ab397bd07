//! sea-orm entities and the only queries in the house.

mod connect;
mod error;
mod images;
pub mod tasks;

pub use connect::{Settings, check_capacity, connect, connect_lazy};
pub use error::Error;
pub use sea_orm::DatabaseConnection;
