//! Machines put back to where they were in an honest ceremony, and told something else.

use dkg::{Leader, LeaderEffect, LocalNode, Member, Message};

use crate::cluster::NOW;
use crate::{Verdict, edits, refused};

/// A member's reply, and what it writes.
pub(crate) type Reply = Result<(Message, Option<Vec<u8>>), String>;

/// A seed for each moment, with the honest message and with one edit of each kind.
pub(crate) fn at_each(moments: usize) -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for moment in 0..moments.min(256) {
        seeds.push((format!("ok-{moment}"), vec![moment as u8, 0]));
        let what = (moment % 8) as u8;
        let edit = vec![moment as u8, 0, what, 60 + what, 0, 1, 0];
        seeds.push((format!("edited-{moment}"), edit));
    }
    seeds
}

/// Which moment, and what comes in place of its message, whose bytes are `said`.
pub(crate) fn instead<'m, M>(
    moments: &'m [M],
    said: impl Fn(&M) -> &[u8],
    bytes: &[u8],
) -> Result<(&'m M, Message), String> {
    let [which, how, rest @ ..] = bytes else {
        return refused("short");
    };
    let moment = &moments[usize::from(*which) % moments.len()];
    let bytes = if how & 1 == 0 {
        let others: Vec<&[u8]> = moments.iter().map(&said).collect();
        edits::apply(said(moment), rest, &others)
    } else {
        rest.to_vec()
    };
    let message = Message::from_bytes(&bytes).map_err(|error| error.code().to_owned())?;
    Ok((moment, message))
}

/// A member asks with `other` where the honest leader asked `honest`. What it refuses has no effect.
pub(crate) fn member_hears(
    local: &LocalNode,
    disk: Option<&[u8]>,
    (honest, other): (&Message, Message),
    mut ask: impl FnMut(&mut Member, Message) -> Reply,
) -> Verdict {
    let restore =
        |state| Member::restore(local.clone(), state).expect("what was written is read again");
    let unaltered = other == *honest;
    let mut machine = disk.map_or_else(|| Member::new(local.clone()), restore);
    let stage = machine.stage();
    match ask(&mut machine, other) {
        Ok((_, persist)) => {
            if let Some(state) = persist {
                assert_eq!(restore(&state).stage(), machine.stage());
            }
            Ok(())
        }
        Err(code) => {
            assert!(!unaltered, "the honest message is refused: {code}");
            assert_eq!(machine.stage(), stage, "what is refused has no effect");
            let (reply, _) = ask(&mut machine, honest.clone()).unwrap();
            assert!(!matches!(reply, Message::Refused { .. }), "{reply:?}");
            Err(code)
        }
    }
}

/// A leader hears `answer` of the member `from`. Nobody else is blamed for it.
pub(crate) fn leader_hears(disk: Option<&[u8]>, from: [u8; 32], answer: &Message) -> Verdict {
    let Some(disk) = disk else {
        return refused("nothing-written");
    };
    let mut machine = Leader::restore(disk).expect("what was written is read again");
    drop(machine.poll(NOW));
    let mut verdict = Ok(());
    for effect in machine.handle_reply(&from, answer, NOW) {
        match effect {
            LeaderEffect::Failed { culprits } => {
                for (member, fault) in culprits {
                    assert_eq!(member.identity, from, "{fault:?}");
                    verdict = refused(fault.code());
                }
            }
            LeaderEffect::Excluded { member, .. } => assert_eq!(member.identity, from),
            LeaderEffect::Persist(state) => drop(Leader::restore(&state).unwrap()),
            LeaderEffect::Send { message, .. } => {
                assert_eq!(
                    Message::from_bytes(&message.to_bytes()).as_ref(),
                    Ok(&message)
                );
            }
            _ => {}
        }
    }
    verdict
}
