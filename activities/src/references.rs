//! Reference images of tasks, encoded for the provider. Each is read and encoded once, and shared
//! by its task's calls as long as one of them runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::provider::{Provider, ReferenceImage};
use crate::storage::{self, Storage};

/// Largest size of a reference, which is a photo we checked or an image we stored.
const MAX_REFERENCE_BYTES: u64 = 50 << 20;

/// Reference image that may be in use. The lock is held during the read, so that the image is read
/// once.
type Shared = Arc<tokio::sync::Mutex<Weak<ReferenceImage>>>;

/// Reference images in use, by object key.
#[derive(Default)]
pub struct References(Mutex<HashMap<String, Shared>>);

impl References {
    /// Returns the reference under this key, shared with the calls that use it already, or else
    /// read from the store.
    pub(crate) async fn get(
        &self,
        key: &str,
        storage: &Storage,
        provider: &Provider,
    ) -> Result<Arc<ReferenceImage>, storage::Error> {
        let shared = self.shared(key);
        let mut image = shared.lock().await;
        if let Some(image) = image.upgrade() {
            return Ok(image);
        }
        let bytes = storage.get(key, MAX_REFERENCE_BYTES).await?;
        let read = Arc::new(ReferenceImage::new(bytes, provider.settings().reference()));
        *image = Arc::downgrade(&read);
        Ok(read)
    }

    fn shared(&self, key: &str) -> Shared {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // References that nobody uses or reads any more are dropped.
        used.retain(|_, shared| {
            Arc::strong_count(shared) > 1 || shared.try_lock().is_ok_and(|image| image.strong_count() > 0)
        });
        used.entry(key.to_owned()).or_default().clone()
    }
}
