//! How many SQL statements Postgres was sent.

use anyhow::{Context, Result};
use database::DatabaseConnection;
use sandbox::Postgres;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

/// How statements are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    /// pg_stat_statements: each statement that a client sent, BEGIN and COMMIT included.
    Statements,
    /// pg_stat_database, where that extension isn't installed: transactions, of which a statement by itself is one.
    Transactions,
}

impl Counter {
    /// For the report.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Counter::Statements => "by pg_stat_statements, BEGIN and COMMIT included",
            Counter::Transactions => "transactions by pg_stat_database: pg_stat_statements is not installed",
        }
    }

    /// Has the server count statements, for which it is restarted, if it can.
    pub(crate) async fn install(postgres: &mut Postgres, db: &DatabaseConnection) -> Result<Self> {
        let known = "SELECT count(*) AS count FROM pg_available_extensions WHERE name = 'pg_stat_statements'";
        if number(db, known).await? == 0 {
            return Ok(Counter::Transactions);
        }
        execute(db, "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'").await?;
        postgres.process().stop().await.context("stopping Postgres")?;
        postgres.restart().await.context("restarting Postgres to count statements")?;
        // The pool's connections died with the server; the first to be taken may tell.
        let mut created = Ok(());
        for _ in 0..3 {
            created = execute(db, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public").await;
            if created.is_ok() {
                break;
            }
        }
        created.map(|()| Counter::Statements)
    }

    /// How many there were so far, this question's own predecessors included.
    pub(crate) async fn read(self, db: &DatabaseConnection) -> Result<u64> {
        let count = match self {
            Counter::Statements => {
                "SELECT coalesce(sum(calls), 0)::bigint AS count FROM public.pg_stat_statements"
            }
            Counter::Transactions => {
                "SELECT (xact_commit + xact_rollback)::bigint AS count FROM pg_stat_database
                  WHERE datname = current_database()"
            }
        };
        Ok(number(db, count).await?.max(0) as u64)
    }
}

async fn number(db: &DatabaseConnection, sql: &str) -> Result<i64> {
    let row = db
        .query_one_raw(Statement::from_string(DbBackend::Postgres, sql))
        .await
        .context("asking Postgres")?;
    row.context("Postgres gave no row")?.try_get("", "count").context("Postgres gave no number")
}

async fn execute(db: &DatabaseConnection, sql: &str) -> Result<()> {
    db.execute_unprepared(sql).await.with_context(|| format!("Postgres refused `{sql}`"))?;
    Ok(())
}
