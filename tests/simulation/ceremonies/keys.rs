//! Keys that move: who is told of a new result, and when an old share is erased.

use super::*;

impl Running {
    pub(super) fn erase_due(&mut self, now: u64) {
        for entry in self.desk.keyring.entries() {
            let mut overlaps = entry.state().overlaps.iter();
            if overlaps.any(|overlap| now >= overlap.end()) {
                let key = *entry.public_key();
                let _ = self.desk.change_key(&key, |entry| entry.erase_due(now));
            }
        }
    }

    pub(super) fn tell(&mut self, own: &Identity, now: u64) -> Vec<Out> {
        if now < self.asks.told_at + TELL_S {
            return Vec::new();
        }
        self.asks.told_at = now;
        let mut outs = Vec::new();
        let entries = self.desk.keyring.entries();
        let open = entries.iter().flat_map(|entry| {
            let overlaps = entry.state().overlaps.iter();
            let open = overlaps.filter(|overlap| overlap.ends.is_none());
            open.map(move |overlap| (entry, overlap.successor))
        });
        for (entry, successor) in open.collect::<Vec<_>>() {
            let key = *entry.public_key();
            let members = members_of(entry, &successor);
            if members.is_empty() {
                continue;
            }
            let having = self.asks.having.entry(successor).or_default().clone();
            let missing = members
                .iter()
                .filter(|one| *one != own && !having.contains(*one));
            let missing: Vec<Identity> = missing.copied().collect();
            for to in &missing {
                outs.push(Out {
                    to: *to,
                    request: Request::Status {},
                    why: Why::Tell(key, successor),
                });
            }
            // Its base is the next that is held below it.
            let base = held(entry).find(|key| key.result < successor);
            if let Some(base) = base.filter(|_| entry.current().is_some()) {
                for member in &base.members {
                    let to = member.identity;
                    if !members.contains(&to) && !having.contains(&to) {
                        outs.extend(self.push(&key, &successor, to));
                    }
                }
            }
            if missing.is_empty() {
                let ends = now + OVERLAP_S;
                let _ = self
                    .desk
                    .change_key(&key, |entry| entry.set_end(&successor, ends));
            }
        }
        outs
    }

    pub(super) fn push(&self, key: &Identity, successor: &ResultName, to: Identity) -> Option<Out> {
        let entry = self.desk.keyring.entry(key)?;
        let current = held(&entry).find(|key| key.result == *successor)?;
        let made = self.made.iter();
        let (id, _) = made
            .into_iter()
            .find(|(_, made)| *made.certified.package() == current.package)?;
        let message = Message::Certificate {
            ceremony: *id,
            certificate: ByteBuf::from(current.certificate.clone()),
            public_shares: ByteBuf::from(packed(current)),
        };
        Some(ceremony(to, &message, Why::Push(*successor)))
    }

    pub(super) fn ask_fellows(&mut self, own: &Identity, now: u64) -> Vec<Out> {
        if now < self.asks.asked_at + ASK_S {
            return Vec::new();
        }
        self.asks.asked_at = now;
        let mut outs = Vec::new();
        for entry in self.desk.keyring.entries() {
            let key = *entry.public_key();
            let mut fellows: BTreeSet<Identity> = held(&entry)
                .flat_map(|share| share.members.iter().map(|member| member.identity))
                .collect();
            if let Some(newest) = &entry.state().newest {
                fellows.extend(newest.certificate.members().iter().map(|one| one.identity));
            }
            fellows.remove(own);
            outs.extend(fellows.into_iter().map(|to| Out {
                to,
                request: Request::KeyCertificate { public_key: key },
                why: Why::Newest(key),
            }));
        }
        outs
    }

    /// Takes notice of a certificate that was verified under Y.
    pub(super) fn heard_of(
        &mut self,
        own: &Identity,
        from: Identity,
        key: &Identity,
        certificate: &KeyCertificate,
        addresses: &[String],
        now: u64,
    ) -> Vec<Out> {
        let name = certificate.name();
        let Some(entry) = self.desk.keyring.entry(key) else {
            return Vec::new();
        };
        if entry.newest_heard_of().is_some_and(|known| known > name) {
            return Vec::new();
        }
        let is_open = |seat: &Member| {
            let base = seat
                .proposal()
                .and_then(|proposal| proposal.base().map(dkg::Base::name));
            base.is_some_and(|base| base.public_key == *key)
                && matches!(
                    seat.stage(),
                    MemberStage::Dealt
                        | MemberStage::Acknowledged
                        | MemberStage::Complained
                        | MemberStage::Confirmed
                )
        };
        let behind = entry.newest_known().is_none_or(|known| known < name);
        if behind && self.seats.values().any(is_open) {
            // The ceremony that made it is still open here: it is not missed yet.
            return vec![Out {
                to: from,
                request: Request::Key { public_key: *key },
                why: Why::CatchUp(*key, Box::new(certificate.clone()), addresses.to_vec()),
            }];
        }
        self.learn(own, key, certificate, addresses, now);
        Vec::new()
    }

    pub(super) fn learn(
        &self,
        own: &Identity,
        key: &Identity,
        certificate: &KeyCertificate,
        addresses: &[String],
        now: u64,
    ) {
        let _ = self.desk.change_key(key, |entry| {
            entry.learn(certificate, addresses, own, now, now + OVERLAP_S)
        });
    }
}

/// The members of a result that this node knows of.
fn members_of(entry: &KeyEntry, result: &ResultName) -> BTreeSet<Identity> {
    if let Some(current) = held(entry).find(|key| key.result == *result) {
        return current
            .members
            .iter()
            .map(|member| member.identity)
            .collect();
    }
    match &entry.state().newest {
        Some(newest) if newest.certificate.name() == *result => {
            let members = newest.certificate.members().iter();
            members.map(|member| member.identity).collect()
        }
        _ => BTreeSet::new(),
    }
}
