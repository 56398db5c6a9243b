//! A closed loop: each client submits its next transaction when the last one is final.

use std::future::Future;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// What was measured at one point.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    /// From submitting to final, of all that were submitted within the time measured, however long they took, microseconds.
    pub(super) latencies_us: Vec<u64>,
    /// How many became final within the time measured, whenever they were submitted.
    pub(super) within: usize,
    /// How long was measured.
    pub(super) seconds: f64,
}

/// Runs so many clients; `submit` is given the number of the client, and of its transaction. The clock starts when a first transaction is final: until then the parties may still be
/// looking for each other.
pub(super) async fn closed_loop<F, Fut>(
    clients: usize,
    seconds: f64,
    submit: F,
) -> Result<Measured, String>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), String>> + Send,
{
    submit(clients, 0).await?;
    let warm = Instant::now() + Duration::from_secs_f64(seconds / 5.0);
    let end = warm + Duration::from_secs_f64(seconds);
    let mut running = JoinSet::new();
    for client in 0..clients {
        let submit = submit.clone();
        running.spawn(async move {
            let (mut latencies, mut within) = (Vec::new(), 0);
            for number in 0.. {
                let begun = Instant::now();
                if begun >= end {
                    break;
                }
                submit(client, number).await?;
                let done = Instant::now();
                if begun >= warm {
                    let took = (done - begun).as_micros();
                    latencies.push(u64::try_from(took).unwrap_or(u64::MAX));
                }
                if (warm..=end).contains(&done) {
                    within += 1;
                }
            }
            Ok::<_, String>((latencies, within))
        });
    }
    let (mut latencies_us, mut within) = (Vec::new(), 0);
    while let Some(client) = running.join_next().await {
        let (latencies, done) = client.map_err(|error| error.to_string())??;
        latencies_us.extend(latencies);
        within += done;
    }
    Ok(Measured {
        latencies_us,
        within,
        seconds,
    })
}
