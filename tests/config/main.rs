//! Configuration: layers, and errors that name the key, its place and a legal value.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;

use secrecy::ExposeSecret;
use worker::Config;

fn read(file: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let mut toml = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    toml.write_all(file.as_bytes()).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::read(Some(toml.path()), variables).map_err(|error| error.to_string())
}

const COMPLETE: [(&str, &str); 7] = [
    ("DATABASE_URL", "postgres://localhost/darkroom"),
    ("DARKROOM_STORAGE__BUCKET", "images"),
    ("AWS_ACCESS_KEY_ID", "id"),
    ("AWS_SECRET_ACCESS_KEY", "12345"),
    ("DARKROOM_PROVIDER__BASE_URL", "https://api.openai.com/v1"),
    ("DARKROOM_PROVIDER__API_KEY", "0123"),
    ("DARKROOM_PROVIDER__MODEL", "gpt-image-2"),
];

#[test]
fn the_environment_overlays_the_file_which_overlays_the_defaults() {
    let file = "[generate]\nslots = 7\n[transfer]\nslots = 9\n[plans.team]\nimages = 5\nweight = 2.0\n";
    let variables = [
        ("DARKROOM_GENERATE__SLOTS", "48"),
        ("DARKROOM_WORKER__ROLES", "tasks, transfer"),
        ("DARKROOM_GENERATE__CALLS_PER_SECOND", "2"),
        ("TEMPORAL_ADDRESS", "temporal:7233"),
        ("TEMPORAL_TLS", "true"),
        ("AWS_ENDPOINT_URL", "http://general"),
        ("AWS_ENDPOINT_URL_S3", "http://s3"),
        ("UNRELATED", "ignored"),
    ];

    let config = read(file, &variables).unwrap();

    assert_eq!((config.generate.slots, config.transfer.slots, config.tasks.slots), (48, 9, 16));
    assert_eq!(config.worker.roles, [worker::Role::Tasks, worker::Role::Transfer]);
    assert_eq!(config.generate.calls_per_second, 2.0);
    assert_eq!((config.temporal.address.as_str(), config.temporal.tls), ("temporal:7233", true));
    assert_eq!(config.storage.endpoint_url, "http://s3");
    assert_eq!((config.plans["team"].images, config.plans["pro"].images), (5, 70));
    assert_eq!((config.plans["team"].tasks_in_lane, config.plans["free"].tasks_in_lane), (1, 3));
}

#[test]
fn the_defaults_are_the_seed_s_and_complete_but_for_accounts() {
    let config = read("", &COMPLETE).unwrap();
    config.validate().unwrap();
    assert_eq!((config.generate.slots, config.transfer.slots, config.generate.batch_size), (12, 20, 5));
    let plans: Vec<(&str, u32)> =
        config.plans.iter().map(|(name, plan)| (name.as_str(), plan.images)).collect();
    assert_eq!(plans, [("free", 2), ("pro", 70), ("start", 30)]);
}

#[test]
fn words_are_added_to_the_defaults_and_taken_away_by_a_minus() {
    let defaults = read("", &COMPLETE).unwrap().provider.words;
    let file = "[provider.words.codes]\nrejected = [\"OurFilterStruck\", \"-content_filter\"]\n";
    let variable = ("DARKROOM_PROVIDER__WORDS__MESSAGES__THROTTLED", "zu viele Anfragen, langsamer");

    let config = read(file, &[&COMPLETE[..], &[variable]].concat()).unwrap();

    config.validate().unwrap();
    let words = config.provider.words;
    let mut rejected = defaults.codes.rejected.clone();
    rejected.retain(|word| !word.eq_ignore_ascii_case("content_filter"));
    rejected.push("OurFilterStruck".into());
    assert!(rejected.contains(&"moderation_blocked".to_owned()));
    assert_eq!(words.codes.rejected, rejected);
    assert_eq!(words.codes.account_refused, defaults.codes.account_refused);
    let throttled =
        [&defaults.messages.throttled[..], &["zu viele Anfragen".into(), "langsamer".into()]].concat();
    assert_eq!(words.messages.throttled, throttled);
    let short = read("[provider.words.messages]\nrejected = [\"\"]\n", &COMPLETE).unwrap().validate();
    assert!(short.unwrap_err().to_string().contains("provider.words.messages.rejected"));
    assert!(read("[provider.words.codes]\nrefused = [\"x\"]\n", &[]).unwrap_err().contains("refused"));
}

#[test]
fn secrets_made_of_digits_stay_text_and_are_never_shown() {
    let config = read("", &COMPLETE).unwrap();
    assert_eq!(config.provider.api_key.expose_secret(), "0123");
    assert_eq!(config.storage.secret_access_key.expose_secret(), "12345");
    let shown = format!("{config:?}");
    assert!(!shown.contains("0123") && !shown.contains("12345"), "{shown}");
}

#[test]
fn unknown_keys_and_wrong_types_are_named_with_their_place() {
    let cases = [
        ("[generate]\nslotz = 3\n", None, &["slotz", "generate", ".toml"][..]),
        ("[nonsense]\na = 1\n", None, &["nonsense", ".toml"]),
        ("[generate]\nslots = \"many\"\n", None, &["generate.slots", "found text", ".toml"]),
        ("api_key = \"sk-secret", None, &["line 1", ".toml"]),
        (
            "[storage]\nsecret_access_key = 123456789\n",
            None,
            &["storage.secret_access_key", "expected a string, found a number"],
        ),
        (
            "",
            Some(("DARKROOM_DATABASE__URI", "postgres://u:s3cret@host/db")),
            &["uri", "DARKROOM_DATABASE__URI"],
        ),
        ("", Some(("DARKROOM_NONSENSE__URL", "s3cret")), &["nonsense", "DARKROOM_NONSENSE__URL"]),
        (
            "",
            Some(("DARKROOM_DATABASE_URL", "postgres://u:s3cret@host/db")),
            &["database.url", "DARKROOM_DATABASE__URL"],
        ),
        ("", Some(("DARKROOM_PLANS_PRO_IMAGES", "5")), &["plans.pro.images", "DARKROOM_PLANS__PRO__IMAGES"]),
        ("", Some(("DARKROOM_GENERATE__SLOTZ", "3")), &["slotz", "DARKROOM_GENERATE__SLOTZ"]),
        (
            "",
            Some(("DARKROOM_GENERATE__SLOTS", "many")),
            &["generate.slots", "whole number", "many", "DARKROOM_GENERATE__SLOTS"],
        ),
        (
            "",
            Some(("DARKROOM_PROVIDER__PRESET", "dalle")),
            &["provider.preset", "dalle", "openai", "aggregator", "DARKROOM_PROVIDER__PRESET"],
        ),
        ("", Some(("DARKROOM_WORKER__ROLES", "tasks,cook")), &["cook", "generate"]),
        ("", Some(("TEMPORAL_TLS", "maybe")), &["temporal.tls", "true or false", "TEMPORAL_TLS"]),
    ];
    for (file, variable, says) in cases {
        let error = read(file, variable.as_slice()).unwrap_err();
        for word in says {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
        for secret in ["sk-secret", "123456789", "s3cret"] {
            assert!(!error.contains(secret), "{error}");
        }
    }
}

#[test]
fn a_database_url_that_cannot_be_parsed_is_told_without_it() {
    for url in ["postgres://u:s3cret@localhost:54x2/db", "postgres://u:s3#cret/x@localhost/db"] {
        let error = read("", &[("DATABASE_URL", url)]).unwrap().validate_database().unwrap_err().to_string();
        assert!(error.contains("database.url") && error.contains("percent-encoded"), "{error}");
        assert!(!error.contains("s3"), "{error}");
    }
}

#[test]
fn impossible_values_are_named_with_a_legal_one_all_at_once() {
    let file = "[generate]\nslots = 0\nbatch_size = 6\n[plans.pro]\nimages = 0\ntasks_in_lane = 0\nweight = 0.5\n\
                [provider]\ntimeout_s = 1000\nbase_url = \"api.openai.com\"\n[worker]\nroles = []\n";
    let error = read(file, &[]).unwrap().validate().unwrap_err().to_string();
    for says in [
        "generate.slots is 0; set it to a number from 1 to 10000 (or DARKROOM_GENERATE__SLOTS)",
        "generate.batch_size is 6; set it to a number from 1 to 5",
        "plans.pro.images is 0",
        "plans.pro.weight is out of range; set it to a number from 1 to 1000",
        "plans.pro.tasks_in_lane is 0; set it to a number from 1 to 1000",
        "provider.timeout_s is 1000; set it to a number from 1 to 300",
        "worker.roles is empty",
        "database.url is empty; set it to postgres://user:password@host:5432/darkroom (also: DATABASE_URL)",
        "storage.bucket is empty",
    ] {
        assert!(error.contains(says), "`{says}` is not in: {error}");
    }
}

/// Each passes by itself, and can't work together with another setting.
#[test]
fn settings_that_cannot_work_together_are_named() {
    let complete = [
        ("DATABASE_URL", "postgres://localhost/darkroom"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("DARKROOM_STORAGE__BUCKET", "bucket"),
        ("DARKROOM_PROVIDER__BASE_URL", "https://api.example/v1"),
        ("DARKROOM_PROVIDER__API_KEY", "key"),
        ("DARKROOM_PROVIDER__MODEL", "model"),
    ];
    assert_eq!(read("", &complete).unwrap().validate().map_err(|error| error.to_string()), Ok(()));
    for (setting, value, named) in [
        ("DARKROOM_DATABASE__MAX_CONNECTIONS", "1", "database.max_connections"),
        ("DARKROOM_DATABASE__MAX_CONNECTIONS", "2", "database.max_connections"),
        ("DARKROOM_DATABASE__SCHEMA", "public", "database.schema"),
        ("DARKROOM_DATABASE__SCHEMA", "pg_darkroom", "database.schema"),
        ("DARKROOM_DATABASE__SCHEMA", "Dark Room", "database.schema"),
        ("DARKROOM_DATABASE__SCHEMA", "1st", "database.schema"),
        ("DARKROOM_WORKER__SHUTDOWN_GRACE_S", "179", "worker.shutdown_grace_s"),
        ("DARKROOM_PROVIDER__HONOURS_IDEMPOTENCY", "true", "provider.idempotency_header"),
        ("DARKROOM_PROVIDER__MAX_BILLED_FAILURES", "0", "provider.max_billed_failures"),
    ] {
        let variables: Vec<(&str, &str)> = complete.into_iter().chain([(setting, value)]).collect();
        let error = read("", &variables).unwrap().validate().unwrap_err().to_string();
        assert!(error.contains(named), "{setting}={value}: {error}");
    }
    let alone = [("DARKROOM_WORKER__ROLES", "tasks"), ("DARKROOM_DATABASE__MAX_CONNECTIONS", "1")];
    let variables: Vec<(&str, &str)> = complete.into_iter().chain(alone).collect();
    assert!(read("", &variables).unwrap().validate().is_ok(), "tasks alone need one connection");
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let error = Config::read(Some(std::path::Path::new("nowhere.toml")), []).unwrap_err().to_string();
    assert!(error.contains("nowhere.toml") && error.contains("DARKROOM_CONFIG"), "{error}");
}

#[test]
fn variables_that_can_be_no_setting_are_somebody_elses() {
    let names = [
        "DARKROOM",
        "DARKROOM_",
        "DARKROOM_CACHE",
        "DARKROOM_CONFIG",
        "DARKROOM_DATABASE",
        "DARKROOM_NONSENSE",
        "DARKROOM_SLOTS",
        "DARKROOM_VERSION",
        // From Kubernetes, for services named `darkroom` and `darkroom-temporal`.
        "DARKROOM_PORT_7233_TCP_ADDR",
        "DARKROOM_SERVICE_HOST",
        "DARKROOM_TEMPORAL_PORT",
        "DARKROOM_TEMPORAL_SERVICE_HOST",
    ];
    for name in names {
        let config = read("", &[(name, "tcp://10.0.0.1:7233")]).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", read("", &[]).unwrap()), "{name}");
    }
}

#[test]
fn every_list_is_told_as_it_was_read() {
    let variables =
        [("DARKROOM_FETCH__ALLOW_HOSTS", "[\"a\", 10.0.0.1 ,, b c"), ("DARKROOM_WORKER__ROLES", "tasks")];
    let config = read("", &variables).unwrap();
    let of = |key: &str| config.lists.iter().find(|(name, _)| name == key).unwrap().1.clone();
    assert_eq!(of("fetch.allow_hosts"), ["[\"a\"", "10.0.0.1", "b c"]);
    assert_eq!(of("worker.roles"), ["tasks"]);
}
