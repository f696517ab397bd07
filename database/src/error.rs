//! What can go wrong with the database.

use sea_orm::DbErr;

/// A database error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be reached, or refused a statement. The same again later may work: also a refusal may be a password that
    /// changes, or a schema in the middle of a deploy.
    #[error("the database: {0}")]
    Failed(String),
    /// A row holds what this version can't read.
    #[error("a row of the database can't be read: {0}")]
    Unreadable(String),
    /// The configured pool doesn't fit into what the server allows.
    #[error("{0}")]
    Capacity(String),
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        Self::Failed(error.to_string())
    }
}
