//! The path of a share on this server: what [`super::decision`] decides, with a turn at arithmetic, the audit log and the measures
//! around it.
//!
//! Steps 2 to 5 of the decision are arithmetic without a pause; they run in one turn. The audit log has its record before step 5, so
//! that the disk works while the share is computed, and the share waits for what is left of that. What must not happen between
//! the check of the time in step 2 and the answer is a long wait; the wait for the turn comes before it, and the one for the
//! disk has a deadline.

use std::time::{Duration, Instant};

use super::accept::{ClientKey, Shared};
use super::counters::Open;
use super::decision::{Observer, ShareRequest, admit};
use super::measures::Measures;
use super::phases::{Phase, Stopwatch};
use super::refusal::Refusal;
use crate::wire::v1::Answer;

/// The share, once its record is durable.
pub(super) async fn answer(
    shared: &Shared,
    client: &ClientKey,
    request: ShareRequest<'_>,
    watch: &mut Stopwatch<'_>,
) -> Result<Answer, Refusal> {
    let serving = &shared.serving;
    let admitted = admit(&serving.keyring, &serving.gate, request)?;

    let measures = &serving.counters.measures;
    watch.restart();
    let (prepared, handed_over, append) = {
        let waiting = Open::new(&measures.waiting);
        let turn = shared.admission.turn(&client.rooms).await;
        let _turn = turn.ok_or(Refusal::Stopping)?;
        drop(waiting);
        let _computing = Open::new(&measures.computing);
        watch.lap(Phase::Turn);
        let mut observer = Measuring { watch, measures };
        let time_ms = (serving.clock_ms)();
        let mut rng = crate::randomness::system();
        let checked = admitted.check(&serving.gate, time_ms, &mut rng, &mut observer)?;
        // Handed over now: the log's own thread writes it while the share is computed here.
        let handed_over = Instant::now();
        let append = serving.audit.append(checked.record().clone());
        let prepared = checked.compute(&mut rng, &mut observer);
        (prepared, handed_over, append)
    };
    // Other work gets its turn before the thread goes on to another request's arithmetic.
    let recording = Open::new(&measures.recording);
    let recorded = within(shared.limits().audit, append).await;
    drop(recording);
    if let Some(Ok(committed)) = &recorded {
        watch.lap(Phase::Audit);
        watch.beside(Phase::AuditCommit, handed_over, committed.durable);
    }
    let recorded = recorded.map(|recorded| recorded.map(|committed| committed.index));
    prepared.release(recorded, shared.limits().retry_after)
}

struct Measuring<'a, 'b> {
    watch: &'a mut Stopwatch<'b>,
    measures: &'a Measures,
}

impl Observer for Measuring<'_, '_> {
    fn done(&mut self, phase: Phase) {
        self.watch.lap(phase);
    }

    fn approvals(&mut self, outcome: Result<&certs::Approved, &certs::Refused>, time_ms: u64) {
        let not_counted = match outcome {
            Ok(approved) => &approved.not_counted,
            Err(refused) => &refused.reasons,
        };
        for (_, reason) in not_counted {
            self.measures.approval_not_counted(reason.code());
        }
        for counted in outcome.iter().flat_map(|approved| &approved.counted) {
            let age_s = time_ms as f64 / 1000.0 - counted.not_before as f64;
            self.measures.approval_counted(&counted.organisation, age_s);
        }
    }
}

async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}
