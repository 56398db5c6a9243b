//! How requests follow each other: closed and open loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::Arguments;
use super::arguments::Arrivals;
use super::outcome::Failure;
use super::workload::{Prepared, Sample, Workload};

/// What a run gave.
pub(super) struct Load {
    pub(super) samples: Vec<Sample>,
    /// From the first request's start to the last one's end.
    pub(super) took: Duration,
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

/// Sends these requests as the arguments say.
pub(super) async fn run(
    workload: &Arc<Workload>,
    arguments: &Arguments,
    queue: Queue,
    progress: &ProgressBar,
) -> Load {
    let load = match arguments.rate {
        None => closed(workload, queue, arguments.concurrency, progress).await,
        Some(rate) => open(workload, queue, gaps(rate, arguments), progress).await,
    };
    progress.finish_and_clear();
    load
}

async fn closed(
    workload: &Arc<Workload>,
    queue: Queue,
    concurrency: u16,
    progress: &ProgressBar,
) -> Load {
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
    let samples = callers.join_all().await.into_iter().flatten().collect();
    Load {
        samples,
        took: epoch.elapsed(),
    }
}

/// The timer of the asynchronous runtime counts milliseconds: requests are started by a thread, which sleeps to within
/// some 60 µs. How late each one started is in its record.
async fn open(
    workload: &Arc<Workload>,
    queue: Queue,
    gaps: impl Iterator<Item = Duration> + Send + 'static,
    progress: &ProgressBar,
) -> Load {
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
        requests
    });
    let mut samples = Vec::new();
    for request in pacing.await.unwrap_or_default() {
        samples.extend(request.await.ok());
    }
    Load {
        samples,
        took: epoch.elapsed(),
    }
}

fn gaps(rate: f64, arguments: &Arguments) -> impl Iterator<Item = Duration> + Send + 'static {
    let mean = 1.0 / rate;
    let arrivals = arguments.arrivals;
    let mut random = StdRng::seed_from_u64(arguments.seed);
    std::iter::repeat_with(move || {
        Duration::from_secs_f64(match arrivals {
            Arrivals::Even => mean,
            // The inverse of the exponential distribution; 1 − u is never zero.
            Arrivals::Poisson => -(1.0 - random.random::<f64>()).ln() * mean,
        })
    })
}
