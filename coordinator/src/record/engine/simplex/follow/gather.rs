//! What the peers show is gathered by height, and taken over block after block.

use super::super::{follow_peer::HOLD, wire::BlockView};
use super::{AGAIN_AFTER, Shared, lock_on};
use crate::record::{
    block::{Block, Header, Receipt},
    head::{self, SignedHead},
    peer::Mirror,
    root::Hash,
};
use certs::checkpoint::NoteKey;
use futures_util::future::join_all;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// Blocks beyond the mirror's last one that are gathered.
const AHEAD: u64 = 256;

/// What one peer showed.
pub(super) struct Seen {
    peer: usize,
    view: BlockView,
}

/// Waits until the copy has what was final when it started. Of a quorum of peers f + 1 have whatever was, so the height that f + 1 of those that answer have
/// reached is enough, and one that lies delays nothing.
pub(super) async fn catch_up(shared: Arc<Shared>, within: Duration) {
    let mut height = shared.height.subscribe();
    loop {
        let (n, quorum) = shared
            .replica
            .with_state(|state| (state.organisations().count(), state.quorum()));
        let asked = join_all(shared.peers.iter().map(|peer| peer.height(within)));
        let mut heights: Vec<u64> = asked.await.into_iter().flatten().collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(goal) = heights.get(n - quorum).filter(|_| heights.len() >= quorum) {
            let reached = height.wait_for(|height| height >= goal);
            if reached.await.is_ok() {
                shared.caught_up.send_replace(true);
            }
            return;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Asks one peer for its blocks, for ever.
pub(super) async fn watch_peer(shared: Arc<Shared>, peer: usize, seen: mpsc::Sender<Seen>) {
    let Some(remote) = shared.peers.get(peer) else {
        return;
    };
    let mut height = shared.height.subscribe();
    let mut shown = 0;
    loop {
        let own = *height.borrow_and_update();
        // Gathered is only what is near: a peer that is far ahead, or says so, waits.
        if shown > own + AHEAD {
            if height.changed().await.is_err() {
                return;
            }
            continue;
        }
        let from = own.max(shown) + 1;
        let transactions = peer < shared.one_honest();
        match remote.blocks(from, transactions).await {
            Ok(views) => {
                shared.note(peer, |status| {
                    status.fault = lock_on(&shared.proven).get(&peer).cloned()
                });
                for (number, view) in (from..).zip(views) {
                    if view.header().is_none_or(|header| header.height != number) {
                        let fault = "it shows blocks that are none".to_owned();
                        shared.note(peer, |status| status.fault = Some(fault));
                        tokio::time::sleep(HOLD).await;
                        break;
                    }
                    shown = number;
                    shared.note(peer, |status| status.height = number);
                    if seen.send(Seen { peer, view }).await.is_err() {
                        return;
                    }
                }
            }
            Err(reason) => {
                shared.note(peer, |status| status.fault = Some(reason.to_string()));
                tokio::time::sleep(AGAIN_AFTER).await;
                // It may have been set back: what it shows again does no harm.
                shown = 0;
            }
        }
    }
}

/// What the peers showed of one height.
type Shown = BTreeMap<usize, BlockView>;

/// Takes over block after block.
pub(super) async fn gather(
    shared: Arc<Shared>,
    mut mirror: Mirror,
    mut seen: mpsc::Receiver<Seen>,
) {
    let mut gathered: BTreeMap<u64, Shown> = BTreeMap::new();
    while let Some(Seen { peer, view }) = seen.recv().await {
        let Some(header) = view.header() else {
            continue;
        };
        let tip = mirror.tip().0;
        if header.height <= tip {
            compare_late(&shared, &mirror, peer, &view, &header);
        } else if header.height <= tip + 2 * AHEAD {
            gathered
                .entry(header.height)
                .or_default()
                .insert(peer, view);
        }
        loop {
            let next = mirror.tip().0 + 1;
            let Some(shown) = gathered.get(&next) else {
                break;
            };
            let Some((header, note)) = agreed(&shared, &mirror, shown) else {
                break;
            };
            let Some(block) = block_of(&shared, shown, &header).await else {
                break;
            };
            let taken = tokio::task::spawn_blocking(move || {
                let events = mirror.follow(&block, &note);
                (mirror, block, note, events)
            });
            let Ok((back, block, note, events)) = taken.await else {
                return shared.halt("the mirror has panicked".to_owned());
            };
            mirror = back;
            let events = match events {
                Ok(events) => events,
                Err(error) => return shared.halt(error.to_string()),
            };
            gathered = gathered.split_off(&(next + 1));
            *lock_on(&shared.signed_head) = Some(note);
            shared.height.send_replace(next);
            answer(&shared, &block, events);
        }
    }
}

/// A header, and who signed the head that it makes, with what note.
type Side<'a> = (Header, Vec<(usize, &'a str)>);

/// The header that a quorum signed, with their signatures in one note. Who signed another one is named.
fn agreed(shared: &Shared, mirror: &Mirror, shown: &Shown) -> Option<(Header, String)> {
    let (keys, quorum) = shared
        .replica
        .with_state(|state| (state.head_keys().collect::<Vec<_>>(), state.quorum()));
    let mut sides: HashMap<Hash, Side<'_>> = HashMap::new();
    for (peer, view) in shown {
        let Some(header) = view.header() else {
            continue;
        };
        if signed_by(shared, *peer, &view.signed_head, &keys)
            .is_some_and(|head| head == mirror.head_of(&header))
        {
            let side = sides.entry(header.hash()).or_insert((header, Vec::new()));
            side.1.push((*peer, &view.signed_head));
        } else {
            let fault = format!(
                "it shows block {} with a head that it did not sign",
                header.height
            );
            shared.note(*peer, |status| status.fault = Some(fault));
        }
    }
    let (header, signers) = sides
        .values()
        .find(|(_, signers)| signers.len() >= quorum)?;
    let others = sides.values().filter(|(other, _)| other != header);
    for (peer, _) in others.flat_map(|(_, signers)| signers) {
        shared.prove(*peer, header.height);
    }
    let note = head::merge(signers.iter().map(|(_, note)| *note), &keys).ok()?;
    Some((*header, note))
}

/// Holds what comes after the quorum has agreed against what it agreed on.
fn compare_late(shared: &Shared, mirror: &Mirror, peer: usize, view: &BlockView, header: &Header) {
    let own = shared.replica.block(header.height).ok().flatten();
    if own.is_none_or(|own| own.header == *header) {
        return;
    }
    let keys: Vec<NoteKey> = shared
        .replica
        .with_state(|state| state.head_keys().collect());
    if signed_by(shared, peer, &view.signed_head, &keys)
        .is_some_and(|head| head == mirror.head_of(header))
    {
        shared.prove(peer, header.height);
    }
}

/// What a peer's note says, if its own organisation signed it, and so long as nobody else's signature is needed for that.
fn signed_by(shared: &Shared, peer: usize, note: &str, keys: &[NoteKey]) -> Option<head::Head> {
    let name = shared.peers.get(peer)?.name();
    let own: Vec<NoteKey> = keys
        .iter()
        .filter(|key| key.name() == name.as_str())
        .cloned()
        .collect();
    SignedHead::parse(note).ok()?.verify(&own, 1).ok()
}

/// The block under this header: from what was shown, or from whoever showed the header.
async fn block_of(shared: &Shared, shown: &Shown, header: &Header) -> Option<Block> {
    let same = || {
        shown
            .iter()
            .filter(|(_, view)| view.header().as_ref() == Some(header))
    };
    if let Some(block) = same().find_map(|(_, view)| view.block()) {
        return Some(block);
    }
    for (peer, _) in same() {
        let asked = shared.peers.get(*peer)?.blocks(header.height, true).await;
        let first = asked.ok().and_then(|views| views.into_iter().next());
        if let Some(block) = first
            .and_then(|view| view.block())
            .filter(|block| block.header == *header)
        {
            return Some(block);
        }
    }
    None
}

fn answer(shared: &Shared, block: &Block, events: Vec<Vec<crate::record::Event>>) {
    let mut waiting = lock_on(&shared.waiting);
    let done = (block.first_position()..)
        .zip(&block.transactions)
        .zip(events);
    for ((position, transaction), events) in done {
        let receipt = Receipt {
            height: block.header.height,
            time_ms: block.header.time_ms,
            position,
            transaction_id: transaction.id(),
            events,
        };
        for answer in waiting.remove(&transaction.id()).into_iter().flatten() {
            drop(answer.send(receipt.clone()));
        }
    }
}
