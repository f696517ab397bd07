//! A worker on a thread of its own: its futures don't move between threads.

use std::thread::JoinHandle;

use worker::{Config, Worker};

/// Stops when it is dropped, as by SIGTERM.
pub(super) struct RunningWorker {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RunningWorker {
    pub(super) fn start(config: &Config) -> Self {
        let config = config.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let mut worker = Worker::new(&config).await.unwrap();
                let shut_down = worker.shutdown_handle();
                let stopping = async {
                    let _ = stopped.await;
                    shut_down();
                };
                let (result, ()) = tokio::join!(worker.run(), stopping);
                result.unwrap();
            });
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the worker failed");
            }
        }
    }
}
