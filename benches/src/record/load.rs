//! A closed loop: each client submits its next transaction when the last one is final.

use std::future::Future;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// What was measured at one point.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    /// From submitting to final, of those that were submitted after the warm-up and final before the end, microseconds.
    pub(super) latencies_us: Vec<u64>,
    /// How long was measured.
    pub(super) seconds: f64,
}

/// Runs so many clients; `submit` is given the number of the client, and of its transaction.
pub(super) async fn closed_loop<F, Fut>(
    clients: usize,
    seconds: f64,
    submit: F,
) -> Result<Measured, String>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), String>> + Send,
{
    let warm = Instant::now() + Duration::from_secs_f64(seconds / 5.0);
    let end = warm + Duration::from_secs_f64(seconds);
    let mut running = JoinSet::new();
    for client in 0..clients {
        let submit = submit.clone();
        running.spawn(async move {
            let mut latencies = Vec::new();
            for number in 0.. {
                let begun = Instant::now();
                if begun >= end {
                    break;
                }
                submit(client, number).await?;
                if begun >= warm && Instant::now() <= end {
                    let took = begun.elapsed().as_micros();
                    latencies.push(u64::try_from(took).unwrap_or(u64::MAX));
                }
            }
            Ok::<_, String>(latencies)
        });
    }
    let mut latencies_us = Vec::new();
    while let Some(client) = running.join_next().await {
        latencies_us.extend(client.map_err(|error| error.to_string())??);
    }
    Ok(Measured {
        latencies_us,
        seconds,
    })
}
