//! One request, from nothing to the secret in the client's hand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use certs::{Approval, DEFAULT_LIFETIME_S, Issuer, IssuerError};
use cryptonode::client::{Client, ClusterError, NodeOutcome, Opened, Outcome};
use cryptonode::wire::v1::{ByteBuf, Request};
use reencrypt::{EphemeralSecret, Opening, Progress, VerifiedWrappedKey, wrap};
use serde::Serialize;

use super::Arguments;
use super::arguments::Combination;
use super::outcome::Failure;
use super::running::now;

/// What each wrapped key holds, over and over; whoever opens one gets this or has measured nothing.
const SECRET: u8 = 0x5a;

/// Everything that requests are made from.
pub(super) struct Workload {
    client: Client,
    issuers: Vec<Issuer>,
    documents: Vec<VerifiedWrappedKey>,
    secret: Vec<u8>,
    combination: Combination,
}

/// An ephemeral key and the approvals that name it.
pub(super) struct Prepared {
    pub(super) secret: EphemeralSecret,
    pub(super) approvals: Vec<Vec<u8>>,
    ephemeral_key: Duration,
    approving: Duration,
}

/// What one request took, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    /// When it started or should have, after the run's start.
    pub(super) at_ms: f64,
    /// From then to the secret.
    pub(super) latency_ms: f64,
    /// From then to the moment at which it really started; zero in the closed loop.
    pub(super) late_ms: f64,
    /// Zero if it was made ahead, as are the approvals.
    pub(super) ephemeral_key_ms: f64,
    pub(super) approvals_ms: f64,
    /// From the first node's being asked to the answer that was enough; zero if none was.
    pub(super) answers_ms: f64,
    pub(super) opening_ms: f64,
    /// Members whose shares were used.
    pub(super) answered: Vec<u16>,
    /// What the call to each of them took, in the same order.
    pub(super) calls_ms: Vec<f64>,
    /// Members that were asked in vain, or too late to matter.
    pub(super) others_asked: Vec<u16>,
    /// Why there is no secret, if there is none: a stable code and a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<(String, String)>,
}

impl Sample {
    /// Whether this member was asked.
    pub(super) fn has_asked(&self, index: u16) -> bool {
        self.answered.contains(&index) || self.others_asked.contains(&index)
    }
}

impl Workload {
    /// Wraps a secret for each document, so that requests find them as a reader does.
    pub(super) fn new(
        client: Client,
        issuers: Vec<Issuer>,
        documents: u32,
        arguments: &Arguments,
    ) -> Result<Self, Failure> {
        let secret = vec![SECRET; usize::from(arguments.payload)];
        let public_key = client.cluster().package().public_key();
        let documents = (0..documents)
            .map(|number| {
                wrap(
                    &public_key,
                    &number.to_be_bytes(),
                    &secret,
                    &mut rand::rng(),
                )
            })
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::Client(error.to_string()))?;
        Ok(Self {
            client,
            issuers,
            documents,
            secret,
            combination: arguments.combination,
        })
    }

    /// The client that all requests share.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    #[expect(clippy::indexing_slicing, reason = "there is at least one document")]
    pub(super) fn document(&self, number: u32) -> &VerifiedWrappedKey {
        &self.documents[number as usize % self.documents.len()]
    }

    /// The ephemeral key and the approvals of one request.
    pub(super) fn prepare(&self, number: u32) -> Result<Prepared, IssuerError> {
        self.prepare_for(number, self.client.spki())
    }

    /// A good request of another client.
    pub(super) fn request_of(&self, client: &[u8]) -> Result<Request, IssuerError> {
        let prepared = self.prepare_for(0, client)?;
        let approvals = prepared.approvals.into_iter().map(ByteBuf::from);
        Ok(Request::Reencrypt {
            result: None,
            approvals: approvals.collect(),
            traceparent: None,
            wrapped_key: ByteBuf::from(self.document(0).as_bytes()),
            ephemeral_key: ByteBuf::from(prepared.secret.public().as_bytes().as_slice()),
        })
    }

    fn prepare_for(&self, number: u32, client: &[u8]) -> Result<Prepared, IssuerError> {
        let document = self.document(number);
        let started = Instant::now();
        let secret = EphemeralSecret::new(document, &mut rand::rng());
        let ephemeral_key = started.elapsed();
        let approval = Approval {
            write_id: document.write_id(),
            ephemeral_point: *secret.public().point().as_bytes(),
            approval_id: format!("{number:032x}"),
            client_spki: client.to_vec(),
            not_before: now(),
            not_after: now() + u64::from(DEFAULT_LIFETIME_S) - 60,
        };
        let approvals = self
            .issuers
            .iter()
            .map(|issuer| issuer.issue(&approval))
            .collect::<Result<_, _>>()?;
        Ok(Prepared {
            secret,
            approvals,
            ephemeral_key,
            approving: started.elapsed() - ephemeral_key,
        })
    }

    /// Carries one request out. `due` is when it should start, `epoch` when the run began; what is prepared already is not made,
    /// and its making not counted.
    pub(super) async fn request(
        &self,
        number: u32,
        prepared: Option<Prepared>,
        due: Instant,
        epoch: Instant,
    ) -> Sample {
        let started = Instant::now();
        let mut sample = Sample {
            at_ms: ms(due.saturating_duration_since(epoch)),
            latency_ms: 0.0,
            late_ms: ms(started.saturating_duration_since(due)),
            ephemeral_key_ms: 0.0,
            approvals_ms: 0.0,
            answers_ms: 0.0,
            opening_ms: 0.0,
            answered: Vec::new(),
            calls_ms: Vec::new(),
            others_asked: Vec::new(),
            failure: None,
        };
        let ahead = prepared.is_some();
        let prepared = match prepared.map_or_else(|| self.prepare(number), Ok) {
            Ok(prepared) => prepared,
            Err(error) => {
                sample.failure = Some((error.code().to_owned(), error.to_string()));
                return sample;
            }
        };
        let asking = Instant::now();
        let document = self.document(number).clone();
        let opened = match self.combination {
            Combination::Optimistic => {
                self.client
                    .open(document, prepared.secret, prepared.approvals)
                    .await
            }
            Combination::Verified => {
                self.open_verified(document, prepared.secret, prepared.approvals)
                    .await
            }
        };
        let done = Instant::now();
        sample.latency_ms = ms(done.saturating_duration_since(due));
        if !ahead {
            sample.ephemeral_key_ms = ms(prepared.ephemeral_key);
            sample.approvals_ms = ms(prepared.approving);
        }
        // Not the slowest call of those that were used: one that began late, in another's place, ends later than a longer one.
        sample.answers_ms = opened.answered_after.map_or(0.0, ms);
        sample.opening_ms = (ms(done - asking) - sample.answers_ms).max(0.0);
        let indices = |wanted: fn(&Outcome) -> bool| {
            let nodes = opened.nodes.iter().filter(|node| wanted(&node.what));
            nodes.map(|node: &NodeOutcome| node.index).collect()
        };
        sample.calls_ms = opened
            .nodes
            .iter()
            .filter(|node| node.what == Outcome::Answered)
            .filter_map(|node| node.millis)
            .collect();
        sample.answered = indices(|what| *what == Outcome::Answered);
        sample.others_asked =
            indices(|what| !matches!(what, Outcome::Answered | Outcome::NotAsked));
        sample.failure = match opened.result {
            Ok(secret) if secret.ct_eq(&self.secret) => None,
            Ok(_) => Some((
                "other-secret".to_owned(),
                "what was opened is not what was wrapped".to_owned(),
            )),
            Err(error) => Some((error.code().to_owned(), error.to_string())),
        };
        sample
    }
}

impl Workload {
    /// Each share verified as it comes, and only then combined.
    async fn open_verified(
        &self,
        document: VerifiedWrappedKey,
        secret: EphemeralSecret,
        approvals: Vec<Vec<u8>>,
    ) -> Opened {
        let collected = self
            .client
            .collect_shares(&document, secret.public(), approvals)
            .await;
        let package = self.client.cluster().package().clone();
        let result = collected.result.and_then(|shares| {
            let mut opening =
                Opening::new(document, secret, package).map_err(|error| ClusterError::Request {
                    reason: error.to_string(),
                })?;
            for share in shares {
                let index = share
                    .first_chunk()
                    .map_or(0, |index| u16::from_le_bytes(*index));
                if let Progress::Opened(secret) = opening.add(index, &share) {
                    return Ok(secret);
                }
            }
            // t verified shares do not open: the wrapped key is not what it seems.
            Err(ClusterError::InvalidWrappedKey)
        });
        Opened {
            result,
            nodes: collected.nodes,
            answered_after: collected.answered_after,
        }
    }
}

/// How often each reason for a failure occurred, each with one of its sentences.
pub(super) fn failures(samples: &[Sample]) -> BTreeMap<String, (u32, String)> {
    let mut failures: BTreeMap<String, (u32, String)> = BTreeMap::new();
    for (code, sentence) in samples.iter().filter_map(|sample| sample.failure.as_ref()) {
        failures
            .entry(code.clone())
            .or_insert_with(|| (0, sentence.clone()))
            .0 += 1;
    }
    failures
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
