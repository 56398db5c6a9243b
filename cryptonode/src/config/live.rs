//! The configuration of a running node: whole at every moment, replaced as a whole.

use std::sync::{Arc, PoisonError, RwLock};

use super::Config;

/// What holds now. Whoever needs several settings of one moment takes them out of one [`LiveConfig::now`].
#[derive(Debug)]
pub struct LiveConfig(RwLock<Arc<Config>>);

impl LiveConfig {
    /// Begins with `config`.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(RwLock::new(Arc::new(config)))
    }

    /// The configuration that holds at this moment.
    #[must_use]
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in its place.
    pub fn replace(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
