//! The network: it delays, reorders, doubles, drops and parts; but never alters, for QUIC would notice.
//!
//! Whether one message is lost, and how long it takes, depends on the seed, on who sends it to whom, and on how many they have sent
//! before; on nothing else. So a schedule of which a part is left out stays, for the rest, what it was.

use std::collections::BTreeMap;

/// Who sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A crypto node.
    Node(usize),
    /// An organisation's ledger peer.
    Peer(usize),
    /// A reader's client.
    Reader(usize),
    /// The orderer of the record.
    Orderer,
}

/// How messages fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Of 1,000 messages.
    pub lost: u64,
    /// Of 1,000 messages.
    pub doubled: u64,
    /// The longest delay, milliseconds: what is sent later may come first.
    pub delay_ms: u64,
}

pub const CALM: Weather = Weather {
    lost: 0,
    doubled: 0,
    delay_ms: 4,
};

#[derive(Debug)]
pub struct Network {
    seed: u64,
    pub weather: Weather,
    /// Places on the other side, one bit each; a partition per entry.
    pub split: Option<u64>,
    sent: BTreeMap<(Place, Place), u64>,
}

/// splitmix64.
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Place {
    fn number(self) -> u64 {
        match self {
            Self::Orderer => 0,
            Self::Node(at) => 1 + at as u64,
            Self::Peer(at) => 16 + at as u64,
            Self::Reader(at) => 32 + at as u64,
        }
    }
}

impl Network {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            weather: CALM,
            split: None,
            sent: BTreeMap::new(),
        }
    }

    pub fn can_reach(&self, one: Place, other: Place) -> bool {
        self.split.is_none_or(|sides| {
            let side = |place: Place| (sides >> (place.number() % 64)) & 1;
            side(one) == side(other)
        })
    }

    /// After how many milliseconds a message arrives; each time, if more than once; not at all, if never.
    pub fn carry(&mut self, from: Place, to: Place) -> Vec<u64> {
        let sent = self.sent.entry((from, to)).or_default();
        *sent += 1;
        let mut roll = mix(self.seed ^ mix(from.number() << 8 | to.number()) ^ mix(*sent << 20));
        let mut next = || {
            roll = mix(roll);
            roll
        };
        let Weather {
            lost,
            doubled,
            delay_ms,
        } = self.weather;
        let times = match (next() % 1000 < lost, next() % 1000 < doubled) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        if !self.can_reach(from, to) {
            return Vec::new();
        }
        (0..times).map(|_| 1 + next() % delay_ms.max(1)).collect()
    }
}
