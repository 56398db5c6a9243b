//! Requests to all nodes: when the t-th and the n-th answer come, and what a reader does with the answers.
//!
//! A client asks t nodes and others only when it must, so a run never sees the n-th answer. A *probe* is one request that
//! is sent to all n at once, alone. Its answers are verified, and only good ones count. With t of them the parts of the reader's work are
//! timed one by one, on this thread, by the library that the client uses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptonode::wire::v1::{Answer, ByteBuf, Request};
use reencrypt::{
    Opening, Point, Progress, Share, VerifiedEphemeralKey, VerifiedWrappedKey, lagrange,
    verify_shares,
};
use serde::Serialize;
use tokio::task::JoinSet;

use super::distribution::Distribution;
use super::node_phases::NodePhases;
use super::workload::Workload;

/// A node that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// No further probe is begun after this: silent nodes would make them long.
const BUDGET: Duration = Duration::from_secs(15);
/// Where the encoding of D is in a share (protocol section 5).
const D: std::ops::Range<usize> = 10..42;

/// What the probes after a run gave.
#[derive(Debug, Serialize)]
pub(super) struct Probes {
    /// How many there were.
    probes: usize,
    /// Good answers to one, on average.
    answered: f64,
    /// In how many all n answered: those that the n-th answer is of.
    complete: usize,
    t_th_answer_ms: Distribution,
    n_th_answer_ms: Distribution,
    /// Mean of what is left of the answered calls when the nodes' own part is taken off: the way, QUIC on both sides, the wait for a
    /// processor. Only if the nodes did just what these calls asked of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network_ms: Option<f64>,
    reader_ms: Reader,
}

impl Probes {
    /// For people: a name and a distribution each.
    pub(super) fn rows(&self) -> [(&'static str, &Distribution); 7] {
        let reader = &self.reader_ms;
        [
            ("all asked: t-th answer", &self.t_th_answer_ms),
            ("  n-th answer", &self.n_th_answer_ms),
            ("reader: x_c·Y", &reader.mask),
            ("  share verification", &reader.share_verification),
            ("  t verified in a batch", &reader.batch_verification),
            ("  combination", &reader.combination),
            ("  opening", &reader.opening),
        ]
    }
}

/// The parts of the reader's work on t answers.
#[derive(Debug, Serialize)]
struct Reader {
    /// x_c·Y, computed while the nodes have not answered yet.
    mask: Distribution,
    /// One share, parsed and verified.
    share_verification: Distribution,
    /// t shares, verified in one batch.
    batch_verification: Distribution,
    /// t points decoded, and the sum with their Lagrange coefficients.
    combination: Distribution,
    /// The rest: from D to the secret, with the commitment compared and the payload decrypted.
    opening: Distribution,
}

#[derive(Default)]
struct Measured {
    answered: usize,
    /// What each answered call took, from its own beginning.
    calls: Vec<f64>,
    t_th: Vec<f64>,
    n_th: Vec<f64>,
    mask: Vec<f64>,
    share: Vec<f64>,
    batch: Vec<f64>,
    combination: Vec<f64>,
    opening: Vec<f64>,
}

/// Sends the probes, one after the other. `phases` says what the nodes without a fault have done so far.
pub(super) async fn measure(
    workload: &Arc<Workload>,
    first: u32,
    count: u32,
    phases: impl Fn() -> NodePhases,
) -> Probes {
    let mut measured = Measured::default();
    let before = phases();
    let started = Instant::now();
    let mut probes = 0;
    for number in first..first.saturating_add(count) {
        if started.elapsed() > BUDGET {
            break;
        }
        if measured.probe(workload, number).await.is_some() {
            probes += 1;
        }
    }
    Probes {
        probes,
        answered: measured.answered as f64 / (probes.max(1) as f64),
        complete: measured.n_th.len(),
        t_th_answer_ms: Distribution::of(measured.t_th),
        n_th_answer_ms: Distribution::of(measured.n_th),
        network_ms: phases().since(&before).network_ms(&measured.calls),
        reader_ms: Reader {
            mask: Distribution::of(measured.mask),
            share_verification: Distribution::of(measured.share),
            batch_verification: Distribution::of(measured.batch),
            combination: Distribution::of(measured.combination),
            opening: Distribution::of(measured.opening),
        },
    }
}

impl Measured {
    /// One probe; `None` if its request could not be made.
    async fn probe(&mut self, workload: &Arc<Workload>, number: u32) -> Option<()> {
        let prepared = workload.prepare(number).ok()?;
        let (document, ephemeral) = (workload.document(number), *prepared.secret.public());
        let request = Arc::new(Request::Reencrypt {
            result: None,
            approvals: prepared
                .approvals
                .iter()
                .map(|approval| ByteBuf::from(approval.as_slice()))
                .collect(),
            traceparent: None,
            wrapped_key: ByteBuf::from(document.as_bytes()),
            ephemeral_key: ByteBuf::from(ephemeral.as_bytes().as_slice()),
        });
        let cluster = workload.client().cluster();
        let package = cluster.package();
        let answers = ask_all(1..=package.members(), |index| {
            let (workload, request) = (Arc::clone(workload), Arc::clone(&request));
            async move {
                let call = workload.client().call(index, &request);
                tokio::time::timeout(PATIENCE, call).await.ok()??.ok()
            }
        });
        let mut good: Vec<(u16, Vec<u8>, f64)> = Vec::new();
        for answered in answers.await {
            if let Answer::Share { share, .. } = answered.answer
                && self.is_good(workload, document, &ephemeral, answered.index, &share)
            {
                self.calls.push(answered.call_ms);
                good.push((answered.index, share.into_vec(), answered.after_ms));
            }
        }
        good.sort_by(|(_, _, a), (_, _, b)| a.total_cmp(b));
        self.answered += good.len();
        let threshold = usize::from(package.threshold());
        if let Some((_, _, took)) = good.get(threshold - 1) {
            self.t_th.push(*took);
        }
        if let Some((_, _, took)) = good.get(usize::from(package.members()) - 1) {
            self.n_th.push(*took);
        }
        good.truncate(threshold);
        if good.len() == threshold {
            let parsed: Option<Vec<Share>> = good
                .iter()
                .map(|(_, bytes, _)| Share::parse(bytes).ok())
                .collect();
            let started = Instant::now();
            verify_shares(&parsed?, package, document, &ephemeral, &mut rand::rng()).ok()?;
            self.batch.push(ms(started.elapsed()));
            self.combine(&good)?;
            let started = Instant::now();
            let mut opening =
                Opening::new(document.clone(), prepared.secret, package.clone()).ok()?;
            self.mask.push(ms(started.elapsed()));
            let started = Instant::now();
            let mut last = None;
            for (index, share, _) in &good {
                last = Some(opening.add(*index, share));
            }
            let whole = ms(started.elapsed());
            if matches!(last, Some(Progress::Opened(_))) {
                let combination = self.combination.last().copied().unwrap_or_default();
                self.opening.push((whole - combination).max(0.0));
            }
        }
        Some(())
    }

    /// Verifies one answer, and counts the time.
    fn is_good(
        &mut self,
        workload: &Workload,
        document: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
        index: u16,
        bytes: &[u8],
    ) -> bool {
        let cluster = workload.client().cluster();
        let package = cluster.package();
        let started = Instant::now();
        let good = Share::parse(bytes).is_ok_and(|share| {
            share.index() == index && share.verify(package, document, ephemeral).is_ok()
        });
        if good {
            self.share.push(ms(started.elapsed()));
        }
        good
    }

    fn combine(&mut self, good: &[(u16, Vec<u8>, f64)]) -> Option<()> {
        let started = Instant::now();
        let indices: Vec<u16> = good.iter().map(|(index, _, _)| *index).collect();
        let points: Option<Vec<Point>> = good
            .iter()
            .map(|(_, bytes, _)| Point::from_bytes(bytes.get(D)?.try_into().ok()?).ok())
            .collect();
        let points = points?;
        let points = points.iter().map(|point| *point.as_ristretto());
        std::hint::black_box(lagrange::combine_vartime(&indices, points).ok()?);
        self.combination.push(ms(started.elapsed()));
        Some(())
    }
}

/// One node's answer to a question that all were asked.
struct Answered<T> {
    index: u16,
    answer: T,
    /// Since the first was asked: what the reader waits.
    after_ms: f64,
    /// Since this one was asked.
    call_ms: f64,
}

/// Asks all at once. There is one clock for all, which starts before the first is asked: a task that has to wait for its turn on a processor has
/// kept the reader waiting as well.
async fn ask_all<T: Send + 'static, F: Future<Output = Option<T>> + Send + 'static>(
    indices: impl IntoIterator<Item = u16>,
    mut ask: impl FnMut(u16) -> F,
) -> Vec<Answered<T>> {
    let started = Instant::now();
    let mut asked = JoinSet::new();
    for index in indices {
        let call = ask(index);
        asked.spawn(async move {
            let since = Instant::now();
            let answer = call.await?;
            Some(Answered {
                index,
                answer,
                after_ms: ms(started.elapsed()),
                call_ms: ms(since.elapsed()),
            })
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    #![allow(missing_docs)]
    use super::*;

    /// Keeps the processor for so long.
    fn busy(duration: Duration) {
        let since = Instant::now();
        while since.elapsed() < duration {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn an_answer_whose_task_had_to_wait_has_kept_the_reader_waiting() {
        const WORK: Duration = Duration::from_millis(5);
        // One thread: each task starts when the one before has ended.
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let answers = runtime.map(|runtime| {
            runtime.block_on(ask_all(1..=4, |_| async {
                busy(WORK);
                Some(())
            }))
        });
        let mut after: Vec<f64> = answers
            .iter()
            .flatten()
            .map(|answered| answered.after_ms)
            .collect();
        after.sort_by(f64::total_cmp);
        assert_eq!(after.len(), 4);
        for (place, after) in (1_u32..).zip(after) {
            assert!(after >= ms(WORK * place), "{place}: {after}");
        }
    }
}
