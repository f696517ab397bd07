//! The limits of provider keys, as people set them.

use sea_orm::{DatabaseConnection, Statement};

use crate::Error;

/// Changes what `change` names: `ceiling`, `floor`, `calls_per_minute`, `images_per_minute` (null: none), `orphan_ms` (null: learnt), `paused`. Workers hear of it at
/// once, and obey at the latest with their next call.
pub async fn set(
    db: &DatabaseConnection,
    provider_key: &str,
    change: &serde_json::Value,
) -> Result<(), Error> {
    let statement = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT set_limits($1, $2)",
        [provider_key.into(), change.clone().into()],
    );
    crate::one(db, statement).await.map(drop)
}
