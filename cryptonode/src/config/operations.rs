//! `[health]`, `[log]` and `[telemetry]`: what the node shows of itself.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;

use crate::telemetry::{self, TelemetryError};

/// The word that turns the page off.
const OFF: &str = "off";
/// The port of health and metrics that goes with the node's own port 7700.
const DEFAULT_PORT: u16 = 7701;

/// `[health]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHealth {
    listen: Option<String>,
    members_every_s: Option<u32>,
}

/// `[health]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSettings {
    /// TCP address of `/healthz`, `/readyz` and `/metrics`; `None` if they are turned off.
    pub listen: Option<SocketAddr>,
    /// How often the other members are asked whether they are there, in seconds; 0 is never.
    pub members_every_s: u32,
}

impl RawHealth {
    /// The checked settings of a node that listens on `node`.
    pub(super) fn check(&self, node: SocketAddr) -> Result<HealthSettings, (&'static str, String)> {
        let listen = match self.listen.as_deref() {
            Some(OFF) => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let reason = format!(
                    "{text:?} is not an address; write one such as \"127.0.0.1:7701\", or \"off\""
                );
                ("health.listen", reason)
            })?),
            None => Some(default_health(node)),
        };
        let members_every_s = self.members_every_s.unwrap_or(15);
        if members_every_s > 86_400 {
            let reason =
                format!("{members_every_s} is out of bounds; write a number from 0 to 86400");
            return Err(("health.members_every_s", reason));
        }
        Ok(HealthSettings {
            listen,
            members_every_s,
        })
    }
}

/// The loopback address of a node's health and metrics if nothing else is said: the port after its own.
pub(super) fn default_health(node: SocketAddr) -> SocketAddr {
    let port = match node.port() {
        0 => 0,
        port => port.checked_add(1).unwrap_or(DEFAULT_PORT),
    };
    (Ipv4Addr::LOCALHOST, port).into()
}

/// `[witness]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WitnessSettings {
    /// How often the other members are shown this node's audit log to be cosigned, in seconds; 0 is never.
    pub every_s: u64,
    /// After so many new records they are shown it at once.
    pub after_records: u64,
}

impl Default for WitnessSettings {
    fn default() -> Self {
        Self {
            every_s: 60,
            after_records: 1_000,
        }
    }
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// What is logged: `error` to `trace`, or directives such as `cryptonode=debug`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
        }
    }
}

impl LogSettings {
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        tracing_subscriber::EnvFilter::try_new(&self.level)
            .map(drop)
            .map_err(|error| {
                let reason = format!(
                    "{:?} cannot be read ({error}); write error, warn, info, debug, trace, or directives such as \"cryptonode=debug\"",
                    self.level
                );
                ("log.level", reason)
            })
    }
}

/// `[telemetry]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTelemetry {
    endpoint: Option<String>,
}

/// `[telemetry]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// The full address that spans are sent to; `None` if nobody wants any.
    pub endpoint: Option<String>,
}

impl RawTelemetry {
    pub(super) fn check(&self) -> Result<TelemetrySettings, (&'static str, String)> {
        const KEY: &str = "telemetry.endpoint";
        let endpoint = match self.endpoint.as_deref() {
            Some(OFF) => None,
            written => telemetry::endpoint(written).map_err(|error| (KEY, error.to_string()))?,
        };
        if endpoint.is_some() && cfg!(not(feature = "telemetry")) {
            return Err((KEY, TelemetryError::NotBuilt.to_string()));
        }
        Ok(TelemetrySettings { endpoint })
    }
}
