//! Every domain-separation tag of this crate, in one place, so that no two uses can share one.

/// A proposal's bytes.
pub(crate) const PROPOSAL: &str = "cryptonode/v1/dkg-proposal";
/// The weights of signatures that are verified together.
pub(crate) const BATCH: &str = "cryptonode/v1/dkg-batch";
/// What the proposer signs.
pub(crate) const PROPOSE: &str = "cryptonode/v1/dkg-propose";
/// What the proposer signs to call a ceremony off.
pub(crate) const ABANDON: &str = "cryptonode/v1/dkg-abandon";
/// What a member signs to take part, with its encryption key N.
pub(crate) const ACCEPT: &str = "cryptonode/v1/dkg-accept";
/// The words by which operators compare proposals.
pub(crate) const WORDS: &str = "cryptonode/v1/dkg-words";
/// The parameters of an attempt.
pub(crate) const PARAMS: &str = "cryptonode/v1/dkg-params";
/// The pad over one share of a deal.
pub(crate) const PAD: &str = "cryptonode/v1/dkg-pad";
/// A deal's digest.
pub(crate) const DEAL: &str = "cryptonode/v1/dkg-deal";
/// The commitments of a deal after the first.
pub(crate) const COMMITMENTS: &str = "cryptonode/v1/dkg-commitments";
/// Challenge of a dealer's proof of knowledge.
pub(crate) const PROOF: &str = "cryptonode/v1/dkg-proof";
/// Derivation of a proof's nonce.
pub(crate) const PROOF_NONCE: &str = "cryptonode/v1/dkg-proof-nonce";
/// What a dealer signs.
pub(crate) const DEAL_SIGNATURE: &str = "cryptonode/v1/dkg-deal-signature";
/// The set of all deals of an attempt, in index order.
pub(crate) const DEAL_SET: &str = "cryptonode/v1/dkg-deal-set";
/// What a member signs once its shares of every deal in the set are right.
pub(crate) const ACKNOWLEDGE: &str = "cryptonode/v1/dkg-acknowledge";
/// What a member signs with its complaints.
pub(crate) const COMPLAIN: &str = "cryptonode/v1/dkg-complain";
/// Purpose of a complaint's equality proof (protocol.md 8, step 2).
pub(crate) const COMPLAINT: &str = "complaint";
/// The complaints that a result took into account.
pub(crate) const COMPLAINT_SET: &str = "cryptonode/v1/dkg-complaint-set";
/// The result of an attempt.
pub(crate) const RESULT: &str = "cryptonode/v1/dkg-result";
/// What a member signs to confirm a result.
pub(crate) const CONFIRM: &str = "cryptonode/v1/dkg-confirm";
/// HKDF salt of the key that seals a share to its member's recovery key.
pub(crate) const SEALED_SHARE: &str = "cryptonode/v1/dkg-sealed-share";
/// HKDF salt of the key that seals a phrase for its custodians.
pub(crate) const CUSTODY: &str = "cryptonode/v1/custody";
/// The words by which custodians compare their pieces.
pub(crate) const CUSTODY_WORDS: &str = "cryptonode/v1/custody-words";
/// HKDF salt of everything derived from a recovery phrase.
pub(crate) const PHRASE: &str = "cryptonode/v1/recovery-phrase";
/// HKDF info of the identity's seed.
pub(crate) const PHRASE_IDENTITY: &str = "cryptonode/v1/identity";
/// HKDF info of the recovery key.
pub(crate) const PHRASE_RECOVERY: &str = "cryptonode/v1/recovery-key";

#[cfg(test)]
mod tests {
    #[test]
    fn no_tag_is_used_twice() {
        let tags = [
            super::PROPOSAL,
            super::BATCH,
            super::PROPOSE,
            super::ABANDON,
            super::ACCEPT,
            super::PARAMS,
            super::PAD,
            super::DEAL,
            super::COMMITMENTS,
            super::PROOF,
            super::PROOF_NONCE,
            super::DEAL_SIGNATURE,
            super::DEAL_SET,
            super::ACKNOWLEDGE,
            super::WORDS,
            super::COMPLAIN,
            super::COMPLAINT,
            super::COMPLAINT_SET,
            super::RESULT,
            super::CONFIRM,
            super::SEALED_SHARE,
            super::CUSTODY,
            super::CUSTODY_WORDS,
            super::PHRASE,
            super::PHRASE_IDENTITY,
            super::PHRASE_RECOVERY,
        ];
        let distinct: std::collections::BTreeSet<&str> = tags.into_iter().collect();
        assert_eq!(distinct.len(), tags.len());
    }
}
