//! The relay's loop: sockets, the queue of what is due, and orders on standard input.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::network::{CLIENT, Network};
use super::owner;
use super::schedule::{Direction, Fate};

/// Most pairs of a sender and a front that are served at a time; more are dropped, and counted.
const MAX_FLOWS: usize = 8_192;
/// Most datagrams under way; more are dropped, and counted.
const MAX_UNDER_WAY: usize = 200_000;
/// Most datagrams taken from one socket before the others get their turn.
const TURN: usize = 32;
/// How many measurements of lateness are kept.
const KEPT: usize = 100_000;

/// What a relay is started with: the first line on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Parties that get a front, in order.
    pub parties: Vec<String>,
    /// What lies between them.
    pub network: Network,
    /// Of all chances.
    pub seed: u64,
}

/// A further line on its standard input. Each is answered with a line: [`Statistics`] or `null`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Where a party with a front really listens. Until then its datagrams are dropped.
    Target {
        /// The party.
        party: String,
        /// Its address.
        address: SocketAddr,
    },
    /// Datagrams of this process are of this party.
    Process {
        /// The party.
        party: String,
        /// The process.
        pid: u32,
    },
    /// Another network from now on.
    Network(Network),
    /// What was done since the last time this was asked.
    Statistics,
}

/// The relay's first line: where the fronts are, in the order of the parties.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The fronts.
    pub fronts: Vec<SocketAddr>,
}

/// What the relay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Datagrams that it read.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Dropped by chance.
    pub lost: u64,
    /// Dropped for want of bandwidth.
    pub overflowed: u64,
    /// Held back for later ones.
    pub reordered: u64,
    /// Dropped because nobody listens there, as at a crashed node, or because of a bound of the relay's own.
    pub undeliverable: u64,
    /// How much later than due datagrams were sent, in microseconds: median, of the last hundred thousand.
    pub late_us_p50: f64,
    /// The same, 99th percentile.
    pub late_us_p99: f64,
}

struct Front {
    party: String,
    socket: UdpSocket,
    target: Option<SocketAddr>,
}

/// One sender at one front.
struct Flow {
    front: usize,
    source: SocketAddr,
    sender: String,
    socket: UdpSocket,
    there: Direction,
    back: Direction,
}

/// A datagram under way. Ordered by when it is due, then by when it came.
struct UnderWay {
    at: Duration,
    number: u64,
    flow: usize,
    back: bool,
    bytes: Vec<u8>,
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct Carrier {
    config: Config,
    fronts: Vec<Front>,
    flows: Vec<Flow>,
    by_sender: HashMap<(usize, SocketAddr), usize>,
    processes: Vec<(u32, String)>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    started: Instant,
    number: u64,
    statistics: Statistics,
    late_us: Vec<f64>,
    buffer: Vec<u8>,
}

/// Serves until `orders` ends. The first line is the [`Config`], every other one an [`Order`].
///
/// # Errors
/// If a socket cannot be made or waited for, or a line is none of these.
pub fn serve(orders: impl Read + AsFd, mut answers: impl Write) -> io::Result<()> {
    // Waking up to within a microsecond, and not to within fifty. A kernel that refuses leaves the default.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut orders = Lines::new(orders);
    let config: Config = loop {
        match orders.read()? {
            None => return Ok(()),
            Some(lines) => {
                if let Some(line) = lines.first() {
                    break serde_json::from_str(line)?;
                }
            }
        }
    };
    let mut carrier = Carrier::new(config)?;
    let fronts: io::Result<Vec<SocketAddr>> = carrier
        .fronts
        .iter()
        .map(|front| front.socket.local_addr())
        .collect();
    say(&mut answers, &Ready { fronts: fronts? })?;
    loop {
        let readable = carrier.wait(orders.source.as_fd())?;
        carrier.deliver();
        for socket in readable {
            match socket {
                Socket::Orders => match orders.read()? {
                    None => return Ok(()),
                    Some(lines) => {
                        for line in lines {
                            let answer = carrier.obey(serde_json::from_str(&line)?);
                            say(&mut answers, &answer)?;
                        }
                    }
                },
                Socket::Front(front) => carrier.read_front(front),
                Socket::Flow(flow) => carrier.read_flow(flow),
            }
        }
        carrier.deliver();
    }
}

fn say(answers: &mut impl Write, answer: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *answers, answer)?;
    answers.write_all(b"\n")?;
    answers.flush()
}

/// What can be read.
enum Socket {
    Orders,
    Front(usize),
    Flow(usize),
}

impl Carrier {
    fn new(config: Config) -> io::Result<Self> {
        let fronts: io::Result<Vec<Front>> = config
            .parties
            .iter()
            .map(|party| {
                Ok(Front {
                    party: party.clone(),
                    socket: local_socket()?,
                    target: None,
                })
            })
            .collect();
        Ok(Self {
            config,
            fronts: fronts?,
            flows: Vec::new(),
            by_sender: HashMap::new(),
            processes: Vec::new(),
            under_way: BinaryHeap::new(),
            started: Instant::now(),
            number: 0,
            statistics: Statistics::default(),
            late_us: Vec::new(),
            buffer: vec![0; 65_536],
        })
    }

    /// Waits until something can be read or is due.
    fn wait(&self, orders: BorrowedFd<'_>) -> io::Result<Vec<Socket>> {
        let fronts = self.fronts.iter().map(|front| front.socket.as_fd());
        let flows = self.flows.iter().map(|flow| flow.socket.as_fd());
        let mut watched: Vec<PollFd<'_>> = std::iter::once(orders)
            .chain(fronts)
            .chain(flows)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let timeout = self.under_way.peek().map(|Reverse(next)| {
            let left = next.at.saturating_sub(self.started.elapsed());
            Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let front_count = self.fronts.len();
        Ok(watched
            .iter()
            .enumerate()
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(position, _)| match position {
                0 => Socket::Orders,
                front if front <= front_count => Socket::Front(front - 1),
                flow => Socket::Flow(flow - 1 - front_count),
            })
            .collect())
    }

    fn obey(&mut self, order: Order) -> Option<Statistics> {
        match order {
            Order::Target { party, address } => {
                for front in self.fronts.iter_mut().filter(|front| front.party == party) {
                    front.target = Some(address);
                }
                None
            }
            Order::Process { party, pid } => {
                self.processes.retain(|(_, known)| *known != party);
                self.processes.push((pid, party));
                None
            }
            Order::Network(network) => {
                for flow in &mut self.flows {
                    if let Some(front) = self.fronts.get(flow.front) {
                        flow.there
                            .change(network.between(&flow.sender, &front.party));
                        flow.back
                            .change(network.between(&front.party, &flow.sender));
                    }
                }
                self.config.network = network;
                None
            }
            Order::Statistics => {
                self.late_us.sort_by(f64::total_cmp);
                let at = |percent: usize| {
                    let rank = (self.late_us.len() * percent).div_ceil(100).max(1);
                    self.late_us.get(rank - 1).copied().unwrap_or_default()
                };
                let (late_us_p50, late_us_p99) = (at(50), at(99));
                self.late_us.clear();
                Some(Statistics {
                    late_us_p50,
                    late_us_p99,
                    ..std::mem::take(&mut self.statistics)
                })
            }
        }
    }

    fn read_front(&mut self, front: usize) {
        for _ in 0..TURN {
            let Some(socket) = self.fronts.get(front).map(|front| &front.socket) else {
                return;
            };
            let Ok((length, source)) = socket.recv_from(&mut self.buffer) else {
                return;
            };
            match self.flow_of(front, source) {
                Some(flow) => self.carry(flow, false, length),
                None => self.statistics.undeliverable += 1,
            }
        }
    }

    fn read_flow(&mut self, flow: usize) {
        for _ in 0..TURN {
            let Some(socket) = self.flows.get(flow).map(|flow| &flow.socket) else {
                return;
            };
            // An error is that of an earlier datagram that nobody took: the node is not there.
            let Ok(length) = socket.recv(&mut self.buffer) else {
                return;
            };
            self.carry(flow, true, length);
        }
    }

    /// The flow of this sender at this front; a new one if there is none.
    fn flow_of(&mut self, front: usize, source: SocketAddr) -> Option<usize> {
        if let Some(flow) = self.by_sender.get(&(front, source)) {
            return Some(*flow);
        }
        let Front { party, target, .. } = self.fronts.get(front)?;
        let target = (*target)?;
        if self.flows.len() >= MAX_FLOWS {
            return None;
        }
        let sender = self
            .processes
            .iter()
            .find(|(pid, _)| owner::holds(*pid, source.port()))
            .map_or(CLIENT, |(_, party)| party)
            .to_owned();
        let socket = local_socket().ok()?;
        socket.connect(target).ok()?;
        let number = self.flows.len();
        let direction = |from: &str, to: &str| {
            Direction::new(
                self.config.network.between(from, to),
                seed_of(self.config.seed, from, to, number),
            )
        };
        let flow = Flow {
            front,
            source,
            there: direction(&sender, party),
            back: direction(party, &sender),
            sender,
            socket,
        };
        self.flows.push(flow);
        self.by_sender.insert((front, source), number);
        Some(number)
    }

    /// Takes the datagram in the buffer.
    fn carry(&mut self, flow: usize, back: bool, length: usize) {
        let now = self.started.elapsed();
        self.statistics.datagrams += 1;
        self.statistics.bytes += length as u64;
        let Some(direction) = self.flows.get_mut(flow).map(|flow| {
            if back {
                &mut flow.back
            } else {
                &mut flow.there
            }
        }) else {
            return;
        };
        match direction.take(now, length) {
            Fate::Lost => self.statistics.lost += 1,
            Fate::Overflow => self.statistics.overflowed += 1,
            Fate::Arrives { at, reordered } => {
                self.statistics.reordered += u64::from(reordered);
                if self.under_way.len() >= MAX_UNDER_WAY {
                    self.statistics.undeliverable += 1;
                    return;
                }
                self.number += 1;
                self.under_way.push(Reverse(UnderWay {
                    at,
                    number: self.number,
                    flow,
                    back,
                    bytes: self.buffer.get(..length).unwrap_or_default().to_vec(),
                }));
            }
        }
    }

    /// Sends what is due.
    fn deliver(&mut self) {
        loop {
            let now = self.started.elapsed();
            if self
                .under_way
                .peek()
                .is_none_or(|Reverse(next)| next.at > now)
            {
                return;
            }
            let Some(Reverse(due)) = self.under_way.pop() else {
                return;
            };
            if self.late_us.len() < KEPT {
                self.late_us.push((now - due.at).as_secs_f64() * 1e6);
            }
            let Some(flow) = self.flows.get(due.flow) else {
                continue;
            };
            // A socket whose buffer is full drops, as a network card does.
            let sent = if due.back {
                match self.fronts.get(flow.front) {
                    Some(front) => front.socket.send_to(&due.bytes, flow.source),
                    None => continue,
                }
            } else {
                flow.socket.send(&due.bytes)
            };
            if sent.is_err() {
                self.statistics.undeliverable += 1;
            }
        }
    }
}

fn local_socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A seed for one direction, different for each.
fn seed_of(seed: u64, from: &str, to: &str, number: usize) -> u64 {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(from)
        .chain_update([0])
        .chain_update(to)
        .chain_update((number as u64).to_le_bytes())
        .finalize();
    digest
        .first_chunk()
        .map_or(seed, |bytes| u64::from_le_bytes(*bytes))
}

/// Whole lines from something that can be waited for.
struct Lines<R> {
    source: R,
    partial: Vec<u8>,
}

impl<R: Read> Lines<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            partial: Vec::new(),
        }
    }

    /// Reads once, and gives the lines that are complete; `None` at the end.
    fn read(&mut self) -> io::Result<Option<Vec<String>>> {
        // Larger than the buffer of standard input, which is then passed by: what is read there could not be waited for.
        let mut buffer = [0; 16_384];
        let length = self.source.read(&mut buffer)?;
        if length == 0 {
            return Ok(None);
        }
        self.partial
            .extend_from_slice(buffer.get(..length).unwrap_or_default());
        let mut lines = Vec::new();
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        Ok(Some(lines))
    }
}
