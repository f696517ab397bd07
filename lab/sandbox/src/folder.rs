//! A temporary folder that goes away with the last of those who need it.
//!
//! A shell waits at the reading end of a pipe and removes the folder once nobody holds the writing end any more: not we, and not the
//! guard of any server that runs in the folder (see [`crate::process`]). So it is removed after `kill -9` too, and never under a server
//! that still writes.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};

/// Waits for the pipe to close, then removes the folder; again, should a dying process have written into it meanwhile.
const REMOVER: &str = r#"
cat >/dev/null
tries=0
while [ -e "$1" ] && [ "$tries" -lt 20 ]; do
    rm -rf -- "$1" || sleep 0.1
    tries=$((tries + 1))
done
"#;

/// A folder for one stack, or one server's part of it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    hold: Arc<OwnedFd>,
    /// Only the outermost folder has one.
    remover: Option<Child>,
}

impl Folder {
    /// A new folder below the system's temporary folder (`TMPDIR`).
    pub fn create() -> Result<Folder> {
        let temporary = tempfile::Builder::new().prefix("darkroom-").tempdir().context(
            "no temporary folder can be made; let TMPDIR name a folder that is writable and not full",
        )?;
        let mut remover = Command::new("/bin/sh")
            .args(["-c", REMOVER, "darkroom-remover"])
            .arg(temporary.path())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // The terminal's Ctrl-C is for us alone.
            .process_group(0)
            .spawn()
            .context("/bin/sh cannot be started")?;
        let pipe = remover.stdin.take().context("the remover has no standard input")?;
        let folder =
            Folder { path: temporary.keep(), hold: Arc::new(OwnedFd::from(pipe)), remover: Some(remover) };
        if folder.is_roots()? {
            // Servers that refuse to be root run as somebody else, who has to get in.
            fs::set_permissions(&folder.path, Permissions::from_mode(0o711))
                .context("the temporary folder")?;
        }
        Ok(folder)
    }

    /// A folder within this one, which lives as long.
    pub fn sub(&self, name: &str) -> Result<Folder> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Folder { path, hold: self.hold.clone(), remover: None })
    }

    /// The same folder, held once more.
    pub(crate) fn share(&self) -> Folder {
        Folder { path: self.path.clone(), hold: self.hold.clone(), remover: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets go of the folder and waits until it is removed, that is until the servers in it have ended. Only for the outermost folder,
    /// and only when no part of it is held any more: else this would wait for its own caller.
    pub async fn remove(self) -> Result<()> {
        let Folder { hold, remover, .. } = self;
        drop(hold);
        if let Some(mut remover) = remover {
            let waited = tokio::task::spawn_blocking(move || remover.wait()).await;
            waited
                .context("waiting for the folder's removal")?
                .context("waiting for the folder's removal")?;
        }
        Ok(())
    }

    /// Do we, who made the folder, run as root?
    pub(crate) fn is_roots(&self) -> Result<bool> {
        Ok(fs::metadata(&self.path).context("the temporary folder has gone")?.uid() == 0)
    }

    /// Another hold on the folder, for a process to inherit.
    pub(crate) fn hold(&self) -> io::Result<OwnedFd> {
        self.hold.try_clone()
    }
}
