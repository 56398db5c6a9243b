//! `[clients]`: who may ask for shares, and how much one client may take.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::server::{ClientLimits, ClientRules};

/// `[clients]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawClients {
    allow: Vec<String>,
    deny: Vec<String>,
    requests_in_flight: Option<u32>,
    requests_per_second: Option<u32>,
    burst: Option<u32>,
    bytes_in_flight: Option<u32>,
    client: Vec<RawClient>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClient {
    fingerprint: String,
    /// For the operator's own eyes.
    #[allow(dead_code, reason = "a name in the file, for people")]
    name: Option<String>,
    requests_in_flight: Option<u32>,
    requests_per_second: Option<u32>,
    burst: Option<u32>,
    bytes_in_flight: Option<u32>,
}

impl RawClients {
    /// The rules, or the key that is wrong and why.
    pub(super) fn check(&self) -> Result<ClientRules, (String, String)> {
        let allow = fingerprints("clients.allow", &self.allow)?;
        let standard = ClientLimits::default();
        let each = limits(
            "clients",
            standard,
            (
                self.requests_in_flight,
                self.requests_per_second,
                self.burst,
                self.bytes_in_flight,
            ),
        )?;
        let mut named = HashMap::new();
        for (position, client) in self.client.iter().enumerate() {
            let key = format!("clients.client[{position}]");
            let fingerprint = fingerprint(&client.fingerprint)
                .map_err(|reason| (format!("{key}.fingerprint"), reason))?;
            let own = limits(
                &key,
                each,
                (
                    client.requests_in_flight,
                    client.requests_per_second,
                    client.burst,
                    client.bytes_in_flight,
                ),
            )?;
            if named.insert(fingerprint, own).is_some() {
                let reason = "this client stands there twice; remove one".to_owned();
                return Err((format!("{key}.fingerprint"), reason));
            }
        }
        Ok(ClientRules {
            allow: (!allow.is_empty()).then_some(allow),
            deny: fingerprints("clients.deny", &self.deny)?,
            each,
            named,
        })
    }
}

type Written = (Option<u32>, Option<u32>, Option<u32>, Option<u32>);

fn limits(
    key: &str,
    base: ClientLimits,
    (requests, rate, burst, bytes): Written,
) -> Result<ClientLimits, (String, String)> {
    let within = |name: &str, value: u32, least: u32, most: u32| {
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            let reason = format!("{value} is out of bounds; write a number from {least} to {most}");
            Err((format!("{key}.{name}"), reason))
        }
    };
    let per_second = rate.unwrap_or(base.requests_per_second);
    Ok(ClientLimits {
        requests: within(
            "requests_in_flight",
            requests.unwrap_or(base.requests),
            1,
            1_000_000,
        )?,
        requests_per_second: within("requests_per_second", per_second, 0, 1_000_000)?,
        // A changed rate without a burst of its own does not keep another rate's.
        burst: within(
            "burst",
            burst.unwrap_or(if rate.is_some() { 0 } else { base.burst }),
            0,
            1_000_000,
        )?,
        bytes: within(
            "bytes_in_flight",
            bytes.unwrap_or(base.bytes),
            4 * 1024 * 1024,
            u32::MAX,
        )?,
    })
}

fn fingerprints(key: &str, texts: &[String]) -> Result<HashSet<[u8; 32]>, (String, String)> {
    texts
        .iter()
        .map(|text| fingerprint(text).map_err(|reason| (key.to_owned(), reason)))
        .collect()
}

fn fingerprint(text: &str) -> Result<[u8; 32], String> {
    hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            format!("{text:?} is no fingerprint; write the 64 hexadecimal digits of the SHA-256 of the client's public key, as the audit log shows them")
        })
}
