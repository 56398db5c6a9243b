//! How requests follow each other: closed and open loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};

use super::Arguments;
use super::arguments::Arrivals;
use super::outcome::Failure;
use super::workload::{Prepared, Sample, Workload};

/// What a run gave.
pub(super) struct Load {
    pub(super) samples: Vec<Sample>,
    /// From the first request's start to the last one's end.
    pub(super) took: Duration,
    /// In the open loop: from the run's start to the moment at which the last request came.
    pub(super) arrivals: Option<Duration>,
}

impl Load {
    /// Requests that succeeded a second. In the open loop those that were done while requests still came: what is done afterwards says nothing of
    /// what the cluster can sustain, and the time of the last straggler would be counted as if requests had come in it.
    pub(super) fn completed_per_second(&self) -> f64 {
        let window = self.arrivals.unwrap_or(self.took).as_secs_f64();
        let done = self
            .samples
            .iter()
            .filter(|sample| sample.failure.is_none())
            .filter(|sample| {
                self.arrivals.is_none() || sample.at_ms + sample.latency_ms <= window * 1e3
            });
        done.count() as f64 / window.max(f64::MIN_POSITIVE)
    }
}

/// The seed of one run's arrivals: other runs have others, or an unlucky sequence would be in all of them.
pub(super) fn seed_of_run(seed: u64, run: u32) -> u64 {
    // SplitMix64's step and finish: neighbours are far apart.
    let mut mixed = seed.wrapping_add(u64::from(run).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Requests to send: their numbers, and what is prepared of them.
pub(super) type Queue = Vec<(u32, Option<Prepared>)>;

/// The next `count` requests, numbered from `first` on, so that runs go on over the documents; with `--ahead` all that can
/// be made of them now.
pub(super) fn prepare(
    workload: &Workload,
    arguments: &Arguments,
    first: u32,
    count: u32,
) -> Result<Queue, Failure> {
    (first..first.saturating_add(count))
        .map(|number| {
            let prepared = arguments.ahead.then(|| workload.prepare(number));
            Ok((number, prepared.transpose()?))
        })
        .collect()
}

/// Sends these requests as the arguments say; random arrivals are drawn from `seed`.
///
/// # Errors
/// [`Failure::Stopped`] if a part of this program panicked.
pub(super) async fn run(
    workload: &Arc<Workload>,
    arguments: &Arguments,
    seed: u64,
    queue: Queue,
    progress: &ProgressBar,
) -> Result<Load, Failure> {
    let load = match arguments.rate {
        None => closed(workload, queue, arguments.concurrency, progress).await,
        Some(rate) => {
            let gaps = gaps(rate, arguments.arrivals, seed);
            open(workload, queue, gaps, progress).await
        }
    };
    progress.finish_and_clear();
    load
}

async fn closed(
    workload: &Arc<Workload>,
    queue: Queue,
    concurrency: u16,
    progress: &ProgressBar,
) -> Result<Load, Failure> {
    let next = Arc::new(AtomicU32::new(0));
    let queue: Arc<Vec<_>> = Arc::new(
        queue
            .into_iter()
            .map(|(number, prepared)| (number, std::sync::Mutex::new(prepared)))
            .collect(),
    );
    let epoch = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..concurrency {
        let (workload, queue, next) = (Arc::clone(workload), Arc::clone(&queue), Arc::clone(&next));
        let progress = progress.clone();
        callers.spawn(async move {
            let mut samples = Vec::new();
            while let Some((number, prepared)) =
                queue.get(next.fetch_add(1, Ordering::Relaxed) as usize)
            {
                let prepared = prepared.lock().ok().and_then(|mut slot| slot.take());
                let now = Instant::now();
                samples.push(workload.request(*number, prepared, now, epoch).await);
                progress.inc(1);
            }
            samples
        });
    }
    let mut samples = Vec::new();
    while let Some(caller) = callers.join_next().await {
        samples.extend(caller.map_err(|_| Failure::Stopped("a caller"))?);
    }
    Ok(Load {
        samples,
        took: epoch.elapsed(),
        arrivals: None,
    })
}

/// The timer of the asynchronous runtime counts milliseconds: requests are started by a thread, which sleeps to within
/// some 60 µs. How late each one started is in its record.
async fn open(
    workload: &Arc<Workload>,
    queue: Queue,
    gaps: impl Iterator<Item = Duration> + Send + 'static,
    progress: &ProgressBar,
) -> Result<Load, Failure> {
    let (runtime, started, finished) = (Handle::current(), Arc::clone(workload), progress.clone());
    let epoch = Instant::now();
    let pacing = tokio::task::spawn_blocking(move || {
        let mut due = epoch;
        let mut requests = Vec::with_capacity(queue.len());
        for ((number, prepared), gap) in queue.into_iter().zip(gaps) {
            due += gap;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let (workload, progress) = (Arc::clone(&started), finished.clone());
            requests.push(runtime.spawn(async move {
                let sample = workload.request(number, prepared, due, epoch).await;
                progress.inc(1);
                sample
            }));
        }
        (due, requests)
    });
    let (last, samples) = gather(pacing).await?;
    Ok(Load {
        samples,
        took: epoch.elapsed(),
        arrivals: Some(last.saturating_duration_since(epoch)),
    })
}

/// When the last request came, and what became of each. One that panicked, or the thread that starts them, is not passed over: its time would
/// be missing among the slow ones.
async fn gather<T>(
    pacing: JoinHandle<(Instant, Vec<JoinHandle<T>>)>,
) -> Result<(Instant, Vec<T>), Failure> {
    let (last, requests) = pacing
        .await
        .map_err(|_| Failure::Stopped("the thread that starts requests"))?;
    let mut done = Vec::with_capacity(requests.len());
    for request in requests {
        done.push(request.await.map_err(|_| Failure::Stopped("a request"))?);
    }
    Ok((last, done))
}

fn gaps(
    rate: f64,
    arrivals: Arrivals,
    seed: u64,
) -> impl Iterator<Item = Duration> + Send + 'static {
    let mean = 1.0 / rate;
    let mut random = StdRng::seed_from_u64(seed);
    std::iter::repeat_with(move || {
        Duration::from_secs_f64(match arrivals {
            Arrivals::Even => mean,
            // The inverse of the exponential distribution; 1 − u is never zero.
            Arrivals::Poisson => -(1.0 - random.random::<f64>()).ln() * mean,
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, clippy::unwrap_used, clippy::panic, missing_docs)]
    use super::*;

    fn sample(at_ms: f64, latency_ms: f64, failed: bool) -> Sample {
        Sample {
            at_ms,
            latency_ms,
            late_ms: 0.0,
            ephemeral_key_ms: 0.0,
            approvals_ms: 0.0,
            answers_ms: 0.0,
            opening_ms: 0.0,
            answered: Vec::new(),
            calls_ms: Vec::new(),
            others_asked: Vec::new(),
            failure: failed.then(|| ("too-few-answers".to_owned(), String::new())),
        }
    }

    #[test]
    fn what_is_done_after_the_last_arrival_is_not_throughput() {
        let mut load = Load {
            samples: vec![
                sample(0.0, 100.0, false),
                sample(400.0, 700.0, false),
                sample(500.0, 100.0, true),
                sample(1_000.0, 9_000.0, false),
            ],
            took: Duration::from_secs(10),
            arrivals: Some(Duration::from_secs(1)),
        };
        assert_eq!(load.completed_per_second(), 1.0);
        load.arrivals = None;
        assert_eq!(load.completed_per_second(), 0.3);
    }

    #[test]
    fn each_run_has_arrivals_of_its_own_and_the_same_ones_again() {
        let of = |seed, run| -> Vec<Duration> {
            let seed = seed_of_run(seed, run);
            gaps(100.0, Arrivals::Poisson, seed).take(8).collect()
        };
        assert_eq!(of(1, 1), of(1, 1));
        for other in [of(1, 2), of(2, 1), of(1, 3)] {
            assert_ne!(of(1, 1), other);
        }
        assert_ne!(of(1, 2), of(2, 1));
    }

    #[tokio::test]
    async fn a_request_that_panics_fails_the_run() {
        let pacing = |panics: bool| {
            tokio::spawn(async move {
                let requests = (0..3).map(|number| {
                    tokio::spawn(async move {
                        assert!(!panics || number != 1, "on purpose");
                        number
                    })
                });
                (Instant::now(), requests.collect())
            })
        };
        assert_eq!(gather(pacing(false)).await.unwrap().1, [0, 1, 2]);
        assert!(matches!(
            gather(pacing(true)).await,
            Err(Failure::Stopped("a request"))
        ));
        let thread = tokio::spawn(async { panic!("on purpose") });
        assert!(gather::<()>(thread).await.is_err());
    }
}
