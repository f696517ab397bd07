//! Functions of the database, and their revision.

use database::functions::{self, Function};
use sea_orm_migration::sea_orm::{DatabaseConnection, DbErr};

/// Number of the functions' latest change. A worker works with its own revision and with later
/// ones.
pub const REVISION: i32 = 1;

/// SHA-256 of the functions of this revision.
#[cfg(test)]
const SHA256: &str = "6d2d828657552b4138e7e5ec9bb1a42cd0cafebaab5ef0918cb12cb3619d395a";

fn all() -> Vec<Function> {
    [database::functions::FUNCTIONS, paid_calls::functions::FUNCTIONS].concat()
}

/// Makes or replaces all functions. Later functions are left alone, and are an error.
pub(crate) async fn install(db: &DatabaseConnection) -> Result<(), DbErr> {
    if let Ok((revision, _)) = functions::installed(db).await
        && revision > REVISION
    {
        return Err(DbErr::Custom(format!(
            "the database's functions are of revision {revision}, and this program has {REVISION}: use a later program"
        )));
    }
    functions::install(db, REVISION, &all()).await.map_err(|error| DbErr::Custom(error.to_string()))
}

/// Checks that the installed functions are this program's, or later ones. The error says what to
/// do.
pub async fn check(db: &DatabaseConnection) -> Result<(), String> {
    let installed = functions::installed(db).await;
    let (revision, sha256) = installed.map_err(|error| {
        format!("the database's schema can't be read, run `darkroom migrate up`: {error}")
    })?;
    if revision < REVISION {
        return Err(format!(
            "the database's functions are of revision {revision}, and this program needs {REVISION}: run `darkroom migrate up`"
        ));
    }
    if revision == REVISION && sha256 != functions::sha256(&all()) {
        return Err(
            "the database's functions are not those of this program: run `darkroom migrate up`".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_functions_have_a_revision_of_their_own() {
        assert_eq!(
            functions::sha256(&all()),
            SHA256,
            "a function was changed: count REVISION up, unless this one was never released, and set SHA256"
        );
    }
}
