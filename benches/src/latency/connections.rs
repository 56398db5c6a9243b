//! What a connection costs: cold, resumed, and when it is there already.
//!
//! Each time is that of a whole call, of the smallest request there is (`status`), so that the three can be compared:
//! cold with a full handshake (post-quantum key exchange, certificates and signatures of both sides), resumed with a
//! ticket of the connection before (no certificate crosses the wire, a fresh key exchange all the same), warm on the connection
//! that is open. A difference is the handshake. *Resumed* means that the client came back with what it remembered; in how many of these the
//! session was truly taken up is counted: no certificate was shown. Their bytes are hardly fewer than those of a cold connection: the first datagrams are filled up to
//! 1,200 bytes (RFC 9000, 14.1), and QUIC looks for the path's largest datagram with full ones.

use std::time::Instant;

use cryptonode::client::Client;
use cryptonode::wire::v1::{Answer, Request};
use serde::Serialize;

use super::Arguments;
use super::distribution::Distribution;
use super::outcome::Failure;
use super::running::Running;

/// What connections took.
#[derive(Debug, Serialize)]
pub(super) struct Connections {
    /// How often each was made, over all nodes.
    made: usize,
    /// In how many of those that were resumed the session was taken up again.
    sessions_taken_up: usize,
    /// Calls that had no answer; they are in no figure.
    failed: usize,
    cold_ms: Distribution,
    resumed_ms: Distribution,
    warm_ms: Distribution,
    /// UDP payloads of a cold connection with its one call, sent and received.
    cold_bytes: (f64, f64),
    /// The same of a resumed one.
    resumed_bytes: (f64, f64),
}

impl Connections {
    /// For people.
    pub(super) fn text(&self) -> String {
        let (cold, resumed, warm) = (self.cold_ms, self.resumed_ms, self.warm_ms);
        if self.made + self.failed == 0 {
            return String::new();
        }
        format!(
            "\nsmallest call, p50 / max ms: cold {:.2} / {:.2} ({:.0} bytes out, {:.0} back), resumed {:.2} / {:.2} ({:.0} out, {:.0} back), warm {:.2} / {:.2}; {} each, {} sessions taken up again, {} failed\n",
            cold.p50,
            cold.max,
            self.cold_bytes.0,
            self.cold_bytes.1,
            resumed.p50,
            resumed.max,
            self.resumed_bytes.0,
            self.resumed_bytes.1,
            warm.p50,
            warm.max,
            self.made,
            self.sessions_taken_up,
            self.failed,
        )
    }
}

#[derive(Default)]
struct Kind {
    times: Vec<f64>,
    sent: u64,
    received: u64,
}

impl Kind {
    async fn measure(&mut self, client: &Client, index: u16, failed: &mut usize) {
        let started = Instant::now();
        match client.call(index, &Request::Status {}).await {
            Some(Ok(Answer::Status { .. })) => {
                self.times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            _ => *failed += 1,
        }
    }

    fn traffic(&mut self, client: &Client) {
        for (_, traffic) in client.traffic() {
            self.sent += traffic.bytes_sent;
            self.received += traffic.bytes_received;
        }
    }

    fn bytes(&self) -> (f64, f64) {
        let count = self.times.len().max(1) as f64;
        (self.sent as f64 / count, self.received as f64 / count)
    }
}

/// Makes connections to the honest nodes, each time with a client that no node has seen before.
pub(super) async fn measure(
    arguments: &Arguments,
    running: &Running,
) -> Result<Connections, Failure> {
    let (mut cold, mut resumed, mut warm) = (Kind::default(), Kind::default(), Kind::default());
    let (mut failed, mut anew) = (0, 0);
    let honest = running.honest();
    for _ in 0..arguments.handshakes {
        let client = running.client()?;
        for &index in &honest {
            cold.measure(&client, index, &mut failed).await;
        }
        cold.traffic(&client);
        let full = client.full_handshakes();
        client.close().await;
        for &index in &honest {
            resumed.measure(&client, index, &mut failed).await;
        }
        resumed.traffic(&client);
        anew += client.full_handshakes().saturating_sub(full);
        for &index in &honest {
            warm.measure(&client, index, &mut failed).await;
        }
        client.close().await;
    }
    Ok(Connections {
        made: cold.times.len(),
        sessions_taken_up: resumed
            .times
            .len()
            .saturating_sub(usize::try_from(anew).unwrap_or(usize::MAX)),
        failed,
        cold_bytes: cold.bytes(),
        resumed_bytes: resumed.bytes(),
        cold_ms: Distribution::of(cold.times),
        resumed_ms: Distribution::of(resumed.times),
        warm_ms: Distribution::of(warm.times),
    })
}
