//! The node as those see it who may come at any moment, also before it serves: the admin socket and the health page.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::sealed::Attempt;
use super::{Node, clock_s};
use crate::admin::{Command, CommandError, Commands};
use crate::health::{Condition, Subject};
use crate::metrics;
use crate::store::Passphrase;

/// Where the node is in its life.
#[derive(Clone)]
enum Stage {
    Starting,
    Sealed(mpsc::Sender<Attempt>),
    Serving(Arc<Node>),
}

/// What stands between the node and those who command it or look at it.
pub(crate) struct Door {
    name: String,
    started_s: u64,
    stage: RwLock<Stage>,
    stopping: AtomicBool,
}

impl Door {
    /// The door of a node that starts.
    pub(super) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            started_s: clock_s(),
            stage: RwLock::new(Stage::Starting),
            stopping: AtomicBool::new(false),
        })
    }

    /// The node serves.
    pub(super) fn open(&self, node: Arc<Node>) {
        self.set(Stage::Serving(node));
    }

    /// The node waits for passphrases, which go to `attempts`.
    pub(super) fn seal(&self, attempts: mpsc::Sender<Attempt>) {
        self.set(Stage::Sealed(attempts));
    }

    /// The node has its passphrase, and does not serve yet.
    pub(super) fn starting(&self) {
        self.set(Stage::Starting);
    }

    /// The node stops: it is not ready from now on.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn set(&self, stage: Stage) {
        *self.stage.write().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn now(&self) -> Stage {
        self.stage
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn node(&self) -> Option<Arc<Node>> {
        match self.now() {
            Stage::Serving(node) => Some(node),
            Stage::Starting | Stage::Sealed(_) => None,
        }
    }
}

impl Commands for Door {
    fn run(
        self: Arc<Self>,
        command: Command,
        events: mpsc::Sender<Value>,
    ) -> BoxFuture<'static, Result<Value, CommandError>> {
        match self.now() {
            Stage::Serving(node) => node.run(command, events),
            Stage::Starting => {
                let message = "the node is starting: try again in a moment";
                async move { Err(CommandError::new("starting", message)) }.boxed()
            }
            Stage::Sealed(_) => {
                let message = "the node is sealed: open it with `cryptonode unseal`";
                async move { Err(CommandError::new("sealed", message)) }.boxed()
            }
        }
    }

    fn unseal(
        self: Arc<Self>,
        passphrase: Passphrase,
    ) -> BoxFuture<'static, Result<Value, CommandError>> {
        async move {
            let Stage::Sealed(attempts) = self.now() else {
                return Err(CommandError::new("not-sealed", "the node is not sealed"));
            };
            let (asker, answer) = oneshot::channel();
            let gone = |_| {
                let message = "the node is stopping; its log says why";
                CommandError::new("stopping", message)
            };
            let attempt = Attempt { passphrase, asker };
            attempts.send(attempt).await.map_err(|_| gone(()))?;
            answer.await.map_err(|_| gone(()))?
        }
        .boxed()
    }
}

impl Subject for Door {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn stage(&self) -> &'static str {
        if self.stopping.load(Ordering::Relaxed) {
            return "stopping";
        }
        match self.now() {
            Stage::Starting => "starting",
            Stage::Sealed(_) => "sealed",
            Stage::Serving(_) => "serving",
        }
    }

    fn unhealthy(&self) -> Vec<Condition> {
        self.node().map_or_else(Vec::new, |node| node.unhealthy())
    }

    fn not_ready(&self) -> Vec<Condition> {
        if self.stopping.load(Ordering::Relaxed) {
            return vec![Condition::new("stopping", "the node is stopping")];
        }
        match self.now() {
            Stage::Starting => vec![Condition::new("starting", "the node is starting")],
            Stage::Sealed(_) => vec![Condition::new(
                "sealed",
                "the node is sealed: open it with `cryptonode unseal`",
            )],
            Stage::Serving(node) => node.not_ready(),
        }
    }

    fn metrics(&self) -> String {
        metrics::page(self, self.started_s, self.node())
    }
}
