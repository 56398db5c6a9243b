//! Words by which operators tell one proposal from another over the telephone, and custodians one split of a phrase from another.
//!
//! Six words of BIP-39's English list, from the first 66 bits of `H("cryptonode/v1/dkg-words", hash of the proposal)`, eleven bits each, the most significant
//! first. Every node shows the words of the proposal that it has. A proposal is signed by its leader, so that nobody else changes it on the way; the
//! words show that it is *this* proposal, and not another one of that leader or of somebody else, that the operators have talked about.
//!
//! Who wants to pass off a proposal of his own under the words of a given one must find another with the same words: 2^66 hashes on
//! average, by trying ids. (Four words, 44 bits, would be some hours on one graphics card.) A proposer who makes *both* proposals finds two with the same
//! words in about 2^33 hashes, and gains nothing: acceptances sign the whole hash, and those of two proposals never make one attempt.
//!
//! The pieces of a split phrase have words in the same way, from `H("cryptonode/v1/custody-words", info, sealed)`: what all pieces of one split have in common.

use crate::proposal::Proposal;
use crate::tags;

/// How many words compare a proposal, or a split.
pub const COMPARISON_WORDS: usize = 6;

impl Proposal {
    /// The words that operators compare, separated by single spaces.
    pub fn words(&self) -> String {
        words_of(&reencrypt::hash(tags::WORDS, &[self.hash()]))
    }
}

/// The words for the first 66 bits of a hash.
pub(crate) fn words_of(hash: &[u8; 64]) -> String {
    let list = bip39::Language::English.word_list();
    let mut words = String::new();
    let (mut bits, mut held) = (0u32, 0u32);
    let mut taken = 0;
    for byte in hash {
        bits = ((bits << 8) | u32::from(*byte)) & 0x7_ffff;
        held += 8;
        if held < 11 {
            continue;
        }
        held -= 11;
        let place = usize::try_from((bits >> held) & 0x7ff).unwrap_or_default();
        if taken > 0 {
            words.push(' ');
        }
        words.push_str(list.get(place).copied().unwrap_or_default());
        taken += 1;
        if taken == COMPARISON_WORDS {
            break;
        }
    }
    words
}
