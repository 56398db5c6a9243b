//! What can be looked at on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Configured, Findings, Running};
use crate::admin::{IssuerHealth, KeyHealth};
use crate::client::{ClientIdentity, Dialer, PeerOptions};
use crate::config::Config;
use crate::daemon::clock_s;
use crate::node_files::PublicIdentity;
use crate::store::{Folder, Passphrase, STORE_FILE, Store};
use crate::{probe, reload};

/// Free space below which a node is about to stop giving shares, and below which it is time to look.
const DISK_FAIL: u64 = 64 * 1024 * 1024;
const DISK_WARN: u64 = 1024 * 1024 * 1024;
/// An issuer that expires within this many seconds is told.
const EXPIRES_SOON_S: u64 = 30 * 86_400;

pub(super) fn folder(findings: &mut Findings, folder: &Path) {
    const CHECK: &str = "folder";
    let mode = match std::fs::metadata(folder) {
        Ok(metadata) => metadata.permissions().mode() & 0o7777,
        Err(error) => {
            return findings.fail(CHECK, "", format!("{}: {error}", folder.display()));
        }
    };
    if mode & 0o077 != 0 {
        let message = format!(
            "others may enter {} (mode {mode:o}): run `chmod 700 {}`",
            folder.display(),
            folder.display()
        );
        return findings.fail(CHECK, "", message);
    }
    if folder.join(STORE_FILE).exists() {
        findings.ok(
            CHECK,
            "",
            format!("{}, for its owner only", folder.display()),
        );
    } else {
        let message = "there is no store in it: restore the folder from a backup, or make a node with `cryptonode init`";
        findings.fail(CHECK, "", message);
    }
}

pub(super) fn disk(findings: &mut Findings, folder: &Path) {
    const CHECK: &str = "disk";
    let volume = match rustix::fs::statvfs(folder) {
        Ok(volume) => volume,
        Err(error) => return findings.skip(CHECK, "", error.to_string()),
    };
    let free = volume.f_bavail.saturating_mul(volume.f_frsize);
    let message = format!("{} MiB are free", free / (1024 * 1024));
    if free < DISK_FAIL {
        let message =
            format!("{message}: a node that cannot write its audit log gives no shares; make room");
        findings.fail(CHECK, "", message);
    } else if free < DISK_WARN || volume.f_bavail < volume.f_blocks / 20 {
        findings.warn(CHECK, "", format!("{message}: make room"));
    } else {
        findings.ok(CHECK, "", message);
    }
}

pub(super) fn configuration(findings: &mut Findings, folder: &Path) -> Option<Configured> {
    const CHECK: &str = "configuration";
    let identity = match PublicIdentity::read(folder) {
        Ok(identity) => identity,
        Err(error) => {
            findings.fail(CHECK, "", error.to_string());
            return None;
        }
    };
    match reload::read(folder, &identity.identity) {
        Ok((config, policy)) => {
            findings.ok(
                CHECK,
                "",
                format!("in order, {} members", config.members.len()),
            );
            if let Some(policy) = &policy {
                findings.ok("policy", "", hex::encode(policy.hash()));
            } else {
                findings.warn(
                    "policy",
                    "",
                    "there is none: set one with `cryptonode policy set` before a ceremony",
                );
            }
            Some((config, identity, policy))
        }
        Err(error) => {
            findings.fail(CHECK, "", error.to_string());
            None
        }
    }
}

/// Addresses that answer if the node runs, and that can be had if it does not.
pub(super) async fn ports(
    findings: &mut Findings,
    config: &Config,
    identity: &PublicIdentity,
    running: &Running,
) {
    if let Some(message) = handed_out(config.listen.port()) {
        findings.warn("port", &config.listen.to_string(), message);
    }
    match running {
        Running::Yes(status) => {
            match status.listen.parse() {
                Ok(address) => answering(findings, reachable(address), identity).await,
                Err(_) => findings.skip("listen", &status.listen, "the address cannot be read"),
            }
            match (&status.health, &status.health_failure) {
                (_, Some(failure)) => findings.fail("health", "", failure.as_str()),
                (Some(address), _) => match tokio::net::TcpStream::connect(address).await {
                    Ok(_) => findings.ok("health", address, "it answers"),
                    Err(error) => findings.fail("health", address, error.to_string()),
                },
                (None, None) => findings.ok("health", "", "turned off"),
            }
        }
        Running::Closed => findings.skip("listen", "", "the node does not serve yet"),
        Running::No => {
            let address = config.listen.to_string();
            match UdpSocket::bind(config.listen) {
                Ok(_) => findings.ok("listen", &address, "it can be had (UDP)"),
                Err(error) => findings.fail(
                    "listen",
                    &address,
                    format!("it cannot be had (UDP): {error}"),
                ),
            }
            if let Some(listen) = config.health.listen {
                match TcpListener::bind(listen) {
                    Ok(_) => findings.ok("health", &listen.to_string(), "it can be had (TCP)"),
                    Err(error) => findings.fail(
                        "health",
                        &listen.to_string(),
                        format!("it cannot be had (TCP): {error}"),
                    ),
                }
            }
        }
    }
}

/// Why a node that is down for a moment may not get its port back.
fn handed_out(port: u16) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
    let range = read("ip_local_port_range")?;
    let mut ends = range.split_whitespace().map_while(|end| end.parse().ok());
    let (from, to): (u16, u16) = (ends.next()?, ends.next()?);
    let reserved = read("ip_local_reserved_ports").unwrap_or_default();
    (is_within(port, from, to) && !is_listed(port, &reserved)).then(|| {
        format!(
            "the system gives the ports {from} to {to} to outgoing connections: while the node is down, another program may get its port, and it cannot start; use one below {from}, or add it to net.ipv4.ip_local_reserved_ports"
        )
    })
}

fn is_within(port: u16, from: u16, to: u16) -> bool {
    (from..=to).contains(&port)
}

/// Whether a port is in a list such as `7700,8000-8010`.
fn is_listed(port: u16, list: &str) -> bool {
    list.trim().split(',').any(|entry| {
        let (from, to) = entry.split_once('-').unwrap_or((entry, entry));
        matches!((from.parse(), to.parse()), (Ok(from), Ok(to)) if is_within(port, from, to))
    })
}

async fn answering(findings: &mut Findings, address: SocketAddr, identity: &PublicIdentity) {
    const CHECK: &str = "listen";
    let text = address.to_string();
    let asked = async {
        let own = ClientIdentity::generate().map_err(|error| error.to_string())?;
        let dialer = Dialer::new(own, PeerOptions::default());
        let peer = dialer
            .peer(&text, &identity.identity)
            .map_err(|error| error.to_string())?;
        let answer = probe::ask(&peer).await;
        dialer.close().await;
        answer
    };
    match asked.await {
        Ok(_) => findings.ok(CHECK, &text, "it answers with this node's identity"),
        Err(reason) => findings.fail(CHECK, &text, reason),
    }
}

/// An address that listens everywhere is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, address.port()).into()
}

/// The keys of a node that does not run; `None` if its store cannot be opened, which is told.
pub(super) fn keys(
    findings: &mut Findings,
    folder: &Path,
    passphrase: Option<&Passphrase>,
) -> Option<Vec<KeyHealth>> {
    const CHECK: &str = "share";
    let Some(passphrase) = passphrase else {
        let message =
            "the store is sealed: give --passphrase-file, or start the node and ask again";
        findings.skip(CHECK, "", message);
        return None;
    };
    let opened = Folder::open(folder)
        .map_err(|error| error.to_string())
        .and_then(|held| {
            let store = Store::open(folder, passphrase).map_err(|error| error.to_string())?;
            // Each share is checked as it is read.
            let keys = store.active_keys().map_err(|error| error.to_string())?;
            drop(held);
            Ok(keys)
        });
    match opened {
        Ok(keys) => Some(keys.iter().map(KeyHealth::of).collect()),
        Err(reason) => {
            findings.fail(CHECK, "", reason);
            None
        }
    }
}

pub(super) fn shares(findings: &mut Findings, keys: &[KeyHealth]) {
    const CHECK: &str = "share";
    if keys.is_empty() {
        let message = "this node holds no share: make a key by a ceremony, or have a reshare bring the node in";
        findings.fail(CHECK, "", message);
    }
    for key in keys {
        let about = key.public_key.get(..16).unwrap_or_default();
        match &key.failure {
            None => {
                let message = format!("epoch {}, it matches its public share", key.epoch);
                findings.ok(CHECK, about, message);
            }
            Some(failure) => findings.fail(CHECK, about, failure.as_str()),
        }
    }
}

/// The certificate that the operator's authority has issued for the node. Nobody is refused for it: members and clients look at the key.
pub(super) fn certificate(findings: &mut Findings, config: &Config) {
    const CHECK: &str = "certificate";
    let Some(certificate) = &config.certificate else {
        return;
    };
    let (now, about) = (clock_s(), certificate.path.display().to_string());
    let days = certificate.not_after.saturating_sub(now) / 86_400;
    if certificate.not_after <= now {
        findings.fail(
            CHECK,
            &about,
            "it has expired: have the authority issue another (`cryptonode certificate request`)",
        );
    } else if certificate.not_after - now < EXPIRES_SOON_S {
        let message = format!(
            "it expires in {days} days: have the authority issue another (`cryptonode certificate request`)"
        );
        findings.warn(CHECK, &about, message);
    } else {
        findings.ok(CHECK, &about, format!("it is valid for {days} days"));
    }
}

/// The authorities' revocation lists, as the running node has them: what an authority covers does not count without a good one.
pub(super) fn revocation(findings: &mut Findings, config: &Config, running: &Running) {
    const CHECK: &str = "revocation";
    let Running::Yes(status) = running else {
        if !config.revocation.is_empty() {
            findings.skip(CHECK, "", "the running node knows how its lists are");
        }
        return;
    };
    let now = clock_s();
    for list in &status.revocation {
        let failure = list.failure.as_deref().unwrap_or("it could not be read");
        let minutes = list.usable_until.unwrap_or(now).saturating_sub(now) / 60;
        let entries = list.entries.unwrap_or(0);
        let message =
            format!("{entries} certificates are revoked; it is good for {minutes} minutes");
        match (list.usable, list.usable_until, &list.failure) {
            (true, _, None) => findings.ok(CHECK, &list.source, message),
            (true, ..) => findings.warn(
                CHECK,
                &list.source,
                format!("{message}, and no newer one comes: {failure}"),
            ),
            (false, None, _) => findings.fail(
                CHECK,
                &list.source,
                format!("there is no list, so that what this authority covers does not count: {failure}"),
            ),
            (false, Some(_), _) => findings.fail(
                CHECK,
                &list.source,
                format!(
                    "the list is stale, so that what this authority covers does not count: {failure}; have the authority publish a new one"
                ),
            ),
        }
    }
}

/// Issuers' certificates of the policy for new keys and of each key's own.
pub(super) fn issuers(findings: &mut Findings, policy: Option<&certs::Policy>, keys: &[KeyHealth]) {
    const CHECK: &str = "issuer";
    let now = clock_s();
    let mut told = std::collections::BTreeSet::new();
    let configured = policy.map(IssuerHealth::of_policy).unwrap_or_default();
    for issuer in configured
        .iter()
        .chain(keys.iter().flat_map(|key| &key.issuers))
    {
        if !told.insert(&issuer.fingerprint) {
            continue;
        }
        let days = issuer.not_after.saturating_sub(now) / 86_400;
        let about = format!(
            "{} {}",
            issuer.organisation,
            issuer.fingerprint.get(..16).unwrap_or_default()
        );
        if issuer.not_after <= now {
            let message = "its certificate has expired: its approvals do not count; have it renewed under the same key";
            findings.fail(CHECK, &about, message);
        } else if issuer.not_after - now < EXPIRES_SOON_S {
            findings.warn(
                CHECK,
                &about,
                format!("its certificate expires in {days} days: have it renewed"),
            );
        } else {
            findings.ok(
                CHECK,
                &about,
                format!("its certificate is valid for {days} days"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_listed;

    #[test]
    fn reserved_ports_are_read_as_the_system_writes_them() {
        for (port, list, listed) in [
            (7700, "7700\n", true),
            (7700, "80,7000-7800", true),
            (7700, "7701-7800", false),
            (7700, "\n", false),
            (7700, "x-y,-,7700-", false),
        ] {
            assert_eq!(is_listed(port, list), listed, "{list:?}");
        }
    }
}
