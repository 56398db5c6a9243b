//! What goes wrong, and when: a schedule that follows from the seed alone.
//!
//! The first round has every kind of fault once, in few enough episodes for ten minutes: what befalls nodes goes along with what
//! befalls peers, and the platform's faults come alone. Afterwards faults are dealt from a shuffled deck, again each kind once before any
//! comes twice, and some get a companion by chance. The bounds are what the design claims to survive: at any moment at most n − t crypto
//! nodes and one organisation's peer (f of 3f + 1) are in trouble. The platform is one process, so while it is away nobody is served, and
//! nothing may be lost.
//!
//! Nodes are named by *seats*, 0 to n − 1, and peers by their organisation. Who sits there may change: a replaced node or peer gives
//! its place to its successor.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

/// Crypto nodes, n, and how many of them re-encrypt together, t.
pub(crate) const NODES: usize = 5;
/// See [`NODES`].
pub(crate) const THRESHOLD: usize = 3;
/// Organisations, each with a peer: 3f + 1, of which f may fail in any way.
pub(crate) const ORGANISATIONS: usize = 4;
/// Organisations that must approve a read, m: f + 1, so that one of them is honest.
pub(crate) const APPROVALS: usize = 2;
/// Nodes that may be in trouble at one moment.
#[cfg(test)]
pub(crate) const MOST_NODES: usize = NODES - THRESHOLD;
/// By how many seconds clocks may differ by the nodes' policy; jumps within it disturb nobody.
const TOLERANCE_S: i64 = 30;

/// The names of all kinds of faults.
pub(crate) const KINDS: [&str; 22] = [
    "corrupt-node-store",
    "corrupt-peer-store",
    "corrupt-platform-store",
    "cut-node",
    "cut-peer",
    "cut-platform",
    "fill-node-disk",
    "fill-peer-disk",
    "fill-platform-disk",
    "jump-node-clock",
    "jump-peer-clock",
    "jump-platform-clock",
    "kill-node",
    "kill-peer",
    "kill-platform",
    "lose-peer-store",
    "replace-node",
    "replace-peer",
    "reshare",
    "stop-node",
    "stop-peer",
    "stop-platform",
];

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Fault {
    /// SIGKILL; it is started again when the fault is over.
    KillNode { seat: usize },
    /// SIGSTOP: alive to the system, silent to everybody.
    StopNode { seat: usize },
    /// Its cable is pulled.
    CutNode { seat: usize },
    /// Not a byte is left on its disk.
    FillNodeDisk { seat: usize },
    /// Its clock jumps.
    JumpNodeClock { seat: usize, seconds: i64 },
    /// It is stopped, its store is damaged, it must refuse to start, and its operator puts the backup back.
    CorruptNodeStore { seat: usize },
    /// SIGKILL.
    KillPeer { organisation: usize },
    /// SIGSTOP.
    StopPeer { organisation: usize },
    /// Its cable is pulled: neither the other peers nor the platform reach it.
    CutPeer { organisation: usize },
    /// Not a byte is left on its disk.
    FillPeerDisk { organisation: usize },
    /// Its clock jumps.
    JumpPeerClock { organisation: usize, seconds: i64 },
    /// It is stopped, its store is damaged, it must refuse to start, and its operator moves the store away.
    CorruptPeerStore { organisation: usize },
    /// It is stopped, and its record and its part of the order are gone.
    LosePeerStore { organisation: usize },
    /// Its machine is gone, with the organisation's keys. Another one with new keys takes its place when the others have
    /// endorsed that and an epoch has ended.
    ReplacePeer { organisation: usize },
    /// SIGKILL.
    KillPlatform,
    /// SIGSTOP.
    StopPlatform,
    /// Its cable is pulled: it and its users are there, nodes and peers are out of reach.
    CutPlatform,
    /// Not a byte is left on its disk.
    FillPlatformDisk,
    /// Its clock jumps within the tolerance.
    JumpPlatformClock { seconds: i64 },
    /// It is stopped, its copy of the record is damaged, it must refuse to start, and its operator moves the copy away.
    CorruptPlatformStore,
    /// New shares for the same members.
    Reshare,
    /// A node is lost for ever, and a reshare puts a new one with a new identity into its seat.
    ReplaceNode { seat: usize },
}

impl Fault {
    /// The name of its kind, as in the history.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::KillNode { .. } => "kill-node",
            Self::StopNode { .. } => "stop-node",
            Self::CutNode { .. } => "cut-node",
            Self::FillNodeDisk { .. } => "fill-node-disk",
            Self::JumpNodeClock { .. } => "jump-node-clock",
            Self::CorruptNodeStore { .. } => "corrupt-node-store",
            Self::KillPeer { .. } => "kill-peer",
            Self::StopPeer { .. } => "stop-peer",
            Self::CutPeer { .. } => "cut-peer",
            Self::FillPeerDisk { .. } => "fill-peer-disk",
            Self::JumpPeerClock { .. } => "jump-peer-clock",
            Self::CorruptPeerStore { .. } => "corrupt-peer-store",
            Self::LosePeerStore { .. } => "lose-peer-store",
            Self::ReplacePeer { .. } => "replace-peer",
            Self::KillPlatform => "kill-platform",
            Self::StopPlatform => "stop-platform",
            Self::CutPlatform => "cut-platform",
            Self::FillPlatformDisk => "fill-platform-disk",
            Self::JumpPlatformClock { .. } => "jump-platform-clock",
            Self::CorruptPlatformStore => "corrupt-platform-store",
            Self::Reshare => "reshare",
            Self::ReplaceNode { .. } => "replace-node",
        }
    }

    /// The seat of the node that is in trouble.
    pub(crate) fn seat(&self) -> Option<usize> {
        match self {
            Self::KillNode { seat }
            | Self::StopNode { seat }
            | Self::CutNode { seat }
            | Self::FillNodeDisk { seat }
            | Self::JumpNodeClock { seat, .. }
            | Self::CorruptNodeStore { seat }
            | Self::ReplaceNode { seat } => Some(*seat),
            _ => None,
        }
    }

    /// The organisation whose peer is in trouble.
    pub(crate) fn organisation(&self) -> Option<usize> {
        match self {
            Self::KillPeer { organisation }
            | Self::StopPeer { organisation }
            | Self::CutPeer { organisation }
            | Self::FillPeerDisk { organisation }
            | Self::JumpPeerClock { organisation, .. }
            | Self::CorruptPeerStore { organisation }
            | Self::LosePeerStore { organisation }
            | Self::ReplacePeer { organisation } => Some(*organisation),
            _ => None,
        }
    }

    /// Whether it has a ceremony, which the first node leads.
    fn is_ceremony(&self) -> bool {
        matches!(self, Self::Reshare | Self::ReplaceNode { .. })
    }

    /// Whether service may stop while it lasts: the platform is away, or cut off.
    pub(crate) fn stops_service(&self) -> bool {
        matches!(
            self,
            Self::KillPlatform
                | Self::StopPlatform
                | Self::CutPlatform
                | Self::FillPlatformDisk
                | Self::CorruptPlatformStore
        )
    }
}

/// What goes wrong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Episode {
    /// The faults, which begin one after the other and end together.
    pub(crate) faults: Vec<Fault>,
    /// How long they last, in milliseconds.
    pub(crate) hold_ms: u64,
    /// How long all is well before them, in milliseconds.
    pub(crate) calm_ms: u64,
}

/// How long faults last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// A fault's shortest and longest time, in milliseconds.
    pub(crate) hold_ms: (u64, u64),
    /// The calm before it.
    pub(crate) calm_ms: (u64, u64),
}

impl Pace {
    /// For a run of so many seconds: short runs take short faults, so that more kinds are seen.
    pub(crate) fn for_run(seconds: u64) -> Self {
        if seconds < 240 {
            Self {
                hold_ms: (1_000, 3_000),
                calm_ms: (200, 800),
            }
        } else {
            Self {
                hold_ms: (3_000, 8_000),
                calm_ms: (1_000, 3_000),
            }
        }
    }
}

/// The endless schedule of a seed.
pub(crate) struct Schedule {
    rng: StdRng,
    pace: Pace,
    /// The kinds that are played; all if it is empty.
    only: Vec<String>,
    /// What is left of the first round.
    first: Vec<Vec<Fault>>,
    deck: Vec<Fault>,
}

impl Schedule {
    /// The schedule of a seed at a pace, of these kinds of faults or of all.
    pub(crate) fn new(seed: u64, pace: Pace, only: Vec<String>) -> Self {
        let mut schedule = Self {
            rng: StdRng::seed_from_u64(seed),
            pace,
            only,
            first: Vec::new(),
            deck: Vec::new(),
        };
        schedule.first = schedule.first_round();
        schedule
    }

    /// Episodes of the first round that are still to come: after them every kind has come once.
    pub(crate) fn left_of_the_first_round(&self) -> usize {
        self.first.len()
    }

    /// Every kind once. Each node's fault, and the reshare, goes along with a peer's; what takes long (a ceremony) not with what takes
    /// longest (a peer's replacement, and the policy that follows from it).
    fn first_round(&mut self) -> Vec<Vec<Fault>> {
        let faults = self.shuffled();
        let (peers, others): (Vec<Fault>, Vec<Fault>) = faults
            .into_iter()
            .partition(|fault| fault.organisation().is_some());
        let (mut nodes, platforms): (Vec<Fault>, Vec<Fault>) = others
            .into_iter()
            .partition(|fault| fault.seat().is_some() || *fault == Fault::Reshare);
        let mut round: Vec<Vec<Fault>> = Vec::new();
        // The replacement chooses first, so that there is still a fault that goes with it.
        let (replaced, peers): (Vec<Fault>, Vec<Fault>) = peers
            .into_iter()
            .partition(|fault| matches!(fault, Fault::ReplacePeer { .. }));
        for peer in replaced.into_iter().chain(peers) {
            let goes_along =
                |node: &Fault| !(node.is_ceremony() && matches!(peer, Fault::ReplacePeer { .. }));
            let along = nodes.iter().position(goes_along).map(|at| nodes.remove(at));
            round.push(along.into_iter().chain([peer]).collect());
        }
        // With all kinds none are left over; with some of them there may be.
        round.extend(nodes.into_iter().chain(platforms).map(|fault| vec![fault]));
        round.shuffle(&mut self.rng);
        round
    }

    fn shuffled(&mut self) -> Vec<Fault> {
        let seat = self.rng.random_range(0..NODES);
        let organisation = self.rng.random_range(0..ORGANISATIONS);
        let next = |by: usize| (seat + by) % NODES;
        let of = |by: usize| (organisation + by) % ORGANISATIONS;
        let far = |rng: &mut StdRng| {
            let seconds = rng.random_range(2 * TOLERANCE_S..7_200);
            if rng.random() { seconds } else { -seconds }
        };
        let near = self
            .rng
            .random_range(-(TOLERANCE_S - 10)..=TOLERANCE_S - 10);
        let mut deck = vec![
            Fault::KillNode { seat },
            Fault::StopNode { seat: next(1) },
            Fault::CutNode { seat: next(2) },
            Fault::FillNodeDisk { seat: next(3) },
            Fault::JumpNodeClock {
                seat: next(4),
                seconds: far(&mut self.rng),
            },
            // The first seat leads the ceremonies, and those after it accept what it proposes.
            Fault::CorruptNodeStore {
                seat: 1 + seat % (NODES - 1),
            },
            Fault::KillPeer { organisation },
            Fault::StopPeer {
                organisation: of(1),
            },
            Fault::CutPeer {
                organisation: of(2),
            },
            Fault::FillPeerDisk {
                organisation: of(3),
            },
            Fault::JumpPeerClock {
                organisation: of(1),
                seconds: far(&mut self.rng),
            },
            Fault::CorruptPeerStore {
                organisation: of(2),
            },
            // The same one: who has lost what it approved waits before it approves again, and two who wait hold up the others' faults.
            Fault::LosePeerStore {
                organisation: of(2),
            },
            Fault::ReplacePeer { organisation },
            Fault::KillPlatform,
            Fault::StopPlatform,
            Fault::CutPlatform,
            Fault::FillPlatformDisk,
            Fault::JumpPlatformClock { seconds: near },
            Fault::CorruptPlatformStore,
            Fault::Reshare,
            Fault::ReplaceNode {
                seat: 1 + (seat + 1) % (NODES - 1),
            },
        ];
        deck.shuffle(&mut self.rng);
        deck.retain(|fault| self.only.is_empty() || self.only.iter().any(|it| it == fault.name()));
        deck
    }

    /// The next fault of the deck, with a companion more often than not.
    fn dealt(&mut self) -> Option<Vec<Fault>> {
        if self.deck.is_empty() {
            self.deck = self.shuffled();
        }
        let first = self.deck.pop()?;
        let mut faults = vec![first];
        // A ceremony's leader is not taken away from it here: that is the simulator's subject.
        if self.rng.random_bool(0.6) {
            faults.push(self.companion(first, !first.is_ceremony()));
        }
        Some(faults)
    }

    /// A node, or a peer if none is in trouble yet, that is killed, stopped or cut off at the same time.
    fn companion(&mut self, first: Fault, may_lead: bool) -> Fault {
        let what = self.rng.random_range(0..3_u8);
        if first.organisation().is_none() && self.rng.random() {
            let organisation = self.rng.random_range(0..ORGANISATIONS);
            return match what {
                0 => Fault::KillPeer { organisation },
                1 => Fault::StopPeer { organisation },
                _ => Fault::CutPeer { organisation },
            };
        }
        let seats: Vec<usize> = (usize::from(!may_lead)..NODES)
            .filter(|seat| Some(*seat) != first.seat())
            .collect();
        let at = self.rng.random_range(0..seats.len());
        let seat = seats.get(at).copied().unwrap_or(NODES - 1);
        match what {
            0 => Fault::KillNode { seat },
            1 => Fault::StopNode { seat },
            _ => Fault::CutNode { seat },
        }
    }
}

impl Iterator for Schedule {
    type Item = Episode;

    fn next(&mut self) -> Option<Episode> {
        let faults = match self.first.pop() {
            Some(faults) => faults,
            None => self.dealt()?,
        };
        let (hold, calm) = (self.pace.hold_ms, self.pace.calm_ms);
        Some(Episode {
            faults,
            hold_ms: self.rng.random_range(hold.0..=hold.1),
            calm_ms: self.rng.random_range(calm.0..=calm.1),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    fn begin(seed: u64) -> Vec<Episode> {
        Schedule::new(seed, Pace::for_run(600), Vec::new())
            .take(60)
            .collect()
    }

    #[test]
    fn one_seed_gives_one_schedule() {
        assert_eq!(begin(7), begin(7));
        assert_ne!(begin(7), begin(8));
    }

    /// Most episodes that ten minutes have room for: forty seconds each, until all is well again.
    const MOST_EPISODES: usize = 14;

    #[test]
    fn the_first_round_has_every_kind_once_whatever_the_seed() {
        for seed in 0..200 {
            let mut schedule = Schedule::new(seed, Pace::for_run(600), Vec::new());
            let round = schedule.left_of_the_first_round();
            assert!(round <= MOST_EPISODES, "seed {seed}: {round} episodes");
            let mut kinds: Vec<&str> = (0..round)
                .flat_map(|_| schedule.next().unwrap().faults)
                .map(|fault| fault.name())
                .collect();
            kinds.sort_unstable();
            assert_eq!(kinds, KINDS, "seed {seed}");
            assert_eq!(schedule.left_of_the_first_round(), 0);
        }
    }

    #[test]
    fn what_takes_longest_is_not_put_together() {
        let long = |fault: &Fault| fault.is_ceremony();
        for seed in 0..200 {
            let mut schedule = Schedule::new(seed, Pace::for_run(600), Vec::new());
            for _ in 0..schedule.left_of_the_first_round() {
                let faults = schedule.next().unwrap().faults;
                let replaced = |fault: &Fault| matches!(fault, Fault::ReplacePeer { .. });
                let both = faults.iter().any(replaced) && faults.iter().any(long);
                assert!(!both, "seed {seed}: {faults:?}");
            }
        }
    }

    #[test]
    fn afterwards_every_kind_comes_once_before_any_comes_twice() {
        for seed in 0..50 {
            let mut schedule = Schedule::new(seed, Pace::for_run(600), Vec::new());
            while schedule.left_of_the_first_round() > 0 {
                schedule.next();
            }
            let firsts: BTreeSet<&str> = schedule
                .take(KINDS.len())
                .filter_map(|episode| episode.faults.first().map(Fault::name))
                .collect();
            assert_eq!(firsts, BTreeSet::from(KINDS), "seed {seed}");
        }
    }

    #[test]
    fn never_more_goes_wrong_than_the_design_survives() {
        for episode in (0..50).flat_map(begin) {
            let seats: Vec<usize> = episode.faults.iter().filter_map(Fault::seat).collect();
            let distinct: BTreeSet<usize> = seats.iter().copied().collect();
            assert_eq!(seats.len(), distinct.len(), "{episode:?}");
            assert!(distinct.len() <= MOST_NODES, "{episode:?}");
            assert!(seats.iter().all(|seat| *seat < NODES), "{episode:?}");
            let peers = episode.faults.iter().filter_map(Fault::organisation);
            assert!(peers.count() <= (ORGANISATIONS - 1) / 3, "{episode:?}");
        }
    }

    #[test]
    fn kinds_that_were_not_asked_for_begin_no_episode() {
        let only = vec!["kill-peer".to_owned(), "reshare".to_owned()];
        let mut schedule = Schedule::new(3, Pace::for_run(60), only);
        // Together in the first round: one node's and one peer's.
        assert_eq!(schedule.left_of_the_first_round(), 1);
        let begun = schedule.next().unwrap().faults;
        let played: BTreeSet<&str> = schedule
            .take(20)
            .filter_map(|episode| episode.faults.first().map(Fault::name))
            .collect();
        let both = BTreeSet::from(["kill-peer", "reshare"]);
        assert_eq!(begun.iter().map(Fault::name).collect::<BTreeSet<_>>(), both);
        assert_eq!(played, both);
    }
}
