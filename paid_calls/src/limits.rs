//! Limits of provider keys, as people set them.

use database::Error;
use sea_orm::{DatabaseConnection, Statement};
use serde::{Deserialize, Deserializer, Serialize};

/// A change of a key's limits. A field that is `None` leaves its limit alone, and `Some(None)`
/// takes the limit away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Largest number of calls in flight, over all workers.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub ceiling: Option<Option<u32>>,
    /// Limit below which adaptation never cuts, as far as the ceiling allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<u32>,
    /// Largest number of calls that begin within any minute.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub calls_per_minute: Option<Option<u32>>,
    /// Largest number of images that are asked for within any minute.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub images_per_minute: Option<Option<u32>>,
    /// Milliseconds from its begin for which an orphan uses capacity. `Some(None)` learns the span
    /// from the key's calls.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub orphan_ms: Option<Option<u32>>,
    /// True if no call may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

impl Change {
    /// Returns a change of the ceiling alone.
    pub fn ceiling(calls: u32) -> Self {
        Self { ceiling: Some(Some(calls)), ..Self::default() }
    }

    /// Returns a change that pauses the key, or resumes it.
    pub fn paused(paused: bool) -> Self {
        Self { paused: Some(paused), ..Self::default() }
    }
}

/// Reads a field that is there, `null` included.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Changes a key's limits, and makes the key where there is none. Workers hear of the change
/// immediately, and obey with their next call at the latest.
pub async fn set(db: &DatabaseConnection, provider_key: &str, change: &Change) -> Result<(), Error> {
    let change = serde_json::to_value(change).map_err(|error| Error::Unreadable(error.to_string()))?;
    let statement = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT set_limits($1, $2)",
        [provider_key.into(), change.into()],
    );
    database::one(db, statement).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_taken_away_differs_from_one_that_stays() {
        let change = Change { ceiling: Some(None), floor: Some(2), ..Change::default() };
        let json = serde_json::json!({ "ceiling": null, "floor": 2 });
        assert_eq!(serde_json::to_value(&change).unwrap(), json);
        assert_eq!(serde_json::from_value::<Change>(json).unwrap(), change);
    }
}
