//! `/metrics`: every number of the node, gathered when somebody asks for them.
//!
//! `deploy/grafana-dashboard.json` and `deploy/prometheus-alerts.yml` are held against this page by a test: rename nothing
//! here without them.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::Registry;

use crate::admin::KeyView;
use crate::daemon::Node;
use crate::health::Subject;
use crate::keyring::ActiveKey;
use crate::node_files::AUDIT_FOLDER;
use crate::revocation::ListView;
use crate::store::STORE_FILE;

/// Label names with their values.
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// The page of a node in any stage; without the running node's numbers if there is none yet.
pub(crate) fn page(subject: &dyn Subject, started_s: u64, node: Option<Arc<Node>>) -> String {
    let mut registry = Registry::with_prefix("cryptonode");
    let reasons = subject.not_ready();
    registry.register_collector(Box::new(Stage {
        stage: subject.stage(),
        reasons: reasons.iter().map(|reason| reason.code.clone()).collect(),
        healthy: subject.unhealthy().is_empty(),
        started_s,
    }));
    if let Some(node) = node {
        node.counters.measures.register(&mut registry);
        registry.register_collector(Box::new(Numbers(node)));
    }
    let mut page = String::with_capacity(16 * 1024);
    // Writing into memory does not fail; a page without its end is refused by its reader.
    if text::encode(&mut page, &registry).is_err() {
        tracing::error!("the metrics have no text form");
    }
    page
}

/// Writes metrics one after another.
struct Sheet<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Sheet<'_, '_> {
    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            if labels.is_empty() {
                metric.encode_gauge(&value)?;
            } else {
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, [(Vec::new(), value)])
    }

    fn flag(&mut self, name: &str, help: &str, value: bool) -> fmt::Result {
        self.gauge(name, help, f64::from(u8::from(value)))
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            if labels.is_empty() {
                metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            } else {
                metric
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(Vec::new(), value)])
    }
}

/// What is known of a node in any stage.
#[derive(Debug)]
struct Stage {
    stage: &'static str,
    reasons: Vec<String>,
    healthy: bool,
    started_s: u64,
}

impl Collector for Stage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(&mut encoder);
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        sheet.gauges("build", "The software's version", [(version, 1.0)])?;
        sheet.gauge(
            "start_time_seconds",
            "When the process started, seconds since the Unix epoch",
            self.started_s as f64,
        )?;
        let stages = ["starting", "sealed", "serving", "stopping"];
        sheet.gauges(
            "stage",
            "1 for the stage that the node is in",
            stages.map(|stage| {
                let value = f64::from(u8::from(stage == self.stage));
                (vec![("stage", stage)], value)
            }),
        )?;
        sheet.flag("healthy", "0 if only a restart helps", self.healthy)?;
        sheet.flag(
            "ready",
            "1 if the node gives shares",
            self.reasons.is_empty(),
        )?;
        let reasons = self
            .reasons
            .iter()
            .map(|reason| (vec![("reason", reason.as_str())], 1.0));
        sheet.gauges("not_ready", "Why the node gives no shares", reasons)
    }
}

/// The numbers of a running node.
struct Numbers(Arc<Node>);

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbers")
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(&mut encoder);
        self.load(&mut sheet)?;
        self.phases(&mut sheet)?;
        self.keys(&mut sheet)?;
        self.members(&mut sheet)?;
        self.issuers(&mut sheet)?;
        self.certificate(&mut sheet)?;
        self.disk(&mut sheet)?;
        self.witnesses(&mut sheet)?;
        self.operations(&mut sheet)
    }
}

impl Numbers {
    fn load(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let counters = &self.0.counters;
        let now = counters.snapshot();
        let limits = self.0.limits.now();
        let gauges = [
            (
                "connections_open",
                "Connections open now",
                now.connections_open,
            ),
            (
                "connections_limit",
                "Most connections at a time",
                limits.connections as u64,
            ),
            (
                "handshakes_open",
                "Handshakes going on now",
                now.handshakes_open,
            ),
            (
                "requests_in_flight",
                "Requests going on now",
                now.requests_open,
            ),
            (
                "requests_limit",
                "Most requests of clients at a time",
                limits.requests as u64,
            ),
        ];
        for (name, help, value) in gauges {
            sheet.gauge(name, help, value as f64)?;
        }
        let stages = counters.measures.stages();
        sheet.gauges(
            "requests_queued",
            "Requests for shares that wait for arithmetic, are in it, and wait for their audit record",
            stages.map(|(stage, value)| (vec![("stage", stage)], value as f64)),
        )?;
        let held = counters.measures.bytes_held();
        sheet.gauges(
            "request_bytes_held",
            "Bytes held for requests and long answers",
            held.map(|(of, value)| (vec![("of", of)], value as f64)),
        )?;
        let totals = [
            (
                "connections",
                "Connections whose handshake completed",
                now.connections,
            ),
            (
                "connections_refused",
                "Connections refused by a limit",
                now.connections_refused,
            ),
            (
                "handshakes_failed",
                "Handshakes that failed or took too long",
                now.handshakes_failed,
            ),
            (
                "address_validations",
                "Newcomers that were asked to prove their address",
                now.retries,
            ),
            ("shares", "Shares given", now.shares),
        ];
        for (name, help, value) in totals {
            sheet.counter(name, help, value)?;
        }
        Ok(())
    }

    /// Where the time of the shares went that were given.
    fn phases(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let mut metric = sheet.0.encode_descriptor(
            "share_phase_seconds",
            "Where the time of shares went: receive, decode, turn, approvals, proofs, share, proof, audit; whole is all these but receive; audit_commit is the whole commit, which goes on beside share and proof",
            None,
            MetricType::Histogram,
        )?;
        for phase in self.0.counters.phases.snapshot() {
            let durations = &phase.durations;
            let mut counted = durations.buckets.iter().peekable();
            let mut buckets: Vec<(f64, u64)> = exponential_buckets(0.000_01, 2.0, 20)
                .map(|end_s| {
                    let mut count = 0;
                    while let Some((_, more)) =
                        counted.next_if(|(end_ns, _)| *end_ns as f64 / 1e9 <= end_s)
                    {
                        count += more;
                    }
                    (end_s, count)
                })
                .collect();
            buckets.push((f64::INFINITY, counted.map(|(_, count)| count).sum()));
            let all = durations.buckets.iter().map(|(_, count)| count).sum();
            let labels = [("phase", phase.phase.name())];
            metric
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(
                    durations.sum_ns as f64 / 1e9,
                    all,
                    &buckets,
                    None,
                )?;
        }
        Ok(())
    }

    fn keys(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let keys = self.0.keys();
        let names: Vec<&str> = keys.iter().map(short_name).collect();
        let each = |value: fn(&KeyView) -> f64| {
            names
                .iter()
                .zip(&keys)
                .map(move |(name, key)| (vec![("key", *name)], value(key)))
        };
        sheet.gauge(
            "keys",
            "Keys that are active on this node",
            keys.len() as f64,
        )?;
        sheet.gauges(
            "key_epoch",
            "Epoch of each key",
            each(|key| key.epoch as f64),
        )?;
        sheet.gauges(
            "key_threshold",
            "t of each key",
            each(|key| key.threshold.into()),
        )?;
        sheet.gauges(
            "key_members",
            "n of each key",
            each(|key| key.members as f64),
        )?;
        let seen = self.0.probe.seen();
        let reachable: Vec<(String, f64)> = self
            .0
            .keyring
            .iter()
            .map(|key| {
                let answering = key.members.iter().filter(|member| {
                    member.identity == self.0.identity
                        || seen
                            .get(&member.identity)
                            .is_some_and(|seen| seen.answer.is_ok())
                });
                (name_of(&key), answering.count() as f64)
            })
            .collect();
        let reachable = reachable
            .iter()
            .map(|(name, count)| (vec![("key", name.as_str())], *count));
        sheet.gauges(
            "key_members_reachable",
            "Members of each key that answer this node, itself among them",
            reachable,
        )
    }

    fn members(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let seen = self.0.probe.seen();
        let reachable = seen.values().map(|member| {
            let value = f64::from(u8::from(member.answer.is_ok()));
            (vec![("member", member.name.as_str())], value)
        });
        sheet.gauges(
            "member_reachable",
            "1 if the member answered when last asked",
            reachable,
        )?;
        let answering = || {
            seen.values().filter_map(|member| {
                let sighting = member.answer.as_ref().ok()?;
                Some((vec![("member", member.name.as_str())], sighting))
            })
        };
        sheet.gauges(
            "member_round_trip_seconds",
            "Time to a member and back",
            answering().map(|(labels, member)| (labels, member.round_trip.as_secs_f64())),
        )?;
        sheet.gauges(
            "member_clock_ahead_seconds",
            "How far a member's clock is ahead of this node's",
            answering().map(|(labels, member)| (labels, member.clock_ahead_ms as f64 / 1000.0)),
        )
    }

    fn issuers(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let keys: Vec<_> = self.0.keyring.iter().collect();
        let names: Vec<String> = keys.iter().map(|key| name_of(key)).collect();
        let mut series = Vec::new();
        for (name, key) in names.iter().zip(&keys) {
            for issuer in key.policy.issuers() {
                let fingerprint = hex::encode(issuer.fingerprint);
                let short = fingerprint.get(..16).unwrap_or_default().to_owned();
                series.push((name.as_str(), issuer.organisation, short, issuer.not_after));
            }
        }
        sheet.gauges(
            "issuer_expiry_timestamp_seconds",
            "When the certificate of an approvals' issuer expires, seconds since the Unix epoch",
            series.iter().map(|(key, organisation, issuer, not_after)| {
                let labels = vec![
                    ("key", *key),
                    ("organisation", *organisation),
                    ("issuer", issuer.as_str()),
                ];
                (labels, *not_after as f64)
            }),
        )
    }

    fn certificate(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let config = self.0.live.now();
        let expiry = config.certificate.as_ref().map(|one| one.not_after as f64);
        sheet.gauges(
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate expires that an authority has issued for this node, seconds since the Unix epoch",
            expiry.map(|expiry| (Vec::new(), expiry)),
        )
    }

    fn disk(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let node = &self.0;
        let folder = node.folder.as_path();
        let store = fs::metadata(folder.join(STORE_FILE)).map_or(0, |file| file.len());
        sheet.gauge("store_bytes", "Size of the sealed store", store as f64)?;
        let audit = size_of_folder(&folder.join(AUDIT_FOLDER));
        sheet.gauge("audit_bytes", "Size of the audit log", audit as f64)?;
        sheet.counter(
            "audit_records",
            "Records of the audit log",
            node.audit.size(),
        )?;
        sheet.counter(
            "audit_batches",
            "Writes to the audit log since the start, each for all that waited",
            node.audit.batches(),
        )?;
        sheet.counter(
            "audit_write_failures",
            "Records that could not be written since the start",
            node.audit.failed_writes(),
        )?;
        sheet.flag(
            "audit_writable",
            "0 if the audit log takes no records, so that no share is given",
            node.audit.health().is_ok(),
        )?;
        if let Ok(volume) = rustix::fs::statvfs(folder) {
            let free = volume.f_bavail.saturating_mul(volume.f_frsize);
            let size = volume.f_blocks.saturating_mul(volume.f_frsize);
            sheet.gauge(
                "disk_free_bytes",
                "Free bytes of the disk below the node's folder",
                free as f64,
            )?;
            sheet.gauge("disk_bytes", "Size of that disk", size as f64)?;
        }
        Ok(())
    }

    fn witnesses(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let view = self.0.witnesses.view();
        let own = &view.own;
        sheet.gauge(
            "audit_cosigned_records",
            "Records of the audit log under the newest checkpoint that witnesses cosigned",
            own.cosigned_records.unwrap_or(0) as f64,
        )?;
        sheet.gauge(
            "audit_witnesses",
            "Members that this node's audit log is shown to",
            own.witnesses.len() as f64,
        )?;
        let cosigned = own.witnesses.iter().filter(|one| one.time_s.is_some());
        sheet.gauge(
            "audit_witnesses_cosigning",
            "Of these, those that cosigned when last asked",
            cosigned.count() as f64,
        )?;
        sheet.counter(
            "witness_cosignatures",
            "Cosignatures given to others' audit logs since the start",
            view.given,
        )?;
        sheet.gauges(
            "witness_refused",
            "1 for a member whose audit log does not continue what it signed before",
            view.watched.iter().map(|log| {
                let value = f64::from(u8::from(log.refused.is_some()));
                (vec![("member", log.member.as_str())], value)
            }),
        )?;
        sheet.gauges(
            "witness_findings",
            "Pairs of checkpoints that are kept as evidence against a member's audit log",
            view.watched.iter().map(|log| {
                (
                    vec![("member", log.member.as_str())],
                    log.findings.len() as f64,
                )
            }),
        )
    }

    fn operations(&self, sheet: &mut Sheet<'_, '_>) -> fmt::Result {
        let lists = self.0.lists.view();
        let names: Vec<&str> = lists
            .iter()
            .map(|list| list.authority.get(..16).unwrap_or_default())
            .collect();
        let each = |value: fn(&ListView) -> f64| {
            names
                .iter()
                .zip(&lists)
                .map(move |(name, list)| (vec![("authority", *name)], value(list)))
        };
        sheet.gauges(
            "revocation_list_usable",
            "0 if an authority has no list that is new enough: what it covers does not count",
            each(|list| f64::from(u8::from(list.usable))),
        )?;
        sheet.gauges(
            "revocation_list_usable_until_timestamp_seconds",
            "Until when an authority's list is good, seconds since the Unix epoch; 0 without a list",
            each(|list| list.usable_until.unwrap_or(0) as f64),
        )?;
        sheet.gauges(
            "revocation_list_entries",
            "Certificates in an authority's list",
            each(|list| list.entries.unwrap_or(0) as f64),
        )?;
        let failures = names
            .iter()
            .zip(&lists)
            .map(|(name, list)| (vec![("authority", *name)], list.failures));
        sheet.counters(
            "revocation_list_failures",
            "Times that an authority's list could not be read or was not taken",
            failures,
        )?;
        let spans = self.0.telemetry.counts();
        sheet.counters(
            "trace_spans",
            "Spans that the collector took, that were dropped because it is too slow, and that it did not take",
            [
                ("exported", spans.exported),
                ("dropped", spans.dropped),
                ("failed", spans.failed),
            ]
            .map(|(outcome, count)| (vec![("outcome", outcome)], count)),
        )?;
        let suspended = self.0.gate.suspended();
        sheet.gauges(
            "suspended",
            "Keys and documents that are given no shares by the operator's word",
            [
                ("keys", suspended.keys.len()),
                ("documents", suspended.documents.len()),
            ]
            .map(|(what, count)| (vec![("what", what)], count as f64)),
        )?;
        let reloads = self.0.reloads().clone();
        sheet.counters(
            "config_reloads",
            "Times that the configuration was read again",
            [("taken", reloads.succeeded), ("refused", reloads.failed)]
                .map(|(outcome, count)| (vec![("outcome", outcome)], count)),
        )?;
        sheet.flag(
            "config_in_order",
            "0 if the configuration's file that is there now is not taken",
            reloads.failure.is_none(),
        )?;
        sheet.gauge(
            "config_read_timestamp_seconds",
            "When the configuration that holds was read, seconds since the Unix epoch",
            reloads.read_at_s as f64,
        )?;
        let open = self
            .0
            .ceremonies
            .list()
            .into_iter()
            .filter(|ceremony| !ceremony.decided)
            .count();
        sheet.gauge(
            "ceremonies_open",
            "Ceremonies that are not decided",
            open as f64,
        )
    }
}

/// The name in the series of a key that this node serves.
fn name_of(key: &ActiveKey) -> String {
    let name = hex::encode(key.package.public_key().as_bytes());
    name.get(..16).unwrap_or_default().to_owned()
}

fn short_name(key: &KeyView) -> &str {
    key.public_key.get(..16).unwrap_or(&key.public_key)
}

fn size_of_folder(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|file| file.len())
        .sum()
}
