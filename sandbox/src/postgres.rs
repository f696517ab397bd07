//! Postgres, of whatever version is there, on a free loopback port, fast rather than safe: it lives as long as the stack.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::folder::Folder;
use crate::process::{Guarded, Program, User};
use crate::{find, port};

/// The only user; it may do everything and has no password.
const USER: &str = "darkroom";
/// What a stack of several workers and a test's own connections need.
const MAX_CONNECTIONS: u32 = 300;
const RESTART_WITHIN: Duration = Duration::from_secs(10);

/// A running Postgres.
#[derive(Debug)]
pub struct Postgres {
    server: Guarded,
    port: u16,
}

impl Postgres {
    /// Makes a new cluster in the folder and starts it. It has one database, `postgres`.
    pub async fn start(folder: &Folder) -> Result<Postgres> {
        let programs = programs()?;
        let user = user(folder)?;
        if let Some(User { uid, gid }) = user {
            chown(folder.path(), Some(uid), Some(gid)).context("cannot give Postgres its folder")?;
        }
        let data = folder.path().join("data");
        Program::new("initdb", programs.join("initdb"), folder.share())
            .run_as(user)
            .args(["--no-sync", "-A", "trust", "-E", "UTF8", "--locale", "C", "-U", USER, "-D"])
            .arg(&data)
            .run()
            .await?;
        let port = port::free()?;
        let server = Program::new("postgres", programs.join("postgres"), folder.share())
            .run_as(user)
            // INT is Postgres' fast stop; on TERM it waits for its clients to leave.
            .stop_with("INT")
            .arg("-D")
            .arg(&data)
            .args(settings(port))
            .start()
            .await?;
        let mut postgres = Postgres { server, port };
        postgres.ready().await?;
        Ok(postgres)
    }

    /// `postgres://…` of one of its databases; `postgres` is always there.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Its process, to be killed and paused.
    pub fn process(&mut self) -> &mut Guarded {
        &mut self.server
    }

    /// Starts it again after it has ended, at the same address with the same data, and waits until it is ready.
    ///
    /// The children of a killed server may live a moment longer and keep its port and memory; then the new one gives up, and is started
    /// once more.
    pub async fn restart(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            self.server.restart().await?;
            match self.ready().await {
                Err(_) if self.server.ended()?.is_some() && began.elapsed() < RESTART_WITHIN => {
                    sleep(Duration::from_millis(100)).await;
                }
                done => return done,
            }
        }
    }

    async fn ready(&mut self) -> Result<()> {
        let port = self.port;
        self.server.ready(async || takes_connections(port).await.unwrap_or(false)).await
    }

    /// Stops it at once: open connections are closed, open transactions undone.
    pub async fn stop(mut self) -> Result<()> {
        self.server.stop().await
    }
}

fn settings(port: u16) -> Vec<String> {
    [
        format!("port={port}"),
        format!("max_connections={MAX_CONNECTIONS}"),
        "listen_addresses=127.0.0.1".to_owned(),
        // A socket's path may be no longer than 107 bytes, a temporary folder's may.
        "unix_socket_directories=".to_owned(),
        "fsync=off".to_owned(),
        "synchronous_commit=off".to_owned(),
        "full_page_writes=off".to_owned(),
        // Not in /dev/shm, where a killed server would leave it.
        "dynamic_shared_memory_type=mmap".to_owned(),
    ]
    .into_iter()
    .flat_map(|setting| ["-c".to_owned(), setting])
    .collect()
}

/// The folder with Postgres' programs.
fn programs() -> Result<PathBuf> {
    const NEEDED: [&str; 2] = ["initdb", "postgres"];
    if let Some(chosen) = std::env::var_os("DARKROOM_POSTGRES_BIN").map(PathBuf::from) {
        if !find::holds(&chosen, &NEEDED) {
            bail!("DARKROOM_POSTGRES_BIN names {}, where initdb and postgres are not", chosen.display());
        }
        return Ok(chosen);
    }
    let mut folders = find::path();
    folders.extend(installed(Path::new("/usr/lib/postgresql")));
    if let Some(cache) = find::cache() {
        folders.extend(below(&cache.join("tools/postgres"), 6));
    }
    folders.into_iter().find(|folder| find::holds(folder, &NEEDED)).context(
        "Postgres is not installed: run ./demo once, which installs it, or install it yourself (Debian: apt-get install \
         postgresql), or let DARKROOM_POSTGRES_BIN name the folder with initdb and postgres",
    )
}

/// Debian's layout, one folder per major version; the newest first.
fn installed(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| entry.ok())
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

/// Every folder named `bin` below this one: where a wheel or jar was unpacked.
fn below(root: &Path, depth: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let folders =
        entries.filter_map(|entry| entry.ok()).map(|entry| entry.path()).filter(|path| path.is_dir());
    let mut found = Vec::new();
    for folder in folders {
        if folder.file_name().is_some_and(|name| name == "bin") {
            found.push(folder.clone());
        }
        if depth > 0 {
            found.extend(below(&folder, depth - 1));
        }
    }
    found
}

/// Postgres refuses to be root. Then it is `postgres`, or else `nobody`.
fn user(folder: &Folder) -> Result<Option<User>> {
    if !folder.is_roots()? {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let found = ["postgres", "nobody"].iter().find_map(|name| account(&accounts, name));
    found
        .map(Some)
        .context("Postgres refuses to run as root, and there is no user 'postgres' or 'nobody' to run it as")
}

fn account(accounts: &str, name: &str) -> Option<User> {
    let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

/// Says hello as a client does: `R` means welcome, `E` "is starting up". (postgresql.org/docs/current/protocol-message-formats.html)
async fn takes_connections(port: u16) -> Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let body = format!("user\0{USER}\0database\0postgres\0\0");
    let length = u32::try_from(body.len() + 8)?;
    let mut hello = length.to_be_bytes().to_vec();
    hello.extend(196_608_u32.to_be_bytes()); // protocol 3.0
    hello.extend(body.as_bytes());
    stream.write_all(&hello).await?;
    Ok(stream.read_u8().await? == b'R')
}
