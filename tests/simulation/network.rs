//! The network: it delays, reorders, doubles, drops and parts; but never alters, for QUIC would notice.
//!
//! Whether one message is lost, and how long it takes, depends on the seed, on who sends it to whom, and on how many they have sent
//! before; on nothing else. So a schedule of which a part is left out stays, for the rest, what it was.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A message: from whom to whom, and the so-manieth that they sent, from 1 on.
pub type Letter = (Place, Place, u64);
/// Messages that fared otherwise than in calm weather: after how many milliseconds each arrived, each time; never, if there is none.
pub type Fared = BTreeMap<Letter, Vec<u64>>;

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
    /// What has happened to messages so far, if somebody wants to know.
    pub told: Option<Fared>,
    /// What is to happen to them, whatever the weather and the partitions.
    script: Option<Fared>,
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

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orderer => f.write_str("orderer"),
            Self::Node(at) => write!(f, "node{at}"),
            Self::Peer(at) => write!(f, "peer{at}"),
            Self::Reader(at) => write!(f, "reader{at}"),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "orderer" {
            return Ok(Self::Orderer);
        }
        let number = |kind: &str| -> Option<usize> { text.strip_prefix(kind)?.parse().ok() };
        let found = number("node")
            .map(Self::Node)
            .or_else(|| number("peer").map(Self::Peer))
            .or_else(|| number("reader").map(Self::Reader));
        found.ok_or_else(|| format!("{text} is nobody"))
    }
}

impl Network {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            weather: CALM,
            split: None,
            sent: BTreeMap::new(),
            told: None,
            script: None,
        }
    }

    /// From now on these messages fare as they are told to, and all others as in calm weather.
    pub fn follow(&mut self, script: Fared) {
        self.script = Some(script);
    }

    /// Calm weather, and no partitions; what a script has still to tell is over too.
    pub fn calm(&mut self) {
        (self.split, self.weather) = (None, CALM);
        if let Some(script) = &mut self.script {
            script.clear();
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
        let letter = (from, to, *sent);
        let rolls = [next(), next(), next(), next()];
        let after = |roll: u64, weather: Weather| 1 + roll % weather.delay_ms.max(1);
        let calm = vec![after(rolls[2], CALM)];
        if let Some(script) = &self.script {
            return script.get(&letter).cloned().unwrap_or(calm);
        }
        let weather = self.weather;
        let times = match (
            rolls[0] % 1000 < weather.lost,
            rolls[1] % 1000 < weather.doubled,
        ) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        let arrives = if self.can_reach(from, to) {
            rolls[2..][..times]
                .iter()
                .map(|roll| after(*roll, weather))
                .collect()
        } else {
            Vec::new()
        };
        if let Some(told) = &mut self.told
            && arrives != calm
        {
            told.insert(letter, arrives.clone());
        }
        arrives
    }
}
