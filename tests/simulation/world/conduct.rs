//! What parties do that misbehave, or have a bug planted in them.

use super::*;

impl World {
    /// A planted bug: the share goes out, and its record afterwards.
    pub(super) fn answer_first(&mut self, at: usize, call: u64) -> Result<(), Violation> {
        let waiting = self.nodes[at]
            .running
            .as_mut()
            .and_then(|it| it.batch.pop());
        let (Some((_, prepared)), Some(asked)) = (waiting, self.asked.remove(&call)) else {
            return Ok(());
        };
        let record = prepared.record().to_bytes().unwrap();
        let node = &self.nodes[at];
        self.monitor
            .released(node, at, &asked, &record, self.approvals_needed)
    }

    /// What a node that misbehaves makes of its answer, to a request for a share if it was one.
    pub(super) fn misbehave(
        &mut self,
        at: usize,
        answer: Answer,
        request: Option<&Request>,
    ) -> Answer {
        let node = &mut self.nodes[at];
        let Some(conduct) = node.conduct else {
            return answer;
        };
        match (conduct, answer, request) {
            (Misbehaviour::Refusal, Answer::Share { .. }, _) => Answer::Refused {
                code: "misbehaving".to_owned(),
                message: "This node refuses every request.".to_owned(),
                retry_after_ms: None,
            },
            (
                conduct,
                Answer::Share { share, newest },
                Some(Request::Reencrypt {
                    wrapped_key,
                    ephemeral_key,
                    ..
                }),
            ) => {
                let rng = &mut self.rng;
                let share = share.into_vec();
                let epoch = reencrypt::Share::parse(&share).unwrap().epoch();
                let key = node
                    .held()
                    .into_iter()
                    .find(|key| key.result.epoch == epoch)
                    .unwrap();
                let wrapped = reencrypt::WrappedKey::parse(wrapped_key).unwrap();
                let ephemeral = reencrypt::EphemeralKey::parse(ephemeral_key).unwrap();
                let (wrapped, ephemeral) =
                    reencrypt::verify_request(&wrapped, &ephemeral, rng).unwrap();
                let truth = Truth {
                    key: &key,
                    wrapped: &wrapped,
                    ephemeral: &ephemeral,
                    share,
                    earlier: node.earlier.as_deref(),
                };
                let share = conduct.falsify(truth, rng);
                node.earlier.get_or_insert_with(|| share.clone());
                let share = ByteBuf::from(share);
                Answer::Share { share, newest }
            }
            (Misbehaviour::Replay, fresh, None) => {
                node.last_answer.replace(fresh.clone()).unwrap_or(fresh)
            }
            (
                Misbehaviour::StaleCertificate,
                Answer::KeyCertificate {
                    addresses,
                    certificate,
                },
                _,
            ) => {
                let first = node
                    .first_certificate
                    .get_or_insert_with(|| certificate.to_vec());
                let certificate = ByteBuf::from(first.clone());
                Answer::KeyCertificate {
                    addresses,
                    certificate,
                }
            }
            (_, answer, _) => answer,
        }
    }
}
