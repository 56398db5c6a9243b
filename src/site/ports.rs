//! Ports on loopback for processes that will be stopped and started again.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use cryptonode::randomness;
use rand::RngExt as _;

use super::SiteError;

/// For QUIC.
pub(super) fn free_udp_ports(count: usize) -> Result<Vec<SocketAddr>, SiteError> {
    free_ports(count, |port| {
        let socket = UdpSocket::bind(("127.0.0.1", port))?;
        Ok((socket.local_addr()?, socket))
    })
}

/// For what speaks TCP.
pub(super) fn free_tcp_ports(count: usize) -> Result<Vec<SocketAddr>, SiteError> {
    free_ports(count, |port| {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        Ok((listener.local_addr()?, listener))
    })
}

/// Ports that nobody uses at this moment. They are all held until all are found, so that they differ. None is of the range from which
/// the system serves outgoing sockets: one of those could get the port of a process that is down, and the process could not come back.
fn free_ports<H>(
    count: usize,
    hold: impl Fn(u16) -> std::io::Result<(SocketAddr, H)>,
) -> Result<Vec<SocketAddr>, SiteError> {
    const FIRST: u16 = 10_000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let below = range
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|below| *below > FIRST)
        .unwrap_or(32_768);
    let mut held = Vec::new();
    let mut failure = None;
    // Many more tries than taken ports can use up.
    for _ in 0..1_000 * count {
        if held.len() == count {
            break;
        }
        match hold(randomness::system().random_range(FIRST..below)) {
            Ok(one) => held.push(one),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        _ if held.len() == count => Ok(held.iter().map(|(address, _)| *address).collect()),
        Some(error) => Err(SiteError::io("find free ports on 127.0.0.1")(error)),
        None => Err(SiteError::Unexpected(
            "no free ports on 127.0.0.1".to_owned(),
        )),
    }
}
