//! Section 5: shares that were altered or moved.

use super::*;

#[test]
fn a_share_serves_one_request_index_and_epoch() {
    let read = Read::new(2, 4);
    let good = read.answer(2);
    read.verify(&good).unwrap();

    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good;
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let not_its_proof = Err(ShareError::Proof(ProofError::False));
    assert_eq!(read.verify(&with(0, &3u16.to_le_bytes())), not_its_proof);
    assert_eq!(
        read.verify(&with(0, &0u16.to_le_bytes())),
        Err(ShareError::IndexZero)
    );
    assert_eq!(
        read.verify(&with(0, &5u16.to_le_bytes())),
        Err(ShareError::NotAMember {
            index: 5,
            members: 4
        })
    );
    assert_eq!(
        read.verify(&with(2, &5u64.to_le_bytes())),
        Err(ShareError::OtherEpoch {
            expected: 4,
            got: 5
        })
    );
    assert_eq!(
        read.verify(&with(10, random_point().as_bytes())),
        not_its_proof
    );
    // The proof of another request of the same reader for the same wrapped key.
    let again = EphemeralSecret::new(&read.wrapped, &mut rng());
    let moved = read
        .cluster
        .node(2)
        .reencrypt(&read.wrapped, again.public(), &mut rng())
        .unwrap();
    assert_eq!(read.verify(&moved.to_bytes()), not_its_proof);
    // A commitment that is no point is found when the proof is verified.
    assert_eq!(
        read.verify(&with(42, &[0; 32])),
        Err(ShareError::Proof(ProofError::FirstCommitment(
            PointError::Identity
        )))
    );
    assert_eq!(
        read.verify(&with(74, &[0xff; 32])),
        Err(ShareError::Proof(ProofError::SecondCommitment(
            PointError::NotCanonical
        )))
    );
}

#[test]
fn shares_verified_together_are_refused_one_by_one() {
    let read = Read::new(3, 7);
    let mut shares: Vec<Share> = (1..=7)
        .map(|index| Share::parse(&read.answer(index)).unwrap())
        .collect();
    let verify = |shares: &[Share]| {
        let (package, wrapped) = (&read.cluster.package, &read.wrapped);
        verify_shares(shares, package, wrapped, read.secret.public(), &mut rng())
    };
    assert_eq!(verify(&shares).unwrap().len(), 7);

    let mut moved = read.answer(3);
    moved[0] = 5;
    shares[4] = Share::parse(&moved).unwrap();
    let mut other_epoch = read.answer(1);
    other_epoch[2] = 9;
    shares[0] = Share::parse(&other_epoch).unwrap();
    assert_eq!(
        verify(&shares).unwrap_err(),
        [
            (
                0,
                ShareError::OtherEpoch {
                    expected: 4,
                    got: 9
                }
            ),
            (4, ShareError::Proof(ProofError::False)),
        ]
    );
}
