//! The steps of a plan, carried out.

use super::*;

/// A read of a document, signed now.
pub fn making(world: &World, reader: usize, document: usize) -> Making {
    let name = READERS[reader % READERS.len()];
    let document = &world.documents[document];
    let rng = &mut rand::rng();
    let secret = EphemeralSecret::new(&document.wrapped, rng);
    let spki = spki(&format!("client of {name}"));
    let mut read = record_ledger::plain_read(&document.name);
    read.reencryption = Some(coordinator::record::Reencryption {
        write_id: document.wrapped.write_id(),
        ephemeral_key: secret.public().as_bytes().to_vec(),
        client_spki: spki.clone(),
    });
    let ledger = world.founders.genesis.id();
    Making {
        reader,
        transaction: signed(&ledger, name, Transaction::Read(read), world.now_ms),
        secret,
        wrapped: document.wrapped.clone(),
        spki,
    }
}

impl World {
    fn make_run(&mut self, reader: usize, document: usize) -> Option<Run> {
        let making = making(self, reader, document);
        let bound = (
            making.wrapped.write_id(),
            *making.secret.public().point().as_bytes(),
            making.spki.clone(),
        );
        self.monitor.reads.insert(making.transaction.id(), bound);
        Some(Run::new(making, self.view.clone()?, self.now_ms))
    }

    /// The same read once more.
    pub fn renewed(&mut self, number: usize) -> Option<Run> {
        let (reader, write_id) = (
            self.runs[number].reader,
            self.runs[number].wrapped.write_id(),
        );
        let mut documents = self.documents.iter();
        let document = documents.position(|one| one.wrapped.write_id() == write_id)?;
        let (begun, clear, view) = {
            let old = &self.runs[number];
            (old.begun_ms, old.clear_since, old.view.clone())
        };
        let mut fresh = self.make_run(reader, document)?;
        fresh.follow(view);
        (fresh.begun_ms, fresh.clear_since) = (begun, clear);
        fresh.attempt = self.runs[number].attempt + 1;
        Some(fresh)
    }

    pub fn carry_out(&mut self, step: Step) {
        match step {
            Step::Read { reader, document } => {
                if let Some(run) = self.make_run(reader, document) {
                    self.begin(run);
                }
            }
            Step::Crash {
                node,
                fuse,
                away_ms,
                tear,
                seed,
            } => match fuse {
                Some(fuse) if self.nodes[node].running.is_some() => {
                    self.monitor.fuses.insert(node, (away_ms, tear, seed));
                    self.nodes[node].disk.set_fuse(fuse);
                }
                _ => self.crash_node(node, away_ms, tear, seed),
            },
            Step::CrashPeer {
                peer,
                fuse,
                away_ms,
                tear,
                seed,
            } => match fuse {
                Some(fuse) if self.peers[peer].peer.is_some() => {
                    self.monitor.peer_away_ms.insert(peer, away_ms);
                    self.peers[peer].fuse = Some((fuse, tear, seed));
                }
                _ => self.crash_peer(peer, away_ms),
            },
            Step::Split { sides, for_ms } => {
                self.network.split = Some(sides);
                self.later(for_ms, Later::Heal);
            }
            Step::Storm { weather, for_ms } => {
                self.network.weather = weather;
                self.later(for_ms, Later::Clear);
            }
            Step::Misbehave { node, how } => {
                if let Misbehaviour::WrongClock(ahead_s) = how {
                    self.nodes[node].skew_ms = ahead_s * 1000;
                }
                self.nodes[node].conduct = Some(how);
            }
            Step::Revoke { reader } => {
                self.change(revoke("acme/data", Role::Reader, READERS[reader]));
            }
            Step::Grant { reader } => {
                self.change(grant("acme/data", Role::Reader, READERS[reader]));
            }
            Step::Attack { node, how } => self.carry_out_attack(node, how),
            Step::Propose {
                leader,
                members,
                absent,
            } => self.carry_out_proposal(leader, &members, absent),
        }
    }

    fn change(&mut self, transaction: Transaction) {
        let ledger = self.founders.genesis.id();
        let signed = signed(&ledger, "acme/ann", transaction, self.now_ms);
        self.submit(signed);
    }

    fn carry_out_attack(&mut self, node: usize, how: Attack) {
        let stranger = Caller {
            spki: spki("a stranger"),
            member: None,
        };
        let Some((caller, bytes)) = self.seen.last().cloned() else {
            let bytes = vec![
                0;
                if how == Attack::As(Misbehaviour::OversizedFrame) {
                    MAX_REQUEST + 1
                } else {
                    100
                }
            ];
            return self.attack(node, stranger, bytes);
        };
        let Ok(Request::Reencrypt {
            result,
            mut approvals,
            wrapped_key,
            mut ephemeral_key,
            traceparent,
        }) = Request::from_bytes(&bytes)
        else {
            return;
        };
        let mut sender = caller;
        match how {
            Attack::TooFewApprovals => approvals.truncate(self.approvals_needed - 1),
            Attack::OneOrganisationTwice => {
                approvals.truncate(self.approvals_needed - 1);
                approvals.extend(approvals.first().cloned());
            }
            Attack::AnothersApprovals => sender = stranger,
            Attack::AnotherEphemeralKey => {
                let wrapped = reencrypt::WrappedKey::parse(&wrapped_key).ok();
                let rng = &mut rand::rng();
                let wrapped: Option<VerifiedWrappedKey> =
                    wrapped.and_then(|it| it.verify(rng).ok());
                let Some(wrapped) = wrapped else { return };
                let own = EphemeralSecret::new(&wrapped, rng);
                ephemeral_key = ByteBuf::from(own.public().as_bytes().to_vec());
            }
            Attack::As(Misbehaviour::Replay) => {}
            Attack::As(how @ (Misbehaviour::OversizedFrame | Misbehaviour::TruncatedFrame)) => {
                let bytes = how.frame(bytes.to_vec(), MAX_REQUEST);
                return self.attack(node, sender, bytes);
            }
            // Without connections: questions that are none, one after the other.
            Attack::As(_) => {
                for length in 0..20 {
                    self.attack(node, stranger.clone(), vec![0xbf; length]);
                }
                return;
            }
        }
        let request = Request::Reencrypt {
            result,
            approvals,
            wrapped_key,
            ephemeral_key,
            traceparent,
        };
        if let Ok(bytes) = request.to_bytes() {
            self.attack(node, sender, bytes);
        }
    }

    fn carry_out_proposal(&mut self, leader: usize, members: &[usize], absent: u16) {
        if self.nodes[leader].running.is_none() {
            return;
        }
        let now = self.nodes[leader].clock_ms(self.now_ms) / 1000;
        let entry = self.view.as_ref().and_then(|view| {
            let key = view.package.public_key();
            let mut nodes = self.nodes.iter().filter_map(|node| node.running.as_ref());
            nodes.find_map(|running| {
                running
                    .desk
                    .keyring
                    .entry(key.as_bytes())?
                    .state()
                    .newest
                    .clone()
            })
        });
        let base = entry.map(|newest| BaseTerms {
            addresses: newest.addresses.clone(),
            certificate: newest.certificate.as_bytes().to_vec(),
            old_may_be_absent: Vec::new(),
            attempts_after: 0,
        });
        let cards = members.iter().map(|at| self.nodes[*at].card.clone());
        let terms = Terms {
            threshold: u16::try_from(self.threshold).unwrap(),
            policy_hash: self.nodes[leader].policy.hash(),
            members: cards.collect(),
            base,
            leader: self.nodes[leader].identity(),
            created: now,
            expires: now + 240,
            may_be_absent: absent,
            allow_few_members: true,
            software: "simulated".to_owned(),
        };
        if let Ok(proposal) = Proposal::new(terms, &mut self.rng) {
            self.propose(leader, proposal);
        }
    }
}
