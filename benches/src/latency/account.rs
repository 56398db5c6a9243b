//! What a run took: of the processors, of the network, and of time.

use std::collections::BTreeMap;

use cryptonode::client::{Client, Traffic};
use serde::Serialize;
use testkit::misbehaviour::Misbehaviour;
use testkit::relay::Statistics;

use super::distribution::Distribution;
use super::environment::load_average;
use super::load::Load;
use super::node_phases::NodePhases;
use super::probe::Probes;
use super::process_time::Usage;
use super::running::Running;
use super::workload::{Sample, failures};
use crate::steal::Ticks;

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) requests: usize,
    pub(super) failed: u32,
    /// Code → how often, and one sentence.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) failures: BTreeMap<String, (u32, String)>,
    pub(super) seconds: f64,
    /// Of the requests that succeeded: in the open loop those that were done while requests still came, over that time.
    pub(super) requests_per_second: f64,
    /// In the open loop: requests that came in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offered_per_second: Option<f64>,
    /// In the open loop: from the moment at which the last request came to the last one's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) drain_seconds: Option<f64>,
    /// From the start (in the open loop: from the moment at which it should have been). A request that failed never ends: a percentile that
    /// falls among those is null. The mean is of the others.
    pub(super) latency_ms: Distribution,
    pub(super) phases_ms: Phases,
    /// A request's share of each process' time.
    pub(super) client: Processor,
    pub(super) nodes: Vec<NodeReport>,
    /// What the nodes used together for one request.
    pub(super) nodes_cpu_ms: f64,
    /// What of it those used that no request was sent to: what it costs to be there. Not known of nodes in one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle_nodes_cpu_ms: Option<f64>,
    /// UDP payloads between the client and all nodes, for one request.
    pub(super) bytes_sent: f64,
    pub(super) bytes_received: f64,
    pub(super) datagrams_sent: f64,
    pub(super) datagrams_received: f64,
    /// Where the nodes' time went, by phase ([`Phase`](cryptonode::server::Phase)): of the nodes without a fault.
    pub(super) node_phases_ms: BTreeMap<&'static str, Distribution>,
    /// Mean of what is left of a used call when the node's own part is taken off; absent if the nodes did other work than just these calls
    /// (hedges, floods, failures), or do not tell: then that of the probes may be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network_ms: Option<f64>,
    /// Nodes asked for one request, on average: t if none is slow, none fails and none lies.
    pub(super) asked: f64,
    /// The one process of all nodes, with `--processes one`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nodes_together: Option<Processor>,
    /// The relay, if there is a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) relay: Option<RelayReport>,
    /// What requests to all n nodes gave, after the run.
    pub(super) probes: Probes,
    /// The machine's load average of one minute, before and after.
    pub(super) load_average: (f64, f64),
    /// The part of the processors' time that the hypervisor gave to others meanwhile; none where the system does not tell.
    pub(super) steal_share: Option<f64>,
}

/// Where a request's time went.
#[derive(Debug, Serialize)]
pub(super) struct Phases {
    /// Only in the open loop: between the moment at which a request should have started and that at which it did.
    pub(super) late: Distribution,
    pub(super) ephemeral_key: Distribution,
    pub(super) approvals: Distribution,
    pub(super) answers: Distribution,
    pub(super) opening: Distribution,
}

/// One process' use of the processors, in milliseconds for each request of the run.
#[derive(Debug, Serialize)]
pub(super) struct Processor {
    pub(super) cpu_ms: f64,
    /// Ready, and waiting for a processor.
    pub(super) waiting_ms: f64,
    /// How often the system put one of its threads on a processor.
    pub(super) slices: f64,
}

/// One node in a run.
#[derive(Debug, Serialize)]
pub(super) struct NodeReport {
    pub(super) name: String,
    /// Its index in the cluster, by which requests' records name it.
    pub(super) index: u16,
    /// Requests that its share was used for.
    pub(super) answered: usize,
    /// Its fault, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<Misbehaviour>,
    /// None if it shares its process with the other nodes.
    #[serde(flatten)]
    pub(super) processor: Option<Processor>,
    /// UDP payloads that the client sent to it, and received from it, for one request of the run.
    pub(super) bytes_sent: f64,
    pub(super) bytes_received: f64,
}

/// What the relay did in a run, the probes not included.
#[derive(Debug, Serialize)]
pub(super) struct RelayReport {
    #[serde(flatten)]
    pub(super) processor: Processor,
    #[serde(flatten)]
    pub(super) statistics: Statistics,
}

/// What has been used so far.
pub(super) struct Account {
    client: Usage,
    nodes: Vec<(String, Option<Usage>)>,
    together: Option<Usage>,
    relay: Option<Usage>,
    /// With each node, by name.
    traffic: BTreeMap<String, Traffic>,
    phases: NodePhases,
    load_average: f64,
    ticks: Option<Ticks>,
}

impl Account {
    /// Before a run. To ask the nodes for their phases costs them and us processor time: first that, then the usage.
    pub(super) fn before(running: &Running, client: &Client) -> Self {
        let phases = NodePhases::of(&running.honest_folders());
        Self {
            phases,
            ..Self::without_phases(running, client)
        }
    }

    /// After a run: first the usage, then the phases, so that neither question is counted as the run's.
    pub(super) fn after(running: &Running, client: &Client) -> Self {
        let account = Self::without_phases(running, client);
        Self {
            phases: NodePhases::of(&running.honest_folders()),
            ..account
        }
    }

    fn without_phases(running: &Running, client: &Client) -> Self {
        Self {
            client: Usage::of_process(std::process::id()),
            nodes: running.usage(),
            together: running.usage_together(),
            relay: running.usage_of_relay(),
            traffic: client.traffic().into_iter().collect(),
            phases: NodePhases::default(),
            load_average: load_average(),
            ticks: Ticks::now(),
        }
    }
}

impl Run {
    /// What came of this load between the two accounts.
    pub(super) fn of(
        load: &Load,
        before: &Account,
        after: &Account,
        running: &Running,
        relay: Option<Statistics>,
        probes: Probes,
    ) -> Self {
        let samples = &load.samples;
        let good: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.failure.is_none())
            .collect();
        let of = |value: fn(&Sample) -> f64| Distribution::of(good.iter().map(|s| value(s)));
        let each = 1.0 / (samples.len().max(1) as f64);
        let processor = |before: &Usage, after: &Usage| {
            let used = after.since(before);
            Processor {
                cpu_ms: used.running_ms() * each,
                waiting_ms: used.waiting_ms() * each,
                slices: used.slices() * each,
            }
        };
        // A connection that was made anew begins at nothing: then less is counted than there was.
        let traffic = |name: &str| {
            let (before, after) = (before.traffic.get(name), after.traffic.get(name));
            let more = |of: fn(&Traffic) -> u64| {
                after.map_or(0, of).saturating_sub(before.map_or(0, of)) as f64 * each
            };
            [
                more(|traffic| traffic.bytes_sent),
                more(|traffic| traffic.bytes_received),
                more(|traffic| traffic.datagrams_sent),
                more(|traffic| traffic.datagrams_received),
            ]
        };
        let mut sum = [0.0; 4];
        let nodes: Vec<NodeReport> = (1_u16..)
            .zip(before.nodes.iter().zip(&after.nodes))
            .map(|(number, ((name, before), (_, after)))| {
                let traffic = traffic(name);
                for (sum, more) in sum.iter_mut().zip(traffic) {
                    *sum += more;
                }
                let [bytes_sent, bytes_received, ..] = traffic;
                let index = running.index_of(name).unwrap_or_default();
                NodeReport {
                    name: name.clone(),
                    index,
                    answered: good.iter().filter(|s| s.answered.contains(&index)).count(),
                    fault: running.faults.get(&number).copied(),
                    processor: before
                        .as_ref()
                        .zip(after.as_ref())
                        .map(|(before, after)| processor(before, after)),
                    bytes_sent,
                    bytes_received,
                }
            })
            .collect();
        let [
            bytes_sent,
            bytes_received,
            datagrams_sent,
            datagrams_received,
        ] = sum;
        let both = |of: fn(&Account) -> Option<&Usage>| Some(processor(of(before)?, of(after)?));
        let nodes_together = both(|account| account.together.as_ref());
        let relay =
            both(|account| account.relay.as_ref())
                .zip(relay)
                .map(|(processor, statistics)| RelayReport {
                    processor,
                    statistics,
                });
        let phases = after.phases.since(&before.phases);
        let network_ms = phases.network_ms(&calls_of(&running.honest(), &good));
        let idle_nodes_cpu_ms = nodes
            .iter()
            .filter(|node| !samples.iter().any(|sample| sample.has_asked(node.index)))
            .filter_map(|node| Some(node.processor.as_ref()?.cpu_ms))
            .fold(0.0, std::ops::Add::add);
        let cpu_of_nodes: f64 = nodes
            .iter()
            .filter_map(|node| Some(node.processor.as_ref()?.cpu_ms))
            .sum();
        let asked = samples
            .iter()
            .map(|sample| sample.answered.len() + sample.others_asked.len())
            .sum::<usize>() as f64
            * each;
        let failures = failures(samples);
        let arrivals = load.arrivals.map(|window| window.as_secs_f64());
        let not_good = samples.len() - good.len();
        Self {
            requests: samples.len(),
            failed: failures.values().map(|(count, _)| count).sum(),
            failures,
            seconds: load.took.as_secs_f64(),
            requests_per_second: load.completed_per_second(),
            offered_per_second: arrivals.map(|window| samples.len() as f64 / window),
            drain_seconds: arrivals.map(|window| (load.took.as_secs_f64() - window).max(0.0)),
            latency_ms: Distribution::with_failures(
                good.iter().map(|sample| sample.latency_ms),
                not_good,
            ),
            phases_ms: Phases {
                late: of(|sample| sample.late_ms),
                ephemeral_key: of(|sample| sample.ephemeral_key_ms),
                approvals: of(|sample| sample.approvals_ms),
                answers: of(|sample| sample.answers_ms),
                opening: of(|sample| sample.opening_ms),
            },
            client: processor(&before.client, &after.client),
            nodes_cpu_ms: nodes_together.as_ref().map_or(0.0, |all| all.cpu_ms) + cpu_of_nodes,
            idle_nodes_cpu_ms: nodes_together.is_none().then_some(idle_nodes_cpu_ms),
            nodes,
            bytes_sent,
            bytes_received,
            datagrams_sent,
            datagrams_received,
            node_phases_ms: phases.distributions(),
            network_ms,
            asked,
            nodes_together,
            relay,
            probes,
            load_average: (before.load_average, after.load_average),
            steal_share: after
                .ticks
                .zip(before.ticks)
                .and_then(|(after, before)| after.stolen_since(before)),
        }
    }
}

/// What the calls took whose shares were used, of nodes that tell their own part.
fn calls_of(honest: &[u16], good: &[&Sample]) -> Vec<f64> {
    good.iter()
        .flat_map(|sample| sample.answered.iter().zip(&sample.calls_ms))
        .filter(|(index, _)| honest.contains(index))
        .map(|(_, took)| *took)
        .collect()
}
