//! Postgres, of whatever version is there, on a free loopback port, fast rather than safe: it lives as long as the stack.

mod programs;

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::folder::Folder;
use crate::port;
use crate::process::{Guarded, Program, User};

/// The only user; it may do everything and has no password.
const USER: &str = "darkroom";
/// What a stack of several workers and a test's own connections need.
const MAX_CONNECTIONS: u32 = 300;
const RESTART_WITHIN: Duration = Duration::from_secs(60);

/// A running Postgres, or a standby of one.
#[derive(Debug)]
pub struct Postgres {
    server: Guarded,
    port: u16,
    data: PathBuf,
    user: Option<User>,
}

impl Postgres {
    /// Makes a new cluster in the folder and starts it. It has one database, `postgres`.
    pub async fn start(folder: &Folder) -> Result<Postgres> {
        let user = user(folder)?;
        let programs = programs::folder(user.is_some())?;
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
        let mut postgres =
            Postgres { server: server(folder, user, &data, port, &[]).await?, port, data, user };
        postgres.ready().await?;
        Ok(postgres)
    }

    /// `postgres://…` of one of its databases; `postgres` is always there.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// A streaming standby of this server, in a folder of its own. This server is restarted for it: connections are closed.
    ///
    /// Killed, the standby falls behind. [`Postgres::promote`] makes it the primary.
    pub async fn standby(&mut self, folder: &Folder) -> Result<Postgres> {
        let user = self.user;
        self.server.stop().await?;
        let data = folder.path().join("data");
        copy(&self.data, &data)?;
        fs::write(data.join("standby.signal"), "")?;
        if let Some(User { uid, gid }) = user {
            own(folder.path(), uid, gid)?;
        }
        self.restart().await?;
        let port = port::free()?;
        let from = format!("primary_conninfo=host=127.0.0.1 port={} user={USER}", self.port);
        let mut standby =
            Postgres { server: server(folder, user, &data, port, &["-c", &from]).await?, port, data, user };
        standby.ready().await?;
        Ok(standby)
    }

    /// Becomes the primary at the address of another server, which has died. Whatever this one had not received by then is gone.
    pub async fn promote(&mut self, dead: &Postgres, folder: &Folder) -> Result<()> {
        let _ = self.server.kill().await;
        let user = self.user;
        self.port = dead.port;
        self.server = server(folder, user, &self.data, self.port, &["-c", "primary_conninfo="]).await?;
        self.ready().await?;
        let programs = programs::folder(user.is_some())?;
        Program::new("pg_ctl", programs.join("pg_ctl"), folder.share())
            .run_as(user)
            .args(["promote", "--wait", "-D"])
            .arg(&self.data)
            .run()
            .await
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

async fn server(
    folder: &Folder,
    user: Option<User>,
    data: &Path,
    port: u16,
    more: &[&str],
) -> Result<Guarded> {
    let programs = programs::folder(user.is_some())?;
    Program::new("postgres", programs.join("postgres"), folder.share())
        .run_as(user)
        // INT is Postgres' fast stop; on TERM it waits for its clients to leave.
        .stop_with("INT")
        .arg("-D")
        .arg(data)
        .args(settings(port))
        .args(more)
        .start()
        .await
}

/// Copies a folder whose server is stopped.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_name() != "postmaster.pid" {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Gives a folder and all in it to a user.
fn own(path: &Path, uid: u32, gid: u32) -> Result<()> {
    chown(path, Some(uid), Some(gid)).context("cannot give Postgres its folder")?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

fn settings(port: u16) -> Vec<String> {
    [
        format!("port={port}"),
        format!("max_connections={MAX_CONNECTIONS}"),
        "listen_addresses=127.0.0.1".to_owned(),
        // A socket's path may be no longer than 107 bytes, a temporary folder's may.
        "unix_socket_directories=".to_owned(),
        // The machine's death loses data, a killed server's does not: commits still wait for their write (synchronous_commit).
        "fsync=off".to_owned(),
        "full_page_writes=off".to_owned(),
        // Not in /dev/shm, where a killed server would leave it.
        "dynamic_shared_memory_type=mmap".to_owned(),
    ]
    .into_iter()
    .flat_map(|setting| ["-c".to_owned(), setting])
    .collect()
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
