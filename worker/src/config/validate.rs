//! Checks that tell, before anything starts, which settings make no sense.

use secrecy::ExposeSecret;
use url::Url;
use workflows::keys::MAX_PLAN_BYTES;
use workflows::options::MAX_PROVIDER_CALL;

use super::{Config, Error, Role};

impl Config {
    /// Checks that a worker can run with this configuration. The error names each wrong key, what
    /// is wrong with it, and a legal value.
    pub fn validate(&self) -> Result<(), Error> {
        let mut checks = Checks::default();
        self.validate_worker(&mut checks);
        checks.database(self);
        self.validate_pool(&mut checks);
        self.validate_storage(&mut checks);
        self.validate_account(&mut checks);
        self.validate_calls(&mut checks);
        self.validate_fetch(&mut checks);
        self.validate_slots(&mut checks);
        self.validate_plans(&mut checks);
        checks.end()
    }

    /// Checks the sections `worker` and `temporal`.
    fn validate_worker(&self, checks: &mut Checks) {
        let (roles, provider) = (&self.worker.roles, &self.provider);
        checks.that(!roles.is_empty(), "worker.roles", "is empty", r#"["tasks", "generate", "transfer"]"#);
        checks.within("worker.shutdown_grace_s", self.worker.shutdown_grace_s, 0..=3600);
        checks.that(
            !roles.contains(&Role::Generate) || self.worker.shutdown_grace_s >= provider.timeout_s,
            "worker.shutdown_grace_s",
            "is shorter than provider.timeout_s: a worker that stops would give up calls that are paid for",
            &format!("at least {}", provider.timeout_s + 5),
        );
        checks.that(
            self.temporal.address.contains(':') && !self.temporal.address.contains('/'),
            "temporal.address",
            "is not host:port",
            "127.0.0.1:7233 (also: TEMPORAL_ADDRESS)",
        );
        checks.that(
            self.temporal.tls_cert_path.as_os_str().is_empty()
                == self.temporal.tls_key_path.as_os_str().is_empty(),
            "temporal.tls_cert_path",
            "and temporal.tls_key_path go together, but only one is set",
            "the paths of both PEM files",
        );
    }

    /// Checks the size and the patience of the database pool.
    fn validate_pool(&self, checks: &mut Checks) {
        checks.within("database.statement_timeout_ms", self.database.statement_timeout_ms, 100..=600_000);
        checks.within("database.acquire_timeout_ms", self.database.acquire_timeout_ms, 100..=600_000);
        checks.within("database.max_connections", self.database.max_connections.into(), 0..=10_000);
        let least = self.least_connections();
        checks.that(
            self.database.max_connections == 0 || self.database.max_connections >= least,
            "database.max_connections",
            "is too few: one connection hears of changed limits, one renews the lease, and the roles' statements need one",
            &format!("0 (as many as the slots need) or at least {least}"),
        );
    }

    /// Checks the section `storage`.
    fn validate_storage(&self, checks: &mut Checks) {
        let storage = &self.storage;
        checks.that(
            storage.endpoint_url.is_empty() || is_http(&storage.endpoint_url),
            "storage.endpoint_url",
            "is not an http(s) URL",
            "https://<account>.r2.cloudflarestorage.com (also: AWS_ENDPOINT_URL_S3)",
        );
        checks.given("storage.bucket", &storage.bucket, "the name of an existing bucket");
        let (id, secret) = (storage.access_key_id.expose_secret(), storage.secret_access_key.expose_secret());
        checks.given("storage.access_key_id", id, "the key's id (also: AWS_ACCESS_KEY_ID)");
        checks.given("storage.secret_access_key", secret, "the key's secret (also: AWS_SECRET_ACCESS_KEY)");
        checks.within("storage.request_timeout_ms", storage.request_timeout_ms, 100..=280_000);
    }

    /// Checks the provider that is asked, and the account.
    fn validate_account(&self, checks: &mut Checks) {
        let (roles, provider) = (&self.worker.roles, &self.provider);
        let id_like = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        checks.that(id_like(&provider.route), "provider.route", "is not a name", "default");
        if roles.contains(&Role::Generate) {
            checks.that(
                is_http(&provider.base_url),
                "provider.base_url",
                if provider.base_url.is_empty() { "is empty" } else { "is not an http(s) URL" },
                "https://api.openai.com/v1",
            );
            checks.given("provider.api_key", provider.api_key.expose_secret(), "the account's key");
            checks.given("provider.model", &provider.model, "a model id such as gemini-2.5-flash-image");
        }
    }

    /// Checks the options of calls, the trust in idempotency keys, the prices and the words.
    fn validate_calls(&self, checks: &mut Checks) {
        let provider = &self.provider;
        let header = &provider.idempotency_header;
        checks.that(
            header.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "provider.idempotency_header",
            "is not a header's name",
            "Idempotency-Key, or nothing",
        );
        checks.that(
            !provider.honours_idempotency || !header.is_empty(),
            "provider.idempotency_header",
            "is empty, but provider.honours_idempotency says that the provider knows a repeated call by one",
            "Idempotency-Key, or provider.honours_idempotency to false",
        );
        checks.within("provider.max_billed_failures", provider.max_billed_failures.into(), 1..=1_000);
        let key = provider.api_key.expose_secret().trim();
        checks.that(
            key.bytes().all(|byte| (0x21..0x7f).contains(&byte)),
            "provider.api_key",
            "holds characters that no key has",
            "the account's key",
        );
        checks.within("provider.images_per_call", provider.images_per_call().into(), 1..=10);
        checks.within("provider.timeout_s", provider.timeout_s, 1..=MAX_PROVIDER_CALL.as_secs());
        for (key, price) in [
            ("provider.price_per_call_usd", provider.price_per_call_usd),
            ("provider.price_per_image_usd", provider.price_per_image_usd),
        ] {
            checks.that((0.0..1_000.0).contains(&price), key, "is not a price", "0.039");
        }
        for (list, words) in provider.words.lists() {
            // A word of one letter is in every message.
            let too_short = words.iter().any(|word| word.trim().len() < 3);
            let key = format!("provider.words.{list}");
            checks.that(!too_short, &key, "has a word of less than 3 bytes", "words such as content_filter");
        }
    }

    /// Checks the section `fetch`.
    fn validate_fetch(&self, checks: &mut Checks) {
        let fetch = &self.fetch;
        checks.within("fetch.connect_timeout_ms", fetch.connect_timeout_ms, 100..=60_000);
        checks.within("fetch.read_timeout_ms", fetch.read_timeout_ms, 100..=60_000);
        checks.within("fetch.total_timeout_ms", fetch.total_timeout_ms, 100..=50_000);
        checks.within("fetch.max_photo_bytes", fetch.max_photo_bytes, 1_024..=(50 << 20));
        checks.within("fetch.max_image_bytes", fetch.max_image_bytes, 1_024..=(50 << 20));
    }

    /// Checks the slots, and the sections `generate`, `transfer` and `beautify`.
    fn validate_slots(&self, checks: &mut Checks) {
        checks.within("tasks.workflow_slots", self.tasks.workflow_slots as u64, 2..=10_000);
        let least_cached = self.tasks.workflow_slots as u64;
        checks.within("tasks.cached_workflows", self.tasks.cached_workflows as u64, least_cached..=100_000);
        checks.within("tasks.slots", self.tasks.slots as u64, 1..=1_000);
        checks.within("generate.slots", self.generate.slots as u64, 1..=10_000);
        checks.within("generate.batch_size", self.generate.batch_size.into(), 1..=5);
        checks.that(
            (0.0..=100_000.0).contains(&self.generate.calls_per_second),
            "generate.calls_per_second",
            "is not a rate",
            "0 (no limit) or calls a second such as 2.5",
        );
        checks.within("transfer.slots", self.transfer.slots as u64, 1..=10_000);
        checks.given("beautify.prompt", &self.beautify.prompt, "what the retouching is asked for");
    }

    /// Checks the section `plans`.
    fn validate_plans(&self, checks: &mut Checks) {
        checks.that(!self.plans.is_empty(), "plans", "has no plan", "[plans.free] with images = 2");
        for (name, plan) in &self.plans {
            let key = |setting: &str| format!("plans.{name}.{setting}");
            checks.within(&key("images"), plan.images.into(), 1..=1_000);
            if name.len() > MAX_PLAN_BYTES {
                checks
                    .0
                    .push(format!("plans.{name} has too long a name; use at most {MAX_PLAN_BYTES} bytes"));
            }
            // The smallest weight is that of a user's own lane, and the largest is the one that
            // Temporal takes.
            checks.that(
                (1.0..=1_000.0).contains(&plan.weight),
                &key("weight"),
                "is out of range",
                "a number from 1 to 1000",
            );
            checks.within(&key("tasks_in_lane"), plan.tasks_in_lane.into(), 1..=1_000);
        }
    }

    /// Checks the settings of a command that only talks to the database.
    pub fn validate_database(&self) -> Result<(), Error> {
        let mut checks = Checks::default();
        checks.database(self);
        checks.end()
    }
}

fn is_http(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

/// Collects everything that is wrong, so that people can mend all of it together.
#[derive(Default)]
struct Checks(Vec<String>);

impl Checks {
    fn that(&mut self, good: bool, key: &str, wrong: &str, legal: &str) {
        if !good {
            self.0.push(format!("{key} {wrong}; set it to {legal} (or {})", variable(key)));
        }
    }

    fn given(&mut self, key: &str, value: &str, legal: &str) {
        self.that(!value.trim().is_empty(), key, "is empty", legal);
    }

    fn within(&mut self, key: &str, value: u64, range: std::ops::RangeInclusive<u64>) {
        let legal = format!("a number from {} to {}", range.start(), range.end());
        self.that(range.contains(&value), key, &format!("is {value}"), &legal);
    }

    fn database(&mut self, config: &Config) {
        let text = config.database.url.expose_secret();
        let good = Url::parse(text).is_ok_and(|url| {
            // The rest of a password after an unencoded `#` or `/` ends up elsewhere in the URL.
            ["postgres", "postgresql"].contains(&url.scheme())
                && url.fragment().is_none()
                && !url.path().contains('@')
        });
        self.that(
            good,
            "database.url",
            if text.is_empty() {
                "is empty"
            } else {
                "is not a Postgres URL (are the password's special characters percent-encoded?)"
            },
            "postgres://user:password@host:5432/darkroom (also: DATABASE_URL)",
        );
        self.that(
            is_schema(&config.database.schema),
            "database.schema",
            "is not a schema of Darkroom's own",
            "a name of a to z, 0 to 9 and _, such as darkroom, but not public",
        );
    }

    fn end(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error(self.0.join("\n  "))) }
    }
}

/// Returns whether a name needs no quotes in SQL, and is no schema that an app or Postgres itself
/// uses.
fn is_schema(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= 63
        && name.bytes().all(plain)
        && name.starts_with(|first: char| !first.is_ascii_digit())
        && !["", "public", "information_schema"].contains(&name)
        && !name.starts_with("pg_")
}

/// Returns the name of the variable that sets a key.
fn variable(key: &str) -> String {
    format!("DARKROOM_{}", key.to_uppercase().replace('.', "__"))
}
