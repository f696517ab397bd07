//! Tables of tasks and images, the queries of a task's life, and the connection.

mod connect;
mod error;
pub mod functions;
mod images;
pub mod reconcile;
pub mod tasks;

use sea_orm::{ConnectionTrait, QueryResult, Statement};

pub use connect::{Settings, check_capacity, connect, connect_lazy};
pub use error::Error;
pub use sea_orm::DatabaseConnection;

/// Returns the one row that a statement gives. A statement without a row is an error.
pub async fn one(db: &DatabaseConnection, statement: Statement) -> Result<QueryResult, Error> {
    db.query_one_raw(statement).await?.ok_or_else(|| Error::Unreadable("a statement gave no row".into()))
}

/// Returns the rows of a query, in its order.
pub async fn query<const N: usize>(
    db: &DatabaseConnection,
    sql: &str,
    values: [sea_orm::Value; N],
) -> Result<Vec<QueryResult>, Error> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    Ok(db.query_all_raw(statement).await?)
}
