//! sea-orm entities and the only queries in the house.

pub mod calls;
mod connect;
mod error;
mod images;
pub mod leases;
pub mod limits;
pub mod reconcile;
pub mod report;
pub mod tasks;

pub use connect::{Settings, check_capacity, connect, connect_lazy};
pub use error::Error;
pub use sea_orm::DatabaseConnection;

/// The one row that a statement gives.
async fn one(db: &DatabaseConnection, statement: sea_orm::Statement) -> Result<sea_orm::QueryResult, Error> {
    use sea_orm::ConnectionTrait;
    db.query_one_raw(statement).await?.ok_or_else(|| Error::Unreadable("a statement gave no row".into()))
}
