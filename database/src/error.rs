//! Errors of the database.

use sea_orm::{DbErr, RuntimeErr};

/// Error of a statement, a row or the pool.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be reached, or refused a statement. The same statement may work
    /// later, because a password may change, or a deploy may be in the middle of a migration.
    #[error("the database: {0}")]
    Failed(String),
    /// The server can't hold what was sent (SQLSTATE class 22 or 23). The same statement fails
    /// again.
    #[error("the database can't hold what was to be recorded: {0}")]
    Content(String),
    /// A row holds something that this version can't read.
    #[error("a row of the database can't be read: {0}")]
    Unreadable(String),
    /// The configured pool doesn't fit into what the server allows.
    #[error("{0}")]
    Capacity(String),
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        let code = if let DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) = &error
        {
            error.as_database_error().and_then(|error| error.code())
        } else {
            None
        };
        match code.as_deref() {
            Some(code) if code.starts_with("22") || code.starts_with("23") => {
                Self::Content(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}
