//! Migrations, up and down, and what the schema refuses.

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use tests::Stack;

/// Every column, constraint, index and function there is.
async fn schema(db: &DatabaseConnection) -> Vec<String> {
    let statement = Statement::from_string(
        db.get_database_backend(),
        "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable AS line
           FROM information_schema.columns WHERE table_schema = 'darkroom' AND table_name <> 'seaql_migrations'
         UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
           WHERE connamespace = 'darkroom'::regnamespace AND conrelid <> 'seaql_migrations'::regclass
         UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'darkroom' AND tablename <> 'seaql_migrations'
         UNION ALL SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'darkroom'::regnamespace
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

    migrations::down(&stack.database, 1).await.unwrap();
    let down = schema(&stack.database).await;
    migrations::up(&stack.database).await.unwrap();

    assert_eq!(down, Vec::<String>::new());
    assert_eq!(schema(&stack.database).await, before);
    assert_eq!(migrations::pending(&stack.database).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn migrations_at_once_on_a_fresh_database_wait_for_each_other() {
    let stack = Stack::with().without_worker().start().await;
    stack.database.execute_unprepared("DROP SCHEMA darkroom CASCADE").await.unwrap();
    let mut pools = Vec::new();
    for _ in 0..4 {
        pools.push(database::connect(&stack.config.database, 2).await.unwrap());
    }

    let applied = futures::future::join_all(pools.iter().map(migrations::up)).await;

    let mut applied: Vec<usize> = applied.into_iter().map(Result::unwrap).collect();
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, 1]);
    assert_eq!(migrations::pending(&stack.database).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn the_schema_is_darkrooms_own_and_closed_to_everybody_else() {
    let stack = Stack::with().without_worker().start().await;
    let database = &stack.database;
    // An app's own tables, and another role of the same database, such as the one that Supabase serves to browsers.
    database
        .execute_unprepared("CREATE TABLE public.tasks (id int); CREATE TABLE public.images (id int)")
        .await
        .unwrap();
    database.execute_unprepared("CREATE ROLE browser_of_an_app LOGIN").await.unwrap();

    let ours =
        "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r')
                     + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace) AS outside,
                       has_schema_privilege('browser_of_an_app', 'darkroom', 'USAGE') AS enters,
                       (SELECT count(*) FROM pg_proc WHERE pronamespace = 'darkroom'::regnamespace
                           AND has_function_privilege('browser_of_an_app', oid, 'EXECUTE')) AS callable";
    let statement = Statement::from_string(database.get_database_backend(), ours);
    let row = database.query_one_raw(statement).await.unwrap().unwrap();
    let found: (i64, bool, i64) = (
        row.try_get("", "outside").unwrap(),
        row.try_get("", "enters").unwrap(),
        row.try_get("", "callable").unwrap(),
    );

    database.execute_unprepared("DROP ROLE browser_of_an_app").await.unwrap();
    assert_eq!(found, (2, false, 0), "tables and functions in public, the way in, functions to call");
}

#[tokio::test]
async fn a_worker_needs_its_functions_or_later_ones() {
    let stack = Stack::with().without_worker().start().await;
    let starts = async || worker::Worker::new(&stack.config).await.err().map(|error| error.to_string());
    let now = "SELECT revision FROM installed_functions";
    for (change, expected) in [
        ("UPDATE installed_functions SET sha256 = 'of another program'", Some("darkroom migrate up")),
        ("UPDATE installed_functions SET revision = revision - 1", Some("darkroom migrate up")),
        ("UPDATE installed_functions SET revision = revision + 2", None),
    ] {
        stack.database.execute_unprepared(change).await.unwrap();
        let error = starts().await;
        assert_eq!(error.is_some(), expected.is_some(), "{change}: {error:?}");
        assert!(error.unwrap_or_default().contains(expected.unwrap_or_default()), "{change}");
    }

    // An earlier program leaves later functions alone.
    let error = migrations::up(&stack.database).await.unwrap_err().to_string();
    assert!(error.contains("use a later program"), "{error}");
    stack.database.execute_unprepared("UPDATE installed_functions SET revision = 0").await.unwrap();
    migrations::up(&stack.database).await.unwrap();
    let statement = Statement::from_string(stack.database.get_database_backend(), now);
    let row = stack.database.query_one_raw(statement).await.unwrap().unwrap();
    assert_eq!(row.try_get::<i32>("", "revision").unwrap(), migrations::functions::REVISION);
    assert_eq!(starts().await, None);
}

#[tokio::test]
async fn a_pool_larger_than_the_server_allows_is_told_at_the_start() {
    let stack = Stack::with().without_worker().start().await;
    let mut config = stack.config.clone();
    config.database.max_connections = 9_999;

    let error = worker::Worker::new(&config).await.err().unwrap().to_string();

    assert!(error.contains("9999 database connections") && error.contains("the server allows"), "{error}");
}

/// The tables that an app may read, and those behind them, as the database describes itself.
async fn described(db: &DatabaseConnection) -> String {
    let statement = Statement::from_string(
        db.get_database_backend(),
        "SELECT relname AS name, obj_description(pg_class.oid) AS says,
                (SELECT json_agg(json_build_array(attname, format_type(atttypid, atttypmod), attnotnull,
                                                  col_description(attrelid, attnum)) ORDER BY attnum)
                   FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped) AS columns
           FROM pg_class WHERE relnamespace = 'darkroom'::regnamespace AND relkind = 'r' AND relname <> 'seaql_migrations'
          ORDER BY relname <> 'tasks', relname <> 'images', relname",
    );
    let mut text = "# The schema\n\nAll tables are in the schema `darkroom` (setting `database.schema`). An app reads `tasks` and `images`.\n\
                    The others belong to Darkroom, and change without notice. This page is made from the comments in the\n\
                    database: `UPDATE_DOCS=1 ./test e2e schema`.\n"
        .to_owned();
    for row in db.query_all_raw(statement).await.unwrap() {
        let (name, says): (String, Option<String>) =
            (row.try_get("", "name").unwrap(), row.try_get("", "says").unwrap());
        let says = says.unwrap_or_else(|| panic!("the table {name} has no comment"));
        text += &format!("\n## {name}\n\n{says}\n\n| column | type | |\n|---|---|---|\n");
        let columns: serde_json::Value = row.try_get("", "columns").unwrap();
        for column in columns.as_array().unwrap() {
            let field = |at: usize| column[at].as_str().unwrap_or_default().replace('|', "\\|");
            assert!(!field(3).is_empty(), "the column {name}.{} has no comment", field(0));
            let null = if column[2] == true { "" } else { ", or NULL" };
            text += &format!("| `{}` | {}{null} | {} |\n", field(0), field(1), field(3));
        }
    }
    text
}

#[tokio::test]
async fn every_table_and_column_is_described_and_the_page_says_the_same() {
    let stack = Stack::with().without_worker().start().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.md");

    let described = described(&stack.database).await;

    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, &described).unwrap();
    }
    let page = std::fs::read_to_string(file).unwrap_or_default();
    assert!(page == described, "docs/schema.md differs from the database: UPDATE_DOCS=1 ./test e2e schema");
}
