//! What a member is told, and finds, of others' cheating when no attempt without them follows.

use super::MemberOutput;
use super::stage::Running;
use crate::acknowledge::Complaints;
use crate::attempt::Attempt;
use crate::deal::RelayedDeal;
use crate::exclusion::{self, Accused, Exclusion, Grounds, TwoAcceptances, TwoDeals};
use crate::fault::Fault;
use crate::wire_v1::Message;

impl Running {
    /// Evidence with which no other attempt follows. What does not convict is forgotten.
    pub(super) fn note(&mut self, told: Vec<Exclusion>) -> MemberOutput {
        if let Some(certificate) = self.certified() {
            return MemberOutput::repeat(certificate);
        }
        let reply = Message::Noted {
            ceremony: self.proposal.id(),
        };
        if self.accuse(exclusion::proved(told, &self.proposal)) {
            self.changed(reply)
        } else {
            MemberOutput::repeat(reply)
        }
    }

    /// What its own complaints prove. It is kept, so that a leader that keeps a complaint to itself and begins anew hides nothing.
    ///
    /// # Errors
    /// [`Fault::FalseComplaint`] if one proves nothing against its dealer: this member has miscalculated, and to send it would open what
    /// two honest members dealt to each other.
    pub(super) fn complain(
        &mut self,
        attempt: &Attempt,
        complaints: &Complaints,
        deals: &[RelayedDeal],
    ) -> Result<(), Fault> {
        let mut proved = Vec::with_capacity(complaints.complaints.len());
        for complaint in &complaints.complaints {
            let dealer = complaint.dealer;
            let false_complaint = Fault::FalseComplaint {
                member: self.index,
                dealer,
            };
            let deal = deals.iter().find(|deal| deal.header.index == dealer);
            let member = attempt.in_proposal(attempt.seat_of_dealer(dealer));
            let (Some(deal), Some(member)) = (deal, member) else {
                return Err(false_complaint);
            };
            let exclusion = Exclusion {
                member,
                grounds: Grounds::Complaint {
                    accused: Accused::new(attempt, &deal.header, &deal.commitments),
                    complaints: complaints.clone(),
                },
            };
            if !matches!(exclusion.verify(&self.proposal), Ok(Some(_))) {
                return Err(false_complaint);
            }
            proved.push(exclusion);
        }
        self.accuse(proved);
        Ok(())
    }

    /// Evidence against somebody that takes part in this attempt all the same: its leader does not know it, or keeps it to itself.
    pub(super) fn evidence_against(&self, attempt: &Attempt) -> Option<Message> {
        let excluded: Vec<Exclusion> = self
            .accused
            .iter()
            .filter(|known| attempt.of_proposal(known.member).is_some())
            .filter(|known| known.grounds.is_evidence())
            .cloned()
            .collect();
        (!excluded.is_empty()).then(|| Message::Notice {
            ceremony: self.proposal.id(),
            excluded,
        })
    }

    /// Keeps what is new, once for each member, and the evidence as far as there is room for it.
    pub(super) fn accuse(&mut self, told: Vec<Exclusion>) -> bool {
        let before = self.accused.len();
        for exclusion in told {
            let known = |other: &Exclusion| other.member == exclusion.member;
            if !self.accused.iter().any(known) && !self.exclusions.contains(&exclusion) {
                exclusion::add(&mut self.accused, exclusion, &self.proposal);
            }
        }
        self.accused.len() > before
    }

    /// The answer to a question in which two things were found that one member signed: the evidence, so that whoever asks does not
    /// take the refusal amiss. Every other fault remains one.
    pub(super) fn with_evidence(&self, fault: Fault) -> Result<MemberOutput, Fault> {
        let exclusion = match (&fault, &self.attempt) {
            (Fault::TwoDeals { dealer, evidence }, Some(attempt)) => {
                let (first, second) = evidence.as_ref().clone();
                attempt.in_proposal(*dealer).map(|member| Exclusion {
                    member,
                    grounds: Grounds::TwoDeals(Box::new(TwoDeals {
                        first,
                        second,
                        attempt: attempt.number,
                        acceptances: attempt.acceptances.clone(),
                    })),
                })
            }
            (Fault::TwoAcceptances { member, evidence }, _) => {
                let (first, second) = evidence.as_ref().clone();
                Some(Exclusion {
                    member: *member,
                    grounds: Grounds::TwoAcceptances(Box::new(TwoAcceptances { first, second })),
                })
            }
            _ => None,
        };
        let Some(exclusion) = exclusion else {
            return Err(fault);
        };
        Ok(MemberOutput::repeat(Message::Notice {
            ceremony: self.proposal.id(),
            excluded: vec![exclusion],
        }))
    }
}
