//! `[limits]`: bounds on what the node takes on from everybody together.

use std::time::Duration;

use serde::Deserialize;

use crate::server::Limits;

/// `[limits]`. A key that is left out has its default, which is the generated file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Connections open at a time.
    pub connections: u32,
    /// Connections open at a time from one IPv4 address or one IPv6 network of 64 bits.
    pub connections_per_address: u32,
    /// Open connections beyond which newcomers must first prove their address.
    pub validate_above: u32,
    /// Handshakes going on beyond which newcomers must first prove their address.
    pub validate_above_handshakes: u32,
    /// Requests going on in one connection.
    pub requests_per_connection: u32,
    /// Requests worked on at a time.
    pub requests_in_flight: u32,
    /// Bytes held for requests and long answers.
    pub request_bytes: u32,
    /// The same for members.
    pub member_bytes: u32,
    /// One address, or one member, may take one in so many of requests and bytes.
    pub origins: u32,
    /// Requests in arithmetic at a time; 0 is one for each processor.
    pub compute_at_once: u32,
    /// For a handshake to complete.
    pub handshake_timeout_ms: u64,
    /// For a request to arrive.
    pub request_timeout_ms: u64,
    /// For a member's request to arrive.
    pub member_request_timeout_ms: u64,
    /// For an audit record to become durable.
    pub audit_timeout_ms: u64,
    /// For a ceremony's reply.
    pub ceremony_timeout_ms: u64,
    /// For a client to take its answer.
    pub answer_timeout_ms: u64,
    /// A connection without a packet for so long is closed.
    pub idle_timeout_ms: u64,
    /// A stranger's connection without a request for so long is closed when the node is crowded.
    pub quiet_timeout_ms: u64,
    /// For accepted requests to be answered when the node stops.
    pub stop_timeout_ms: u64,
    /// What `busy` says when to try again.
    pub retry_after_ms: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        // The server's own; what of them depends on the machine is 0 here.
        let limits = Limits::default();
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let millis = |value: Duration| u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        Self {
            connections: number(limits.connections),
            connections_per_address: number(limits.connections_per_address),
            validate_above: number(limits.validate_above),
            validate_above_handshakes: number(limits.validate_above_handshakes),
            requests_per_connection: limits.requests_per_connection,
            requests_in_flight: number(limits.requests),
            request_bytes: number(limits.request_bytes),
            member_bytes: number(limits.member_bytes),
            origins: number(limits.origins),
            compute_at_once: 0,
            handshake_timeout_ms: millis(limits.handshake),
            request_timeout_ms: millis(limits.request),
            member_request_timeout_ms: millis(limits.member_request),
            audit_timeout_ms: millis(limits.audit),
            ceremony_timeout_ms: millis(limits.ceremony),
            answer_timeout_ms: millis(limits.answer),
            idle_timeout_ms: millis(limits.idle),
            quiet_timeout_ms: millis(limits.quiet),
            stop_timeout_ms: millis(limits.stop),
            retry_after_ms: millis(limits.retry_after),
        }
    }
}

impl LimitSettings {
    /// Each key that has a lower and an upper bound: its name, the bounds, and what the file says.
    pub(super) fn bounds(&self) -> [(&'static str, u64, u64, u64); 20] {
        const MANY: u64 = 1_000_000;
        const BYTES: u64 = u32::MAX as u64;
        const LONG: u64 = 600_000;
        [
            ("limits.connections", 1, MANY, self.connections.into()),
            (
                "limits.connections_per_address",
                1,
                MANY,
                self.connections_per_address.into(),
            ),
            ("limits.validate_above", 0, MANY, self.validate_above.into()),
            (
                "limits.validate_above_handshakes",
                0,
                MANY,
                self.validate_above_handshakes.into(),
            ),
            (
                "limits.requests_per_connection",
                1,
                MANY,
                self.requests_per_connection.into(),
            ),
            (
                "limits.requests_in_flight",
                1,
                MANY,
                self.requests_in_flight.into(),
            ),
            // The longest request of its kind has room.
            (
                "limits.request_bytes",
                4 * 1024 * 1024,
                BYTES,
                self.request_bytes.into(),
            ),
            (
                "limits.member_bytes",
                16 * 1024 * 1024,
                BYTES,
                self.member_bytes.into(),
            ),
            ("limits.origins", 1, 1_024, self.origins.into()),
            (
                "limits.compute_at_once",
                0,
                1_024,
                self.compute_at_once.into(),
            ),
            (
                "limits.handshake_timeout_ms",
                100,
                LONG,
                self.handshake_timeout_ms,
            ),
            (
                "limits.request_timeout_ms",
                10,
                LONG,
                self.request_timeout_ms,
            ),
            (
                "limits.member_request_timeout_ms",
                10,
                LONG,
                self.member_request_timeout_ms,
            ),
            ("limits.audit_timeout_ms", 10, LONG, self.audit_timeout_ms),
            (
                "limits.ceremony_timeout_ms",
                10,
                LONG,
                self.ceremony_timeout_ms,
            ),
            ("limits.answer_timeout_ms", 10, LONG, self.answer_timeout_ms),
            ("limits.idle_timeout_ms", 1_000, LONG, self.idle_timeout_ms),
            ("limits.quiet_timeout_ms", 10, LONG, self.quiet_timeout_ms),
            ("limits.stop_timeout_ms", 10, LONG, self.stop_timeout_ms),
            ("limits.retry_after_ms", 1, LONG, self.retry_after_ms),
        ]
    }

    /// The bounds as the server has them.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let number = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let arithmetic = match self.compute_at_once {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => number(some),
        };
        Limits {
            connections: number(self.connections),
            connections_per_address: number(self.connections_per_address),
            validate_above: number(self.validate_above),
            validate_above_handshakes: number(self.validate_above_handshakes),
            requests_per_connection: self.requests_per_connection,
            requests: number(self.requests_in_flight),
            request_bytes: number(self.request_bytes),
            member_bytes: number(self.member_bytes),
            origins: number(self.origins),
            arithmetic,
            handshake: Duration::from_millis(self.handshake_timeout_ms),
            request: Duration::from_millis(self.request_timeout_ms),
            member_request: Duration::from_millis(self.member_request_timeout_ms),
            audit: Duration::from_millis(self.audit_timeout_ms),
            ceremony: Duration::from_millis(self.ceremony_timeout_ms),
            answer: Duration::from_millis(self.answer_timeout_ms),
            idle: Duration::from_millis(self.idle_timeout_ms),
            quiet: Duration::from_millis(self.quiet_timeout_ms),
            stop: Duration::from_millis(self.stop_timeout_ms),
            retry_after: Duration::from_millis(self.retry_after_ms),
        }
    }
}
