//! The servers: they start, stop, come back after a kill, and leave nothing behind.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use sandbox::process::{Guarded, Program};
use sandbox::{Folder, ObjectStore, Options, Postgres, Stack, StoreKind, Temporal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::child;
use crate::client::{eventually, http};

#[tokio::test]
async fn a_program_under_guard_is_stopped_and_its_folder_removed() -> Result<()> {
    let folder = Folder::create()?;
    let path = folder.path().to_owned();
    let mut sleeper =
        Program::new("sleeper", "/bin/sleep", folder.sub("sleeper")?).arg("1000").start().await?;
    let pid = sleeper.pid().to_string();
    assert!(child::lives(&pid).await && sleeper.ended()?.is_none());

    sleeper.stop().await?;
    assert!(!child::lives(&pid).await);
    drop(sleeper);
    folder.remove().await?;

    assert!(!path.exists());
    Ok(())
}

/// A program that ends in an orderly way when asked to, which it says; `before` is done first.
fn orderly(folder: &Folder, before: &str) -> Result<Program> {
    let script = format!("trap '{before}; echo bye; exit' TERM; echo up; while :; do sleep 0.01; done");
    let program = Program::new("orderly", "/bin/sh", folder.sub("orderly")?).arg("-c").arg(script);
    Ok(program.patience(Duration::from_secs(120)))
}

async fn said(program: &Guarded, what: &str) -> Result<()> {
    let log = program.log();
    eventually(what, async || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.lines().any(|line| line == what))
    })
    .await
}

#[tokio::test]
async fn a_paused_program_is_stopped_in_an_orderly_way() -> Result<()> {
    let folder = Folder::create()?;
    let mut program = orderly(&folder, ":")?.start().await?;
    said(&program, "up").await?;
    program.signal("STOP").await?;

    program.stop().await?;

    said(&program, "bye").await?;
    drop(program);
    folder.remove().await
}

#[tokio::test]
async fn a_program_that_does_not_end_is_killed() -> Result<()> {
    let folder = Folder::create()?;
    let script = "trap '' TERM; echo up; while :; do sleep 0.01; done";
    let stubborn = Program::new("stubborn", "/bin/sh", folder.sub("stubborn")?).args(["-c", script]);
    let mut stubborn = stubborn.patience(Duration::from_millis(200)).start().await?;
    said(&stubborn, "up").await?;

    stubborn.stop().await?;

    assert!(!child::lives(&stubborn.pid().to_string()).await);
    drop(stubborn);
    folder.remove().await
}

#[tokio::test]
async fn a_folder_stays_as_long_as_a_program_runs_in_it() -> Result<()> {
    let outside = tempfile::NamedTempFile::new()?;
    let folder = Folder::create()?;
    let look = format!("sleep 0.3; test -d . -a -e orderly.log && echo there >{}", outside.path().display());
    let program = orderly(&folder, &look)?.start().await?;
    said(&program, "up").await?;

    drop(program);
    folder.remove().await?;

    assert_eq!(std::fs::read_to_string(outside.path())?, "there\n");
    Ok(())
}

#[tokio::test]
async fn a_program_that_ends_too_early_is_quoted() -> Result<()> {
    let folder = Folder::create()?;
    let script = "echo 'the disk is full' >&2; exit 3";
    let mut broken =
        Program::new("broken", "/bin/sh", folder.sub("broken")?).args(["-c", script]).start().await?;

    let error = broken.ready(async || false).await.err().context("it got ready")?.to_string();

    assert!(error.contains("broken ended before it was ready (exit status: 3)"), "{error}");
    assert!(error.ends_with("the disk is full"), "{error}");
    drop(broken);
    folder.remove().await
}

#[tokio::test]
async fn nothing_is_left_of_a_stack_whose_holder_is_killed() -> Result<()> {
    let (mut holder, mut lines) = child::start("servers::holds_a_stack_for_ever", &[])?;
    let said = child::hear(&mut lines).await?;
    let (folder, pids) = said.split_once(' ').context("too few words")?;
    let pids: Vec<&str> = pids.split(' ').collect();
    ensure!(pids.len() == 3 && Path::new(folder).exists(), "{said}");
    for pid in &pids {
        ensure!(child::lives(pid).await, "process {pid} does not live");
    }

    holder.kill().await?; // -9

    for pid in &pids {
        eventually("the server ends", async || !child::lives(pid).await).await?;
    }
    eventually("the folder is removed", async || !Path::new(folder).exists()).await
}

#[tokio::test]
#[ignore = "run by nothing_is_left_of_a_stack_whose_holder_is_killed"]
async fn holds_a_stack_for_ever() -> Result<()> {
    let mut stack = Stack::start(Options { store: StoreKind::Versity, ..Options::default() }).await?;
    let ObjectStore::Versity(versity) = &mut stack.store else { anyhow::bail!("another store") };
    let pids = [stack.postgres.process().pid(), stack.temporal.process().pid(), versity.process().pid()];
    let pids = pids.map(|pid| pid.to_string()).join(" ");
    child::say(&format!("{} {pids}", stack.folder().display()))?;
    std::future::pending().await
}

#[tokio::test]
async fn nothing_is_left_of_a_stack_that_could_not_start() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    // Whoever Postgres runs as has to get in.
    std::fs::set_permissions(temporary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    let path = temporary.path().to_str().context("a strange path")?;
    let environment = [("TMPDIR", path), ("DARKROOM_TEMPORAL", "/bin/echo")];

    let (mut holder, mut lines) = child::start("servers::starts_a_stack_in_vain", &environment)?;
    let error = child::hear(&mut lines).await?;
    ensure!(holder.wait().await?.success());

    assert!(error.contains("/bin/echo --version says 'echo"), "{error}");
    let left: Vec<_> = std::fs::read_dir(path)?.collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "run by nothing_is_left_of_a_stack_that_could_not_start"]
async fn starts_a_stack_in_vain() -> Result<()> {
    let error = Stack::start(Options::default()).await.err().context("it started")?;
    child::say(&format!("{error:#}"))
}

#[tokio::test]
async fn a_stack_starts_and_names_its_parts() -> Result<()> {
    let namespaces = vec!["pictures".to_owned()];
    let stack = Stack::start(Options { namespaces, headless: false, ..Options::default() }).await?;
    let folder = stack.folder().to_owned();

    let environment = stack.environment();
    let names: Vec<&str> = environment.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "DATABASE_URL",
            "TEMPORAL_ADDRESS",
            "TEMPORAL_NAMESPACE",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_REGION",
            "DARKROOM_STORAGE__BUCKET",
            "DARKROOM_PROVIDER__PRESET",
            "DARKROOM_PROVIDER__BASE_URL",
            "DARKROOM_PROVIDER__API_KEY",
            "DARKROOM_PROVIDER__MODEL",
            "DARKROOM_FETCH__ALLOW_HOSTS",
            "DARKROOM_PROVIDER__HONOURS_IDEMPOTENCY",
        ]
    );
    assert_eq!(environment[2].1, "pictures");
    let ui = stack.temporal.ui_url().context("no web UI")?;
    eventually("the web UI answers", async || http().get(&ui).send().await.is_ok()).await?;

    stack.stop().await?;

    assert!(!folder.exists());
    Ok(())
}

/// Has Postgres say "go" and then compute for a second or so, which it does on after its parent is dead.
async fn keep_busy(address: (String, u16)) -> Result<TcpStream> {
    let query = "DO $$ BEGIN RAISE NOTICE 'go'; PERFORM count(*) FROM generate_series(1, 5000000); END $$\0";
    let startup = "user\0darkroom\0database\0postgres\0\0";
    let mut hello = u32::try_from(startup.len() + 8)?.to_be_bytes().to_vec();
    hello.extend(196_608_u32.to_be_bytes());
    hello.extend(startup.as_bytes());
    hello.push(b'Q');
    hello.extend(u32::try_from(query.len() + 4)?.to_be_bytes());
    hello.extend(query.as_bytes());
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&hello).await?;
    let mut heard = Vec::new();
    while !heard.windows(4).any(|window| window == b"Mgo\0") {
        ensure!(stream.read_buf(&mut heard).await? > 0, "Postgres hung up");
    }
    Ok(stream)
}

#[tokio::test]
async fn postgres_comes_back_after_a_kill_in_the_middle_of_work() -> Result<()> {
    let folder = Folder::create()?;
    let mut postgres = Postgres::start(&folder.sub("postgres")?).await?;
    let url = url::Url::parse(&postgres.url("postgres"))?;
    let address = (url.host_str().context("no host")?.to_owned(), url.port().context("no port")?);
    assert_eq!((url.username(), url.path()), ("darkroom", "/postgres"));
    let _busy = keep_busy(address.clone()).await?;

    postgres.process().kill().await?;
    postgres.restart().await?;

    TcpStream::connect(address).await?;
    postgres.stop().await?;
    folder.remove().await
}

#[tokio::test]
async fn temporal_keeps_its_state_over_a_kill() -> Result<()> {
    let folder = Folder::create()?;
    let mut temporal = Temporal::start(&folder.sub("temporal")?, &["pictures".to_owned()], true).await?;
    let workflow = format!("{}/api/v1/namespaces/pictures/workflows/task-1", temporal.http_url());
    let start = serde_json::json!({ "workflowType": { "name": "any" }, "taskQueue": { "name": "any" } });
    http().post(&workflow).json(&start).send().await?.error_for_status()?;
    assert_eq!(temporal.ui_url(), None);

    temporal.process().kill().await?;
    temporal.restart().await?;

    http().get(&workflow).send().await?.error_for_status()?;
    temporal.stop().await?;
    folder.remove().await
}

#[tokio::test]
async fn both_object_stores_keep_objects() -> Result<()> {
    for kind in [StoreKind::InProcess, StoreKind::Versity] {
        let folder = Folder::create()?;
        let store = ObjectStore::start(kind, &folder.sub("s3")?).await?;
        let client = client(&store);
        let (bucket, key) = (store.bucket().to_owned(), "tasks/1/0.jpeg");

        let put = client.put_object().bucket(&bucket).key(key).content_type("image/jpeg");
        put.body(b"picture".to_vec().into()).send().await?;
        let got = client.get_object().bucket(&bucket).key(key).send().await?;
        let listed = client.list_objects_v2().bucket(&bucket).send().await?;

        assert_eq!(got.content_type(), Some("image/jpeg"));
        assert_eq!(got.body.collect().await?.to_vec(), b"picture");
        let keys: Vec<_> = listed.contents().iter().filter_map(|object| object.key()).collect();
        assert_eq!(keys, [key]);
        let missing = client.get_object().bucket(&bucket).key("none").send().await;
        let missing = missing.err().context("it is there")?;
        assert_eq!(missing.raw_response().map(|answer| answer.status().as_u16()), Some(404));
        store.stop().await?;
        folder.remove().await?;
    }
    Ok(())
}

#[tokio::test]
async fn both_object_stores_list_what_begins_with_a_prefix() -> Result<()> {
    for kind in [StoreKind::InProcess, StoreKind::Versity] {
        let folder = Folder::create()?;
        let store = ObjectStore::start(kind, &folder.sub("s3")?).await?;
        let client = client(&store);
        let bucket = store.bucket().to_owned();
        for key in ["b", "tasks/10/0", "tasks/1/images/001", "tasks/1/images/000", "tasks/1/photo"] {
            client.put_object().bucket(&bucket).key(key).body(b"x".to_vec().into()).send().await?;
        }
        let list = async |prefix: &str, page: i32| {
            let list = client.list_objects_v2().bucket(&bucket).prefix(prefix).max_keys(page);
            let mut pages = list.into_paginator().send();
            let mut keys = Vec::new();
            while let Some(page) = pages.try_next().await? {
                keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
            }
            anyhow::Ok(keys)
        };

        let of_one = ["tasks/1/images/000", "tasks/1/images/001", "tasks/1/photo"];
        assert_eq!(list("tasks/1/", 1000).await?, of_one);
        assert_eq!(list("tasks/1/", 1).await?, of_one, "page by page");
        assert_eq!(list("tasks/1/images/00", 2).await?, of_one[..2]);
        assert_eq!(list("tasks/1", 1000).await?.len(), 4);
        assert_eq!(list("", 2).await?.len(), 5);
        for none in ["tasks/2/", "tasks/1/photo/", "c"] {
            assert_eq!(list(none, 1000).await?, [""; 0], "{none}");
        }
        store.stop().await?;
        folder.remove().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_object_store_refuses_a_wrong_secret() -> Result<()> {
    for kind in [StoreKind::InProcess, StoreKind::Versity] {
        let folder = Folder::create()?;
        let store = ObjectStore::start(kind, &folder.sub("s3")?).await?;
        let client = client_with(&store, "wrong-secret");

        let refused =
            client.list_objects_v2().bucket(store.bucket()).send().await.err().context("it let us in")?;

        assert_eq!(refused.raw_response().map(|answer| answer.status().as_u16()), Some(403));
        store.stop().await?;
        folder.remove().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_in_process_store_goes_away_and_comes_back_with_its_objects() -> Result<()> {
    let folder = Folder::create()?;
    let mut store = ObjectStore::start(StoreKind::InProcess, &folder.sub("s3")?).await?;
    let client = client(&store);
    let bucket = store.bucket().to_owned();
    client.put_object().bucket(&bucket).key("a").body(b"x".to_vec().into()).send().await?;
    let ObjectStore::InProcess(server) = &mut store else { anyhow::bail!("another store") };

    server.go_down().await;
    assert!(client.get_object().bucket(&bucket).key("a").send().await.is_err());
    server.come_back().await?;

    let got = client.get_object().bucket(&bucket).key("a").send().await?;
    assert_eq!(got.body.collect().await?.to_vec(), b"x");
    store.stop().await?;
    folder.remove().await
}

fn client(store: &ObjectStore) -> aws_sdk_s3::Client {
    client_with(store, store.secret_key())
}

fn client_with(store: &ObjectStore, secret: &str) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(store.endpoint())
        .region(Region::new("auto"))
        .force_path_style(true)
        .credentials_provider(Credentials::new(store.access_key(), secret, None, None, "sandbox"))
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .timeout_config(
            aws_sdk_s3::config::timeout::TimeoutConfig::builder()
                .operation_timeout(Duration::from_secs(120))
                .build(),
        )
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_s3::Client::from_conf(config)
}
