//! Ports on loopback for processes that are killed and started again: they must stay theirs meanwhile.
//!
//! A port that the system chose is of the range from which it also serves every outgoing socket. While a process is down, its port may go to one of these,
//! and the process cannot come back. So ports are taken from below that range, and each is held by a lock until the test program ends, also against
//! other test programs.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

const FIRST: u16 = 10_000;
/// Where the range of outgoing sockets begins, if the system does not say.
const BELOW: u16 = 32_768;
/// Many more than ports that are taken can use up.
const TRIES: usize = 10_000;

/// The locks of this program.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// An address for QUIC.
///
/// # Errors
/// No lock can be made, or no port is free.
pub fn udp() -> io::Result<SocketAddr> {
    reserve(|address| UdpSocket::bind(address).is_ok())
}

/// An address for what speaks TCP.
///
/// # Errors
/// As [`udp`].
pub fn tcp() -> io::Result<SocketAddr> {
    reserve(|address| TcpListener::bind(address).is_ok())
}

fn reserve(is_free: impl Fn(SocketAddr) -> bool) -> io::Result<SocketAddr> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let below = range
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|below| *below > FIRST)
        .unwrap_or(BELOW);
    let folder = std::env::temp_dir().join("threshold-exchange-test-ports");
    std::fs::create_dir_all(&folder)?;
    for _ in 0..TRIES {
        let port = rand::random_range(FIRST..below);
        let lock = File::create(folder.join(port.to_string()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && is_free(address) {
            HELD.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(lock);
            return Ok(address);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "no port on 127.0.0.1 is free",
    ))
}
