//! The command that proposes the same without members that are at fault or away.
//!
//! Nobody is left out of a ceremony whose proposal does not say so. Its operator then has to propose anew, and is told how: with the same threshold, the others as members, and, in
//! a reshare, with the present members that are gone named as absent.

use std::collections::BTreeSet;

use dkg::Proposal;

/// What follows `cryptonode` in that command. `None` if no such proposal can be made: nobody is gone, `own` itself is, or too few are left; and for a change of
/// policy, which is proposed with the policy's file.
pub(super) fn without(
    proposal: &Proposal,
    gone: &BTreeSet<[u8; 32]>,
    own: &[u8; 32],
) -> Option<Vec<String>> {
    if gone.is_empty() || gone.contains(own) {
        return None;
    }
    let threshold = usize::from(proposal.threshold());
    let left = proposal.members().iter();
    let left: Vec<&str> = left
        .filter(|member| !gone.contains(&member.identity))
        .map(|member| member.name.as_str())
        .collect();
    if left.len() < threshold {
        return None;
    }
    let mut words: Vec<String> = ["ceremony", "propose"].map(str::to_owned).into();
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    if let Some(base) = proposal.base() {
        let certificate = base.certificate();
        if certificate.policy_hash() != proposal.policy_hash() {
            return None;
        }
        let old = (1_u16..).zip(certificate.members());
        let (absent, present): (Vec<_>, Vec<_>) = old.partition(|(index, member)| {
            gone.contains(&member.identity) || base.old_may_be_absent().contains(index)
        });
        if present.len() < usize::from(base.threshold()) {
            return None;
        }
        option("--reshare", hex::encode(base.name().public_key));
        let absent: Vec<&str> = absent
            .iter()
            .map(|(_, member)| member.name.as_str())
            .collect();
        if !absent.is_empty() {
            option("--absent", list(&absent)?);
        }
    }
    option("--threshold", threshold.to_string());
    option("--members", list(&left)?);
    let enough = (2 * threshold).saturating_sub(1);
    let few = proposal.allows_few_members() || left.len() < enough;
    // Of those that are left as many may be away as before, and as can be.
    let needed = if few { threshold } else { enough };
    let spare = left.len().saturating_sub(needed);
    let may_be_absent = spare.min(proposal.may_be_absent().into());
    if may_be_absent > 0 {
        option("--may-be-absent", may_be_absent.to_string());
    }
    if few {
        words.push("--allow-few-members".to_owned());
    }
    Some(words)
}

/// Names as the options take them. None that has a comma in it.
fn list(names: &[&str]) -> Option<String> {
    let plain = names.iter().all(|name| !name.contains(','));
    plain.then(|| names.join(","))
}
