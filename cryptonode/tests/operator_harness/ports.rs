//! Ports for nodes that are killed and started again: they must stay theirs meanwhile.
//!
//! A port that the system chose is of the range from which it also serves every outgoing socket, those of the other nodes among them. While
//! a node is down, its port may go to one of these, and the node cannot come back. So ports are taken from below that range, and each
//! is held for one test by a lock, also against other test programs.

use std::fs::File;
use std::net::UdpSocket;

use rustix::fs::{FlockOperation, flock};

/// A port that no other test has until this is dropped.
pub struct Reserved {
    pub number: u16,
    _lock: File,
}

pub fn reserve() -> Reserved {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let below: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let folder = std::env::temp_dir().join("cryptonode-test-ports");
    std::fs::create_dir_all(&folder).unwrap();
    loop {
        let number = rand::random_range(10_000..below.max(10_100));
        let lock = File::create(folder.join(number.to_string())).unwrap();
        let held = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        if held && UdpSocket::bind(("127.0.0.1", number)).is_ok() {
            return Reserved {
                number,
                _lock: lock,
            };
        }
    }
}
