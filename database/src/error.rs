//! What can go wrong with the database, by what the caller can do about it.

use sea_orm::{DbErr, RuntimeErr, SqlxError};

/// A database error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not reached, overloaded, restarting or out of time: the same again later may work.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// It refused the statement: the same again fails the same way.
    #[error("the database refused: {0}")]
    Refused(String),
    /// A row holds what this version can't read.
    #[error("a row of the database can't be read: {0}")]
    Unreadable(String),
    /// The configured pool doesn't fit into what the server allows.
    #[error("{0}")]
    Capacity(String),
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        let text = error.to_string();
        match code(&error) {
            // Class 08 connection, 40 rollback, 53 resources, 57 operator intervention, 55P03 lock, 25006 read-only.
            Some(code) if ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
                Self::Unavailable(text)
            }
            Some(code) if code == "55P03" || code == "25006" => Self::Unavailable(text),
            Some(_) => Self::Refused(text),
            None => Self::Unavailable(text),
        }
    }
}

/// The SQLSTATE, where the server gave one.
fn code(error: &DbErr) -> Option<String> {
    if let DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime) = error
        && let RuntimeErr::SqlxError(error) = runtime
        && let SqlxError::Database(error) = &**error
    {
        return error.code().map(|code| code.into_owned());
    }
    None
}
