//! The key's certificate: who signs it, who asks for it, and what is kept.

use super::*;

impl Running {
    pub(super) fn sign(
        &mut self,
        own: &Identity,
        from: &Identity,
        id: CeremonyId,
        message: &Message,
        now: u64,
        rng: &mut StdRng,
    ) -> Option<Message> {
        let Some(made) = self.made.get_mut(&id) else {
            return Some(Message::refusal(message.about(), &Fault::OtherCeremony));
        };
        if let Message::KeyCertificate { certificate, .. } = message {
            if check_key_certificate(certificate, &made.certified).is_err() {
                return Some(Message::refusal(message.about(), &Fault::OtherCeremony));
            }
            self.keep(own, id, certificate, now)?;
            return Some(Message::Kept { ceremony: id });
        }
        let held = self
            .desk
            .keyring
            .iter()
            .find(|key| key.package == *made.certified.package());
        let answer = held.ok_or(Fault::OtherCeremony).and_then(|key| {
            let certificate = made.certificate.as_deref();
            made.signer
                .handle(from, message, &key.share, &made.certified, certificate, rng)
        });
        Some(answer.unwrap_or_else(|fault| Message::refusal(message.about(), &fault)))
    }

    /// Makes a verified certificate of a key durable, and shows it.
    pub(super) fn keep(
        &mut self,
        own: &Identity,
        id: CeremonyId,
        certificate: &[u8],
        now: u64,
    ) -> Option<()> {
        let made = self.made.get_mut(&id)?;
        if made.certificate.is_some() {
            return Some(());
        }
        let bytes = Zeroizing::new(certificate.to_vec());
        self.desk
            .store
            .commit(&[Change::put(Table::KeyCertificate, &id, bytes)])
            .ok()?;
        made.certificate = Some(certificate.to_vec());
        made.session = None;
        let public_key = *made.certified.public_key().as_bytes();
        let members = made.certified.members().iter();
        let addresses: Vec<String> = members.map(|member| member.address.clone()).collect();
        let verified = KeyCertificate::verify(certificate, &public_key).unwrap();
        self.desk
            .change_key(&public_key, |entry| {
                entry.learn(&verified, &addresses, own, now, u64::MAX)
            })
            .ok()?;
        Some(())
    }

    pub(super) fn certify(&mut self, own: &Identity, now: u64, rng: &mut StdRng) -> Vec<Out> {
        let mut outs = Vec::new();
        let ids: Vec<CeremonyId> = self.made.keys().copied().collect();
        for id in ids {
            let held: Vec<_> = self.desk.keyring.all();
            let made = self.made.get_mut(&id).unwrap();
            let superseded = !held
                .iter()
                .any(|key| key.package == *made.certified.package());
            if made.certificate.is_some() || superseded {
                continue;
            }
            let since = *made.missing_since.get_or_insert(now);
            if made.session.is_none() && (made.led || now >= since + MISSING_S) {
                made.session = Some(SigningSession::new(made.certified.clone(), rng));
            }
            if let Some(session) = &mut made.session {
                let effects = session.poll(now, rng);
                outs.extend(self.signing(own, id, effects, now));
            }
        }
        outs
    }

    pub(super) fn signing(
        &mut self,
        own: &Identity,
        id: CeremonyId,
        effects: Vec<SigningEffect>,
        now: u64,
    ) -> Vec<Out> {
        let mut outs = Vec::new();
        for effect in effects {
            match effect {
                SigningEffect::Send { to, message } => {
                    let why = Why::Sign(id, Box::new(message.clone()));
                    outs.push(ceremony(to, &message, why));
                }
                SigningEffect::Signed { certificate } => {
                    if self.keep(own, id, &certificate, now).is_none() {
                        return outs;
                    }
                    let made = &self.made[&id];
                    let told = SigningSession::announcement(&made.certified, &certificate);
                    let others = made.certified.members().iter();
                    outs.extend(
                        others
                            .filter(|member| member.identity != *own)
                            .map(|member| ceremony(member.identity, &told, Why::Announce)),
                    );
                }
            }
        }
        outs
    }
}
