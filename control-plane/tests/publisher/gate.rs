//! Holding a publisher at a step.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use nightlatch::publisher::{PublisherConfig, Step};

/// A probe that stops whoever passes a step at the next pass of a step until it is let go.
pub(crate) struct Gate {
    /// Says that the step is reached.
    reached: Mutex<mpsc::Receiver<()>>,
    open: Mutex<mpsc::Sender<()>>,
}

impl Gate {
    pub(crate) fn at(step: Step, config: PublisherConfig) -> (Arc<Self>, PublisherConfig) {
        let (say, reached) = mpsc::channel();
        let (open, wait) = mpsc::channel::<()>();
        let once = Mutex::new(Some((say, wait)));
        let probe = move |at| {
            if at == step
                && let Some((say, wait)) = once.lock().unwrap().take()
            {
                say.send(()).unwrap();
                // Ends too when the gate is dropped.
                let _ = tokio::task::block_in_place(|| wait.recv());
            }
            true
        };
        let gate = Self { reached: Mutex::new(reached), open: Mutex::new(open) };
        (Arc::new(gate), PublisherConfig { probe: Some(Arc::new(probe)), ..config })
    }

    pub(crate) async fn reached(self: &Arc<Self>) {
        let gate = self.clone();
        tokio::task::spawn_blocking(move || gate.reached.lock().unwrap().recv().unwrap()).await.unwrap();
    }

    pub(crate) fn open(&self) {
        self.open.lock().unwrap().send(()).unwrap();
    }
}
