//! What was submitted at this member is told to the others, who may lead before this one does. What gets lost on the way
//! is told again, and comes out at the latest when this member leads.
//!
//! A message is items, each after its length (32 bits, big-endian).

use crate::{
    Judge,
    batch::MAX_ITEM,
    pool::{Full, Origin, Pool},
};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Receiver, Recipients, Sender};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Bytes of one message, at least one item.
pub(crate) const MAX_MESSAGE: usize = 256 * 1024;
/// When what was told is told again, if it has not come out.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
const AGAIN_AT_MOST: usize = 256;
const LENGTH: usize = 4;

fn put(message: &mut BytesMut, item: &[u8]) {
    message.put_u32(u32::try_from(item.len()).unwrap_or(u32::MAX));
    message.put_slice(item);
}

/// The items of a message, up to the first thing that is none.
pub(crate) fn items(mut message: Bytes) -> Vec<Bytes> {
    let mut items = Vec::new();
    while message.len() >= LENGTH && message.len() <= MAX_MESSAGE {
        let length = message.get_u32() as usize;
        if length == 0 || length > MAX_ITEM || length > message.len() {
            break;
        }
        items.push(message.split_to(length));
    }
    items
}

/// Tells the others what comes in at `outbox`, several at once if they wait.
pub(crate) async fn tell(
    mut outbox: mpsc::UnboundedReceiver<Bytes>,
    pool: Arc<Pool>,
    me: Origin,
    mut sender: impl Sender<PublicKey = PublicKey>,
) {
    let mut held: Option<Bytes> = None;
    let mut again = tokio::time::interval(AGAIN_AFTER);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        let mut message = BytesMut::new();
        match held.take() {
            Some(item) => put(&mut message, &item),
            None => tokio::select! {
                item = outbox.recv() => match item {
                    Some(item) => put(&mut message, &item),
                    None => return,
                },
                _ = again.tick() => {
                    for item in pool.stale(me, AGAIN_AFTER, AGAIN_AT_MOST) {
                        if message.len() + LENGTH + item.len() > MAX_MESSAGE {
                            break;
                        }
                        put(&mut message, &item);
                    }
                }
            },
        }
        while let Ok(item) = outbox.try_recv() {
            if message.len() + LENGTH + item.len() > MAX_MESSAGE {
                held = Some(item);
                break;
            }
            put(&mut message, &item);
        }
        if !message.is_empty() {
            sender.send(Recipients::All, message.freeze(), false);
        }
    }
}

/// Takes what the others tell. The network lets in only members, and who is about to be one or was one.
pub(crate) async fn hear(
    pool: Arc<Pool>,
    judge: Arc<dyn Judge>,
    mut receiver: impl Receiver<PublicKey = PublicKey>,
) {
    while let Ok((from, message)) = receiver.recv().await {
        let mut origin = Origin::default();
        origin.copy_from_slice(from.as_ref());
        for item in items(message.into()) {
            if judge.well_formed(&item)
                && judge.admissible(&item)
                && pool.offer(item, origin) == Err(Full)
            {
                tracing::debug!(%from, "a member sends more than is taken");
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_message_holds_ends_at_the_first_thing_that_is_no_item() {
        let mut message = BytesMut::new();
        put(&mut message, b"one");
        put(&mut message, b"two");
        let two = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        assert_eq!(items(message.clone().freeze()), two);
        for rest in [&b"\0"[..], b"\0\0\0\0", b"\0\0\0\x02x", b"\xff\xff\xff\xff"] {
            let mut message = message.clone();
            message.put_slice(rest);
            assert_eq!(items(message.freeze()), two);
        }
        assert!(items(Bytes::from(vec![0; MAX_MESSAGE + 1])).is_empty());
    }
}
