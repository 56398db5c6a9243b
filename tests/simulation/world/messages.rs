//! Messages on their way, and what the places make of them.

use super::*;

impl World {
    pub(super) fn send(
        &mut self,
        from: Place,
        to: Place,
        boots: u64,
        asker: Asker,
        payload: Payload,
    ) -> u64 {
        self.next += 1;
        let call = self.next;
        self.calls.insert(call, Call { from, boots, asker });
        self.schedule(self.now_ms + ANSWER_MS, Event::Expired(call));
        let arrivals = if from == to {
            vec![0]
        } else {
            self.network.carry(from, to)
        };
        for after in arrivals {
            let payload = payload.clone();
            self.schedule(self.now_ms + after, Event::Arrive { call, to, payload });
        }
        call
    }

    pub(super) fn reply(&mut self, from: Place, call: u64, reply: Reply) {
        let Some(to) = self.calls.get(&call).map(|call| call.from) else {
            return;
        };
        let arrivals = if from == to {
            vec![0]
        } else {
            self.network.carry(from, to)
        };
        // A stream has one answer, however often its packets come.
        if let Some(after) = arrivals.first() {
            self.schedule(self.now_ms + after, Event::Answered { call, reply });
        }
    }

    pub(super) fn reply_bytes(&mut self, at: usize, call: u64, answer: Answer) {
        let mut bytes = answer.to_bytes().unwrap();
        if let Some(conduct) = self.nodes[at].conduct {
            bytes = conduct.frame(bytes, MAX_SHARE_ANSWER);
        }
        if self.nodes[at].plant == Some(Plant::LeaksShare)
            && let Some(key) = self.nodes[at].held().first()
        {
            bytes.extend_from_slice(key.share.secret().to_bytes().as_slice());
        }
        if let Err(violation) = self.monitor.sent(&self.nodes, at, &bytes) {
            self.monitor.found.get_or_insert(violation);
        }
        self.reply(Place::Node(at), call, Reply::Node(bytes));
    }

    pub(super) fn arrive(
        &mut self,
        call: u64,
        to: Place,
        payload: Payload,
    ) -> Result<(), Violation> {
        match (to, payload) {
            (Place::Node(at), Payload::Node(caller, bytes)) => {
                if self.nodes[at].running.is_none() {
                    return Ok(());
                }
                let mute = self.nodes[at].plant == Some(Plant::Mute);
                if mute || self.nodes[at].conduct == Some(Misbehaviour::NoAnswer) {
                    return Ok(());
                }
                let (now, clock_ms) = (self.now_ms, self.nodes[at].clock_ms(self.now_ms));
                let handled = self.nodes[at].ask(call, &caller, &bytes, now, &mut self.rng);
                self.look_after(at)?;
                match handled {
                    Handled::Now(answer) => {
                        self.monitor.replied(&self.nodes[at], at, &answer);
                        let answer = self.misbehave(at, answer, None);
                        let said = self.answer_falsely(at, caller.member, &bytes, answer);
                        if let Some(answer) = said {
                            self.reply_bytes(at, call, answer);
                        }
                    }
                    Handled::Later => {
                        self.seen.push((caller.clone(), Arc::clone(&bytes)));
                        let request = Request::from_bytes(&bytes).unwrap();
                        self.asked.insert(
                            call,
                            Asked {
                                caller,
                                request,
                                clock_ms,
                            },
                        );
                        if self.nodes[at].plant == Some(Plant::AnswersFirst) {
                            return self.answer_first(at, call);
                        }
                        // Who is slow at reading is slow at answering.
                        let slow = self.nodes[at].conduct == Some(Misbehaviour::SlowReader);
                        let after = if slow { ANSWER_MS - 1 } else { BATCH_MS };
                        self.schedule(now + after, Event::Commit(at));
                    }
                    Handled::Never => {}
                }
            }
            (Place::Peer(at), Payload::Peer(ask)) => {
                if self.peers[at].peer.is_none() {
                    return Ok(());
                }
                let now = self.now_ms;
                match self.peers[at].ask(&ask, now) {
                    Some(reply) => {
                        if let (PeerAsk::Approve(read), PeerReply::Approved(Ok(der))) =
                            (&ask, &reply)
                        {
                            let clock_ms = self.peers[at].clock_ms(now);
                            self.monitor.approved(at, *read, der, clock_ms);
                        }
                        self.reply(to, call, Reply::Peer(reply));
                    }
                    None => {
                        let away_ms = self.monitor.peer_away_ms.remove(&at).unwrap_or(2_000);
                        self.monitor.torn += 1;
                        self.note(|| format!("peer {at} loses its power in the middle of a write"));
                        self.schedule(now + away_ms, Event::Boot(to, Tear::Kept, 0));
                    }
                }
            }
            (Place::Orderer, Payload::Submit(transaction)) => {
                let told = self
                    .orderer
                    .as_mut()
                    .and_then(|it| it.submit(call, transaction));
                if let Some(receipt) = told {
                    self.reply(to, call, Reply::Receipt(receipt));
                } else {
                    self.wake_orderer();
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn answered(&mut self, call: u64, reply: Option<Reply>) -> Result<(), Violation> {
        let Some(Call { boots, asker, .. }) = self.calls.remove(&call) else {
            return Ok(());
        };
        let answer = match &reply {
            Some(Reply::Node(bytes)) => Answer::from_bytes(bytes).ok(),
            _ => None,
        };
        match asker {
            Asker::Node { at, to, why } => {
                if self.nodes[at].boots != boots || self.nodes[at].running.is_none() {
                    return Ok(());
                }
                let now = self.now_ms;
                let outs = self.nodes[at].heard(to, why, answer, now, &mut self.rng);
                self.look_after(at)?;
                self.send_all(at, boots, outs);
            }
            Asker::Orderer { peer } => {
                if let Some(Reply::Peer(reply)) = reply {
                    let needed = quorum(self.peers.len());
                    let orderer = self.orderer.as_mut();
                    let told = orderer
                        .map(|it| it.heard(peer, reply, needed))
                        .unwrap_or_default();
                    for (call, id, receipt) in told {
                        if receipt.is_ok() {
                            self.monitor.acknowledge(id, &receipt);
                        }
                        self.reply(Place::Orderer, call, Reply::Receipt(receipt));
                    }
                    self.wake_orderer();
                }
            }
            Asker::Submit { run } => {
                let run_ref = &mut self.runs[run];
                run_ref.waiting.remove(&call);
                if let (Some(Reply::Receipt(receipt)), Stage::Submitting) = (reply, run_ref.stage) {
                    match receipt {
                        Ok(_) => run_ref.stage = Stage::Approving,
                        Err(code) if code == "replayed" => run_ref.stage = Stage::Approving,
                        Err(code) if code == "not-permitted" => run_ref.stage = Stage::Refused,
                        Err(_) => {}
                    }
                    let (stage, id) = (run_ref.stage, run_ref.id());
                    self.note(|| format!("read {run} is {stage:?}, {}", hex::encode(&id[..4])));
                }
            }
            Asker::Approval { run, peer } => {
                let run_ref = &mut self.runs[run];
                run_ref.waiting.remove(&call);
                match reply {
                    Some(Reply::Peer(PeerReply::Approved(Ok(der)))) => {
                        run_ref.approvals.insert(peer, der);
                    }
                    Some(Reply::Peer(PeerReply::Approved(Err(code))))
                        if code == "not-permitted" =>
                    {
                        // A permission that was taken away in between.
                        run_ref.stage = Stage::Refused;
                    }
                    _ => {}
                }
            }
            Asker::Member { run, to, round } => {
                self.runs[run].heard(to, round, answer, self.now_ms);
                self.opened(run)?;
                self.tick(run);
            }
            Asker::Attacker => {}
        }
        Ok(())
    }
}
