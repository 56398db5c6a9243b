//! A complaint without a cause, written from `docs/protocol/key-generation.md`: of a dealer that has dealt well, with an opening that is not
//! n_j·N_i.

use dkg::{Acceptance, Complaint, Complaints, RelayedDeal};
use ed25519_dalek::{Signer, SigningKey};
use reencrypt::equality::{EqualityProof, Statement};
use reencrypt::{Point, SecretScalar, hash};
use serde_bytes::ByteBuf;

/// Complaints, signed by the member of this index, of the first dealer that is not itself. `None` if there is no other.
pub fn false_complaint(
    params: &[u8],
    (own, identity): (u16, &SigningKey),
    deals: &[RelayedDeal],
    acceptances: &[Acceptance],
) -> Option<Complaints> {
    let digests: Vec<[u8; 64]> = deals
        .iter()
        .map(|deal| {
            let header = &deal.header;
            let items: [&[u8]; 5] = [
                params,
                &header.index.to_le_bytes(),
                &header.constant,
                &header.commitments_hash,
                &header.ciphertexts_root,
            ];
            hash("cryptonode/v1/dkg-deal", &items)
        })
        .collect();
    let is_another = |deal: &&RelayedDeal| deal.header.index != own;
    let (accused, digest) = deals
        .iter()
        .zip(&digests)
        .find(|(deal, _)| is_another(deal))?;
    let key_of = |index: u16| {
        let found = acceptances.iter().find(|one| one.index == index)?;
        Point::from_bytes(&found.encryption_key).ok()
    };
    let (dealer_key, own_key) = (key_of(accused.header.index)?, key_of(own)?);
    let rng = &mut rand::rng();
    let used = SecretScalar::random(rng);
    let opening = Point::from_ristretto(dealer_key.as_ristretto() * used.expose())?;
    let (dealer, member) = (accused.header.index.to_le_bytes(), own.to_le_bytes());
    let statement = Statement {
        purpose: "complaint",
        context: &[params, &dealer, &member, digest],
        bases: (Point::generator(), dealer_key),
        points: (own_key, opening),
    };
    let complaint = Complaint {
        dealer: accused.header.index,
        ciphertext: accused.ciphertext,
        path: ByteBuf::from(accused.path.to_vec()),
        opening: *opening.as_bytes(),
        proof: EqualityProof::prove(&statement, &used, rng).to_bytes(),
    };
    let set_items: Vec<&[u8]> = std::iter::once(params)
        .chain(digests.iter().map(<[u8; 64]>::as_slice))
        .collect();
    let set = hash("cryptonode/v1/dkg-deal-set", &set_items);
    let items: [&[u8]; 8] = [
        params,
        &member,
        &set,
        &dealer,
        &complaint.ciphertext,
        &complaint.path,
        &complaint.opening,
        &complaint.proof,
    ];
    let signed = hash("cryptonode/v1/dkg-complain", &items);
    Some(Complaints {
        index: own,
        set,
        signature: identity.sign(&signed).to_bytes(),
        complaints: vec![complaint],
    })
}
