//! The folder that a site lives in, and what becomes of it.

use std::path::Path;

use super::{Layout, SiteError};

/// A site's folder, temporary unless the user named it.
#[derive(Debug)]
pub struct Home {
    layout: Layout,
    temporary: Option<tempfile::TempDir>,
    keep: bool,
}

impl Home {
    /// Makes the folder: the one named, or a temporary one.
    ///
    /// # Errors
    /// As [`Layout::create`].
    pub fn make(named: Option<&Path>, keep: bool) -> Result<Self, SiteError> {
        match named {
            Some(root) => Ok(Self {
                layout: Layout::create(root)?,
                temporary: None,
                keep: true,
            }),
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("threshold-exchange-")
                    .tempdir()
                    .map_err(SiteError::io("make a temporary folder"))?;
                Ok(Self {
                    layout: Layout::create(temporary.path())?,
                    temporary: Some(temporary),
                    keep,
                })
            }
        }
    }

    /// Where the files are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Removes the folder if it is temporary and not wanted any more: with `fine`, and without `--keep`. Tells whether it is
    /// still there.
    pub fn finish(self, fine: bool) -> bool {
        match self.temporary {
            Some(temporary) if self.keep || !fine => {
                let _ = temporary.keep();
                true
            }
            Some(temporary) => temporary.close().is_err(),
            None => true,
        }
    }
}

/// Resolves when the user or the system asks us to stop: Ctrl-C, SIGTERM, or a terminal that closed.
pub async fn interruption() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let [interrupt, terminate, hangup] = kinds.map(signal);
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (interrupt, terminate, hangup)
    else {
        // Without handlers the signals end the process, and the children end with their standard input.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
