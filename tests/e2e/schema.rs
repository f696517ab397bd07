//! Migrations, up and down, and what the schema refuses.

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use tests::Stack;

/// Every column, constraint, index and function there is.
async fn schema(db: &DatabaseConnection) -> Vec<String> {
    let statement = Statement::from_string(
        db.get_database_backend(),
        "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable AS line
           FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'seaql_migrations'
         UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
           WHERE connamespace = 'public'::regnamespace AND conrelid <> 'seaql_migrations'::regclass
         UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'seaql_migrations'
         UNION ALL SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
         ORDER BY 1",
    );
    let rows = db.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get("", "line").unwrap()).collect()
}

#[tokio::test]
async fn up_down_up_gives_the_same_schema_and_down_leaves_nothing() {
    let stack = Stack::with().without_worker().start().await;
    let before = schema(&stack.database).await;
    assert!(before.iter().any(|line| line.starts_with("images.sha256")), "{before:?}");

    migrations::down(&stack.database, 4).await.unwrap();
    let down = schema(&stack.database).await;
    migrations::up(&stack.database).await.unwrap();

    assert_eq!(down, Vec::<String>::new());
    assert_eq!(schema(&stack.database).await, before);
    assert_eq!(migrations::pending(&stack.database).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn migrations_at_once_on_a_fresh_database_wait_for_each_other() {
    let stack = Stack::with().without_worker().start().await;
    stack.database.execute_unprepared("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
    let mut pools = Vec::new();
    for _ in 0..4 {
        pools.push(database::connect(&stack.config.database, 2).await.unwrap());
    }

    let applied = futures::future::join_all(pools.iter().map(migrations::up)).await;

    let mut applied: Vec<usize> = applied.into_iter().map(Result::unwrap).collect();
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, 4]);
    assert_eq!(migrations::pending(&stack.database).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pool_larger_than_the_server_allows_is_told_at_the_start() {
    let stack = Stack::with().without_worker().start().await;
    let mut config = stack.config.clone();
    config.database.max_connections = 9_999;

    let error = worker::Worker::new(&config).await.err().unwrap().to_string();

    assert!(error.contains("9999 database connections") && error.contains("the server allows"), "{error}");
}
