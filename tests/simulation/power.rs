//! The power fails at every write of a ceremony, one history for each: a node is cut off at its first disk operation, in another history at its second,
//! and so on until it has no more to write. What was not synced is there afterwards, or not, or in parts. The node comes back, and each time the ceremony
//! makes one key of which each member holds one share, or nothing is left of it.
//!
//! Where `histories.rs` draws moments, this takes all of them. `POWER_CUTS=all` has every node cut off, with every kind of loss; otherwise those
//! whose writes differ, with one kind after the other.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dkg::MemberStage;

use crate::disk::Tear;
use crate::plan::{Kind, SHAPES, Step};
use crate::template;
use crate::world::World;

/// How long it may take once the power is back, milliseconds.
const CALM_MS: u64 = 90_000;
const TEARS: [Tear; 3] = [Tear::Torn, Tear::Lost, Tear::Kept];
/// Disk operations of one node in a ceremony: fewer would be none at all.
const FEW: u64 = 20;

/// Whose power fails when.
#[derive(Debug, Clone, Copy)]
struct Cut {
    kind: Kind,
    node: usize,
    operation: u64,
    tear: Tear,
}

impl Cut {
    /// 0 leads. Of a key, three are members; in a reshare 3 takes the place of 2.
    fn members(self) -> [usize; 3] {
        match self.kind {
            Kind::Create => [0, 1, 2],
            _ => [0, 1, 3],
        }
    }

    /// Whether the history goes on until the shares of the base are erased: that takes a while.
    fn awaits_erasure(self) -> bool {
        self.kind != Kind::Create && self.operation.is_multiple_of(4)
    }

    /// Whether a result came of it; `None` if nothing was left to be cut off.
    fn play(self, prepare: impl Fn(&mut World)) -> Result<Option<bool>, String> {
        // Seeds of its own: the key that is there was made in a world of another.
        let mut world = template::cluster(1_000_000 + self.operation, SHAPES[0], self.kind);
        prepare(&mut world);
        let crash = Step::Crash {
            node: self.node,
            fuse: Some(self.operation),
            away_ms: 700,
            tear: self.tear,
            // Not such a one that the power fails a second time.
            seed: 3 * self.operation + 1,
        };
        let propose = Step::Propose {
            leader: 0,
            members: self.members().to_vec(),
            absent: 0,
        };
        let storm_ms = if self.awaits_erasure() { 75_000 } else { 3_000 };
        let played = world.play(vec![(0, crash), (10, propose)], storm_ms, CALM_MS);
        played.map_err(|found| format!("{}: {}", found.invariant, found.what))?;
        if world.monitor.torn == 0 {
            return Ok(None);
        }
        self.ended(&world).map(Some)
    }

    /// Each member holds one share of one result, and none of the base any more; or nobody has anything of it.
    fn ended(self, world: &World) -> Result<bool, String> {
        let epoch = u64::from(self.kind != Kind::Create);
        let held = world.nodes.iter().flat_map(|node| node.held());
        let results: BTreeSet<_> = held
            .map(|key| key.result)
            .filter(|result| result.epoch == epoch)
            .collect();
        if results.len() > 1 {
            return Err(format!("{} results", results.len()));
        }
        let made = !results.is_empty();
        for (at, node) in world.nodes.iter().enumerate() {
            let running = node.running.as_ref().ok_or("a node is not running")?;
            let shares = |epoch| {
                let held = node.held().into_iter();
                held.filter(|key| key.result.epoch == epoch).count()
            };
            let (new, wanted) = (shares(epoch), made && self.members().contains(&at));
            if new != usize::from(wanted) {
                return Err(format!(
                    "node {at} holds {new} shares of epoch {epoch}, made: {made}"
                ));
            }
            let (old, kept) = (shares(0), !made && at < SHAPES[0].members);
            if self.awaits_erasure() && old != usize::from(kept) {
                return Err(format!(
                    "node {at} holds {old} shares of the base, made: {made}"
                ));
            }
            for key in node.held() {
                let fits = key.share.check(&key.package);
                fits.map_err(|error| format!("node {at}'s share: {error}"))?;
            }
            for seat in running.seats.values() {
                if !matches!(seat.stage(), MemberStage::Activated | MemberStage::Closed) {
                    return Err(format!("node {at} is stuck: {:?}", seat.stage()));
                }
                if seat.holds_secrets() {
                    return Err(format!("node {at} keeps secrets of what is decided"));
                }
            }
        }
        Ok(made)
    }
}

/// Every write of a node; of several, by turns.
fn at_every_write(kind: Kind, nodes: &[usize], tears: &[Tear]) -> Result<(u64, u64), String> {
    let (mut cuts, mut made, mut untouched) = (0, 0, 0);
    for operation in 0.. {
        let turn = usize::try_from(operation).unwrap_or_default();
        let node = nodes[turn % nodes.len()];
        let of_turn = [TEARS[turn % TEARS.len()]];
        let mut over = true;
        for tear in if tears.is_empty() { &of_turn } else { tears } {
            let tear = *tear;
            let cut = Cut {
                kind,
                node,
                operation,
                tear,
            };
            let ended = cut
                .play(|_| {})
                .map_err(|what| format!("{cut:?}: {what}"))?;
            over &= ended.is_none();
            cuts += u64::from(ended.is_some());
            made += u64::from(ended == Some(true));
        }
        untouched = if over { untouched + 1 } else { 0 };
        if untouched >= nodes.len() {
            break;
        }
    }
    Ok((cuts, made))
}

#[test]
fn a_ceremony_survives_a_loss_of_power_at_every_write() {
    let all = std::env::var("POWER_CUTS").is_ok_and(|which| which == "all");
    // The leader and a member; who joins; who leads and who leaves.
    let usual: [(Kind, &[usize]); 4] = [
        (Kind::Reshare, &[2, 0]),
        (Kind::Create, &[0]),
        (Kind::Reshare, &[3]),
        (Kind::Create, &[1]),
    ];
    let every: [(Kind, &[usize]); 7] = [
        (Kind::Reshare, &[0]),
        (Kind::Reshare, &[1]),
        (Kind::Reshare, &[2]),
        (Kind::Reshare, &[3]),
        (Kind::Create, &[0]),
        (Kind::Create, &[1]),
        (Kind::Create, &[2]),
    ];
    let whose: &[(Kind, &[usize])] = if all { &every } else { &usual };
    let tears: &[Tear] = if all { &TEARS } else { &[] };
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let [cuts, made] = [const { AtomicU64::new(0) }; 2];
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((kind, nodes)) = whose.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match at_every_write(*kind, nodes, tears) {
                        Ok((cut, ended)) => {
                            println!(
                                "{kind:?}, {nodes:?}: cut off at {cut} writes, {ended} results"
                            );
                            let few = format!("{kind:?}, {nodes:?}: only {cut} writes");
                            failed.lock().unwrap().extend((cut < FEW).then_some(few));
                            cuts.fetch_add(cut, Ordering::Relaxed);
                            made.fetch_add(ended, Ordering::Relaxed);
                        }
                        Err(what) => failed.lock().unwrap().push(what),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // A proposal that its leader could not write is not there; from then on the ceremony comes to its end.
    let (cuts, made) = (cuts.into_inner(), made.into_inner());
    assert!(
        made < cuts && made * 10 > cuts * 9,
        "{made} results of {cuts}"
    );
}

/// A member whose disk confirms what it forgets has lost what it promised, and that is seen.
#[test]
fn a_disk_that_lies_to_a_member_is_found_out() {
    let cut = Cut {
        kind: Kind::Create,
        node: 1,
        operation: 40,
        tear: Tear::Kept,
    };
    assert_eq!(cut.play(|_| {}), Ok(Some(true)));
    let lied_to = cut.play(|world| world.nodes[1].disk.lie());
    assert!(lied_to.is_err(), "{lied_to:?}");
}
