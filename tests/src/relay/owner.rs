//! Which process holds a UDP port of this machine.

use std::fs;

/// Whether the process holds the IPv4 UDP socket bound to `port`.
pub(super) fn holds(pid: u32, port: u16) -> bool {
    let Ok(table) = fs::read_to_string("/proc/net/udp") else {
        return false;
    };
    inodes(&table, port).any(|inode| has_socket(pid, inode))
}

/// The sockets bound to a port. A line of the table: `sl local_address rem_address st queues timer retrnsmt uid timeout inode …`,
/// the address in hexadecimal, the port behind a colon.
fn inodes(table: &str, port: u16) -> impl Iterator<Item = u64> {
    table.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_whitespace();
        let (_, bound) = fields.nth(1)?.split_once(':')?;
        let bound = u16::from_str_radix(bound, 16).ok()?;
        let inode = fields.nth(7)?.parse().ok()?;
        (bound == port).then_some(inode)
    })
}

fn has_socket(pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|link| link.as_os_str() == wanted.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn this_process_holds_its_own_sockets_only() {
        let own = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = own.local_addr().unwrap().port();
        assert!(holds(std::process::id(), port));
        assert!(!holds(1, port) || std::process::id() == 1);
        drop(own);
        assert!(!holds(std::process::id(), port));
    }
}
