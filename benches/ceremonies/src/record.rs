//! The questions to one member, to be asked again.

use dkg::{KnownIdentities, LocalNode, Message};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::{Ceremony, Failed};

/// What member 2 was asked in a key generation.
pub struct Recorded {
    /// The member.
    pub local: LocalNode,
    /// Whom it knows from its configuration.
    pub known: KnownIdentities,
    /// Who asked.
    pub leader: [u8; 32],
    /// What the member had written last before each question, and the question.
    pub steps: Vec<(Option<Vec<u8>>, Message)>,
}

/// Plays a key generation, and keeps the questions to member 2. Its randomness is a generator of its own, so that it answers the same when
/// it is asked again.
pub fn record(members: u16, threshold: u16, seed: u64) -> Result<Recorded, Failed> {
    let mut ceremony = Ceremony::create(members, threshold, &mut StdRng::seed_from_u64(seed))?;
    let (leader, machine) = (ceremony.leader(), ceremony.lead()?);
    let mut generators: Vec<StdRng> = (0..u64::from(members)).map(generator).collect();
    let (mut state, mut steps) = (None, Vec::new());
    ceremony.play(machine, |place, node, question| {
        let rng = generators.get_mut(place).ok_or(Failed::Incomplete)?;
        let kept = (place == 1).then(|| question.clone());
        let output = node.answer(&leader, question, rng)?;
        if let Some(question) = kept {
            let written = output.persist.map(|state| state.to_vec());
            let before = std::mem::replace(&mut state, written);
            steps.push((before, question));
        }
        Ok::<_, Failed>(output.reply)
    })?;
    let local = ceremony.nodes.get(1).ok_or(Failed::Incomplete)?;
    Ok(Recorded {
        local: local.local.clone(),
        known: ceremony.known.clone(),
        leader,
        steps,
    })
}

impl Recorded {
    /// The member's randomness from the beginning.
    pub fn generator(&self) -> StdRng {
        generator(1)
    }
}

fn generator(place: u64) -> StdRng {
    StdRng::seed_from_u64(1_000 + place)
}
