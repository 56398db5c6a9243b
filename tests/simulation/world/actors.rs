//! The record and the readers: what they do, and what they hear.

use super::*;

impl World {
    pub(super) fn wake_orderer(&mut self) {
        let (now, peers) = (self.now_ms, self.peers.len());
        let Some(orderer) = &mut self.orderer else {
            return;
        };
        for (peer, ask) in orderer.wake(now, peers) {
            let busy = self
                .calls
                .values()
                .any(|call| matches!(call.asker, Asker::Orderer { peer: asked } if asked == peer));
            if !busy {
                let asker = Asker::Orderer { peer };
                self.send(
                    Place::Orderer,
                    Place::Peer(peer),
                    0,
                    asker,
                    Payload::Peer(ask),
                );
            }
        }
    }

    pub fn boot_peer(&mut self, at: usize) -> Result<(), Violation> {
        self.note(|| format!("peer {at} starts"));
        let booted = self.peers[at].boot(self.founders);
        if let Some(orderer) = &mut self.orderer {
            orderer.forget(at);
        }
        self.monitor.peer_booted(&self.peers[at], at, booted)
    }

    pub fn crash_peer(&mut self, at: usize, away_ms: u64) {
        if self.peers[at].peer.is_none() {
            return;
        }
        self.peers[at].kill();
        let back = self.now_ms + away_ms;
        self.schedule(back, Event::Boot(Place::Peer(at), Tear::Kept, 0));
    }

    /// Puts a transaction on the record as soon as that can be.
    pub fn submit(&mut self, transaction: SignedTransaction) {
        if let Some(orderer) = &mut self.orderer {
            orderer.submit(0, transaction);
        }
    }

    /// A read begins.
    pub fn begin(&mut self, run: Run) {
        self.runs.push(run);
        let number = self.runs.len() - 1;
        self.schedule(self.now_ms, Event::Tick(number));
    }

    pub(super) fn tick(&mut self, number: usize) {
        let (now, peers, needed) = (self.now_ms, self.peers.len(), self.approvals_needed);
        let Some(act) = self.runs[number].next(now, peers, needed) else {
            return;
        };
        let run = &self.runs[number];
        let from = Place::Reader(run.reader);
        match act {
            Act::Renew => {
                if let Some(fresh) = self.renewed(number) {
                    self.note(|| format!("read {number} begins anew"));
                    self.runs[number] = fresh;
                }
            }
            Act::Submit => {
                let transaction = run.transaction.clone();
                let asker = Asker::Submit { run: number };
                let call = self.send(from, Place::Orderer, 0, asker, Payload::Submit(transaction));
                self.runs[number].waiting.insert(call);
            }
            Act::Approve(wanted) => {
                let id = run.id();
                for peer in wanted {
                    let asker = Asker::Approval { run: number, peer };
                    let payload = Payload::Peer(PeerAsk::Approve(id));
                    let call = self.send(from, Place::Peer(peer), 0, asker, payload);
                    self.runs[number].waiting.insert(call);
                }
            }
            Act::Ask(members, request) => {
                let shared = matches!(request, Request::Reencrypt { .. });
                let round = shared.then(|| run.round());
                let caller = Caller {
                    spki: run.spki.clone(),
                    member: None,
                };
                let bytes = Arc::new(request.to_bytes().unwrap());
                for to in members {
                    let place = self.nodes.iter().position(|node| node.identity() == to);
                    let Some(place) = place else { continue };
                    let asker = Asker::Member {
                        run: number,
                        to,
                        round,
                    };
                    let payload = Payload::Node(caller.clone(), Arc::clone(&bytes));
                    self.send(from, Place::Node(place), 0, asker, payload);
                }
            }
        }
    }

    pub(super) fn opened(&mut self, number: usize) -> Result<(), Violation> {
        let run = &self.runs[number];
        if run.stage != Stage::Opened {
            return Ok(());
        }
        let took = self.now_ms - run.begun_ms;
        let run = &self.runs[number];
        self.monitor.opened(run, &self.documents, &self.nodes)?;
        if self.plant == Some(Plant::BlamesAnybody) {
            let anybody = self.nodes.iter().map(Host::identity).collect();
            self.monitor.blamed(&anybody, &self.nodes)?;
        }
        self.note(|| format!("read {number} is open after {took} ms"));
        Ok(())
    }
}
