//! Who sits where, and who may be left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fields::Fields;
use super::{MemberIdentity, Proposal};
use crate::base::Base;

/// Where an old member sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldSeat {
    /// Its index in the base.
    pub index: u16,
    /// Its seat.
    pub seat: u16,
}

impl Proposal {
    /// Whether an attempt may leave these seats out: no more new members than may be absent, and of the old ones
    /// only those that the proposal names.
    pub(crate) fn may_leave_out(&self, absent: &BTreeSet<u16>) -> bool {
        let new = absent
            .iter()
            .filter(|seat| !self.is_leaving(**seat))
            .count();
        let named = |old: &OldSeat| {
            self.base
                .as_ref()
                .is_some_and(|base| base.old_may_be_absent().contains(&old.index))
        };
        new <= usize::from(self.fields.may_be_absent)
            && self
                .old
                .iter()
                .all(|old| !absent.contains(&old.seat) || named(old))
    }

    /// The proposal as an attempt of these seats carries it out: under the same hash, with their places as seats 1, 2, …
    /// `None` unless `present` are seats in ascending order, and the others may be left out.
    pub(crate) fn among(&self, present: &[u16]) -> Option<Self> {
        let ascending = present
            .iter()
            .zip(present.iter().skip(1))
            .all(|(a, b)| a < b);
        let absent = self.absent_from(present);
        if !ascending || !self.may_leave_out(&absent) {
            return None;
        }
        if present.len() == self.seats.len() && absent.is_empty() {
            return Some(self.clone());
        }
        let seats = present
            .iter()
            .map(|seat| self.member(*seat).cloned())
            .collect::<Option<Vec<_>>>()?;
        let identities = present
            .iter()
            .map(|seat| self.identity(*seat).copied())
            .collect::<Option<Vec<_>>>()?;
        let members = present
            .iter()
            .zip(&seats)
            .filter(|(seat, _)| !self.is_leaving(**seat))
            .map(|(_, member)| member.clone())
            .collect();
        Some(Self {
            old: old_seats(self.base(), &seats).into(),
            fields: Arc::new(Fields {
                members,
                ..Fields::clone(&self.fields)
            }),
            hash: self.hash,
            base: self.base.clone(),
            seats: seats.into(),
            identities: identities.into(),
        })
    }

    /// The seats that are not `present`.
    pub(crate) fn absent_from(&self, present: &[u16]) -> BTreeSet<u16> {
        (1u16..)
            .zip(self.seats.iter())
            .map(|(seat, _)| seat)
            .filter(|seat| !present.contains(seat))
            .collect()
    }
}

/// The seat, from 1, of an identity.
pub(super) fn seat_of(seats: &[MemberIdentity], identity: &[u8; 32]) -> Option<u16> {
    let place = seats.iter().position(|seat| seat.identity == *identity)?;
    u16::try_from(place + 1).ok()
}

/// The seats of those old members that are there, in the base's order.
pub(super) fn old_seats(base: Option<&Base>, seats: &[MemberIdentity]) -> Vec<OldSeat> {
    let Some(base) = base else {
        return Vec::new();
    };
    (1u16..)
        .zip(base.certificate().members())
        .filter_map(|(index, member)| {
            let seat = seat_of(seats, &member.identity)?;
            Some(OldSeat { index, seat })
        })
        .collect()
}
