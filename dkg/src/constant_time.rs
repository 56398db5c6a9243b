//! Each operation of this crate on secrets, by itself, for a program that watches what depends on them: `tests/constant_time`, under
//! valgrind. Only with the feature `constant-time`, which no program has that is shipped.
//!
//! An operation here makes what it needs with an ordinary generator, hides its secrets ([`Marks::secret`]), and runs the very functions
//! by which a member deals, opens, complains, confirms and signs. What they publish is shown ([`Marks::public`]) where they publish it
//! (`known.rs`), or here, once it has left. Before it is shown it must depend on the secret ([`Marks::is_secret`]): an operation
//! whose secrets were not hidden would pass for nothing.
//!
//! | not here | why |
//! |---|---|
//! | the words of a recovery phrase | they are looked up in the list of BIP-39, one by one, at secret places. It happens once, offline, at the command of the operator who sees them on his screen |
//! | the state that is kept of a ceremony | its secrets are copied whole, and sealed under a cipher that is checked (`sealed-and-unsealed`) |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure of the check"
)]

use std::hint::black_box;
use std::sync::OnceLock;

use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand_core::CryptoRng;
use reencrypt::polynomial::evaluate;
use reencrypt::{KeyShare, Point, PublicKeyPackage, SecretScalar};

use crate::attempt::{Acceptance, Attempt, FIRST_ATTEMPT};
use crate::confirm::AttemptResult;
use crate::custody::{self, CustodyPiece};
use crate::deal::{Deal, Sealing, deal};
use crate::frost::{self, Nonces};
use crate::pairs::Pairs;
use crate::proposal::{MemberIdentity, Proposal, Terms};
use crate::sealed_share::Binding;
use crate::shares::{Checker, Verdict};
use crate::sums::{SummedVerdict, encode_sums, sum_commitments_vartime};
use crate::{NodeKeys, RecoveryPhrase};

/// How the watching program is told of memory, by its address and length.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// From here on it is a secret.
    pub secret: fn(*const u8, usize),
    /// From here on it may be known.
    pub public: fn(*const u8, usize),
    /// Whether any of it depends on a secret.
    pub is_secret: fn(*const u8, usize) -> bool,
}

static MARKS: OnceLock<Marks> = OnceLock::new();

fn place<T: ?Sized>(value: &T) -> (*const u8, usize) {
    (std::ptr::from_ref(value).cast(), size_of_val(value))
}

fn hide<T: ?Sized>(value: &T) {
    let (start, length) = place(value);
    (MARKS.get().expect("marks").secret)(start, length);
}

pub(crate) fn known_in_place<T: ?Sized>(value: &T) {
    if let Some(marks) = MARKS.get() {
        let (start, length) = place(value);
        (marks.public)(start, length);
    }
}

pub(crate) fn made_known<T: Copy>(mut value: T) -> T {
    if let Some(marks) = MARKS.get() {
        // By a pointer that could change it, so that it is read from there again.
        let start = std::ptr::from_mut(&mut value);
        (marks.public)(start.cast_const().cast(), size_of::<T>());
    }
    black_box(value)
}

/// Shows what an operation gives away, which must depend on the secret until then.
fn publish<T: ?Sized>(value: &T) {
    let (start, length) = place(value);
    assert!(
        (MARKS.get().expect("marks").is_secret)(start, length),
        "what comes of a secret does not depend on it: nothing was checked"
    );
    known_in_place(value);
}

/// An operation: gets a generator whose output may be known, and one whose output is secret.
pub type Operation<P, S> = (&'static str, fn(&mut P, &mut S));

/// All of them. Those whose name begins with `variable` must be found out. `marks` serve the whole process.
pub fn operations<P: CryptoRng, S: CryptoRng>(marks: Marks) -> Vec<Operation<P, S>> {
    MARKS.get_or_init(|| marks);
    vec![
        ("phrase-made", phrase_made),
        ("key-accepted", key_accepted),
        ("deal-made", deal_made),
        ("deal-made-anew", deal_made_anew),
        ("deals-opened-by-their-sum", deals_opened_by_their_sum),
        ("deals-opened-one-by-one", deals_opened_one_by_one),
        ("deal-complained-of", deal_complained_of),
        ("share-confirmed", share_confirmed),
        ("share-recovered", share_recovered),
        ("nonces-made", nonces_made),
        ("certificate-signed", certificate_signed),
        ("phrase-split", phrase_split),
        ("pieces-joined", pieces_joined),
        ("variable-check-of-shares", variable_check_of_shares),
        ("variable-pad", variable_pad),
    ]
}

const MEMBERS: u16 = 3;
const THRESHOLD: u16 = 2;

/// An attempt of three members to make a key.
struct Ceremony {
    attempt: Attempt,
    nodes: Vec<NodeKeys>,
    phrases: Vec<RecoveryPhrase>,
    /// n_j of each.
    secrets: Vec<SecretScalar>,
}

impl Ceremony {
    fn new<P: CryptoRng>(rng: &mut P) -> Self {
        let mut phrases: Vec<_> = (0..MEMBERS)
            .map(|_| RecoveryPhrase::generate(rng))
            .collect();
        // A proposal has its members in this order.
        phrases.sort_by_key(|phrase| phrase.node_keys().identity.verifying_key().to_bytes());
        let nodes: Vec<_> = phrases.iter().map(RecoveryPhrase::node_keys).collect();
        let members: Vec<_> = (1..).zip(&nodes).map(|(i, node)| card(i, node)).collect();
        let terms = Terms {
            threshold: THRESHOLD,
            policy_hash: [7; 32],
            leader: members[0].identity,
            members,
            base: None,
            created: 0,
            expires: 3600,
            may_be_absent: 0,
            allow_few_members: false,
            software: "constant-time".to_owned(),
        };
        let proposal = Proposal::new(terms, rng).unwrap();
        let secrets: Vec<_> = (0..MEMBERS).map(|_| SecretScalar::random(rng)).collect();
        let acceptances = (1..)
            .zip(secrets.iter().zip(&nodes))
            .map(|(index, (n, node))| Acceptance::new(&proposal, index, n, &node.identity))
            .collect();
        Self {
            attempt: Attempt::new(&proposal, FIRST_ATTEMPT, acceptances).unwrap(),
            nodes,
            phrases,
            secrets,
        }
    }

    fn pairs(&self, index: u16) -> Pairs {
        let secret = &self.secrets[usize::from(index) - 1];
        Pairs::new(
            secret,
            self.attempt.encryption_keys.iter(),
            &Pairs::default(),
        )
    }

    /// The deal of one member, of a given constant term or a random one.
    fn deal<R: CryptoRng>(&self, index: u16, constant: Option<SecretScalar>, rng: &mut R) -> Deal {
        let place = usize::from(index) - 1;
        let sealing = Sealing {
            identity: &self.nodes[place].identity,
            secret: &self.secrets[place],
            pairs: &self.pairs(index),
        };
        deal(&self.attempt, index, constant, sealing, rng).unwrap()
    }

    /// Those of all members.
    fn deals<P: CryptoRng>(&self, rng: &mut P) -> Vec<Deal> {
        (1..=MEMBERS)
            .map(|index| self.deal(index, None, rng))
            .collect()
    }

    /// S_0 … S_t−1.
    fn sums(&self, deals: &[Deal]) -> Vec<Point> {
        let commitments: Vec<Vec<Point>> = deals
            .iter()
            .map(|deal| {
                let opened = deal.verify_vartime(&self.attempt, deal.header.index);
                opened.unwrap().commitments
            })
            .collect();
        let commitments = commitments.iter().map(Vec::as_slice);
        sum_commitments_vartime(commitments, &self.attempt.weights).unwrap()
    }

    fn hide_encryption_key(&self, index: u16) {
        hide(self.secrets[usize::from(index) - 1].expose());
    }
}

fn card(index: u16, node: &NodeKeys) -> MemberIdentity {
    MemberIdentity {
        name: format!("node-{index}"),
        identity: node.identity.verifying_key().to_bytes(),
        recovery_public: *node.recovery_public.as_bytes(),
        address: format!("node-{index}.example:7700"),
    }
}

/// A phrase is drawn, and the node's keys are derived from it.
fn phrase_made<P: CryptoRng, S: CryptoRng>(_: &mut P, secret: &mut S) {
    let keys = RecoveryPhrase::generate(secret).node_keys();
    let identity = keys.identity.verifying_key().to_bytes();
    publish(&identity);
    publish(keys.recovery_public.as_bytes());
    black_box((identity, *keys.recovery_public.as_bytes()));
}

/// A member makes its encryption key for a ceremony, and signs it with its identity.
fn key_accepted<P: CryptoRng, S: CryptoRng>(rng: &mut P, secret: &mut S) {
    let ceremony = Ceremony::new(rng);
    let proposal = &ceremony.attempt.roster;
    let identity = &ceremony.nodes[0].identity;
    hide(identity.as_bytes());
    let acceptance = Acceptance::new(proposal, 1, &SecretScalar::random(secret), identity);
    publish(&acceptance.encryption_key);
    publish(&acceptance.signature);
    assert!(acceptance.is_valid(proposal));
}

/// A deal is made: polynomial, commitments, shares under their pads, the proof of both secrets, the signature.
fn made_with<P: CryptoRng, S: CryptoRng>(constant: bool, rng: &mut P, secret: &mut S) {
    let ceremony = Ceremony::new(rng);
    ceremony.hide_encryption_key(1);
    hide(ceremony.nodes[0].identity.as_bytes());
    let constant = constant.then(|| SecretScalar::random(secret));
    let deal = ceremony.deal(1, constant, secret);
    publish(&deal.header);
    publish(deal.ciphertexts.as_slice());
    publish(deal.commitments.as_slice());
    assert!(deal.verify_vartime(&ceremony.attempt, 1).is_ok());
}

fn deal_made<P: CryptoRng, S: CryptoRng>(rng: &mut P, secret: &mut S) {
    made_with(false, rng, secret);
}

/// As in a reshare: the constant term is the dealer's share of the key.
fn deal_made_anew<P: CryptoRng, S: CryptoRng>(rng: &mut P, secret: &mut S) {
    made_with(true, rng, secret);
}

/// A member decrypts its shares of all deals, and checks their sum.
fn deals_opened_by_their_sum<P: CryptoRng, S: CryptoRng>(rng: &mut P, _: &mut S) {
    let ceremony = Ceremony::new(rng);
    let deals = ceremony.deals(rng);
    let sums = ceremony.sums(&deals);
    let excerpts: Vec<_> = deals
        .iter()
        .map(|deal| deal.excerpt_with(&deal.tree(), 2).unwrap())
        .collect();
    ceremony.hide_encryption_key(2);
    let pairs = ceremony.pairs(2);
    let verdict = checker(&ceremony, &pairs).check_sums(&excerpts, &encode_sums(&sums), rng);
    let Ok(SummedVerdict::Good(good)) = verdict else {
        panic!("good deals are refused");
    };
    publish(good.share.expose());
    assert_eq!(
        good.share.public().as_ristretto(),
        &crate::shares::evaluate_vartime(&sums, 2)
    );
}

fn checker<'a>(ceremony: &'a Ceremony, pairs: &'a Pairs) -> Checker<'a> {
    Checker {
        attempt: &ceremony.attempt,
        index: 2,
        secret: &ceremony.secrets[1],
        pairs,
        own: None,
    }
}

/// A member decrypts its shares of all deals, and checks each.
fn deals_opened_one_by_one<P: CryptoRng, S: CryptoRng>(rng: &mut P, _: &mut S) {
    let ceremony = Ceremony::new(rng);
    let deals = ceremony.deals(rng);
    let relayed: Vec<_> = deals
        .iter()
        .map(|deal| deal.relay_with(&deal.tree(), 2).unwrap())
        .collect();
    ceremony.hide_encryption_key(2);
    let pairs = ceremony.pairs(2);
    let Ok(Verdict::Good(good)) = checker(&ceremony, &pairs).check_whole(&relayed, rng) else {
        panic!("good deals are refused");
    };
    publish(good.share.expose());
}

/// A member finds a false share, and opens it to everybody: the point it shows is made of n_j, and proved by it.
fn deal_complained_of<P: CryptoRng, S: CryptoRng>(rng: &mut P, _: &mut S) {
    let ceremony = Ceremony::new(rng);
    let mut deals = ceremony.deals(rng);
    // Another share than that of the polynomial. Whose doing it is does not matter to who complains.
    let dealer = &mut deals[2];
    dealer.ciphertexts[32..64].fill(1);
    dealer.header.ciphertexts_root = dealer.tree().root();
    let digest = dealer.header.digest(&ceremony.attempt.params);
    let relayed = dealer.relay_with(&dealer.tree(), 2).unwrap();
    let accused = dealer
        .header
        .open(&ceremony.attempt, digest, &dealer.commitments)
        .unwrap();
    ceremony.hide_encryption_key(2);
    let pairs = ceremony.pairs(2);
    let opened = checker(&ceremony, &pairs)
        .open(&relayed.relayed(), Ok(accused.clone()))
        .unwrap();
    let share = opened.share.unwrap();
    assert!(!crate::shares::share_fits(&share, &accused.commitments, 2));
    let complaint = crate::Complaint::new(
        &ceremony.attempt,
        2,
        &ceremony.secrets[1],
        &accused,
        &relayed,
        rng,
    )
    .unwrap();
    publish(&complaint.proof);
    black_box(complaint.proof);
}

/// A key, and the share of member 2 of it.
fn key<P: CryptoRng>(rng: &mut P) -> (Vec<SecretScalar>, PublicKeyPackage) {
    let polynomial: Vec<_> = (0..THRESHOLD).map(|_| SecretScalar::random(rng)).collect();
    let shares: Vec<_> = (1..=MEMBERS)
        .map(|index| SecretScalar::from_scalar(evaluate(&polynomial, index)).unwrap())
        .collect();
    let public = shares.iter().map(SecretScalar::public).collect();
    let package = PublicKeyPackage::new(polynomial[0].public(), 0, THRESHOLD, public).unwrap();
    (shares, package)
}

/// A member checks its share once more, seals it to its recovery key, and signs.
fn share_confirmed<P: CryptoRng, S: CryptoRng>(rng: &mut P, secret: &mut S) {
    let ceremony = Ceremony::new(rng);
    let polynomial: Vec<_> = (0..THRESHOLD).map(|_| SecretScalar::random(rng)).collect();
    let sums = SecretScalar::public_of_each(&polynomial);
    let share = SecretScalar::from_scalar(evaluate(&polynomial, 2)).unwrap();
    hide(share.expose());
    hide(ceremony.nodes[1].identity.as_bytes());
    let roster = &ceremony.attempt.roster;
    let result = AttemptResult::new(&ceremony.attempt, [3; 64], sums).unwrap();
    let identity = &ceremony.nodes[1].identity;
    let confirmation = result.confirm(roster, 2, &share, identity, secret).unwrap();
    publish(confirmation.sealed_share.as_slice());
    publish(&confirmation.signature);
    let signed = confirmation.is_signed(roster, &ceremony.attempt.params, &result.hash());
    assert!(signed);
}

/// A node that lost its disk opens its sealed share with the recovery key.
fn share_recovered<P: CryptoRng, S: CryptoRng>(rng: &mut P, _: &mut S) {
    let ceremony = Ceremony::new(rng);
    let share = SecretScalar::random(rng);
    let binding = Binding {
        params: &ceremony.attempt.params,
        index: 2,
        member: &card(2, &ceremony.nodes[1]),
        set: &[3; 64],
    };
    let sealed = binding.seal(&share, rng).unwrap();
    let recovery = ceremony.phrases[1].recovery_secret();
    hide(recovery.expose());
    let opened = binding.open(&recovery, &sealed).unwrap();
    publish(opened.expose());
    assert_eq!(opened.to_bytes(), share.to_bytes());
}

fn nonces_made<P: CryptoRng, S: CryptoRng>(rng: &mut P, secret: &mut S) {
    let (shares, package) = key(rng);
    let share = key_share(2, &shares, &package);
    hide(share.secret().expose());
    let nonces = Nonces::new(&share, secret).unwrap();
    // `known.rs` has shown the commitments, as elements; of their encodings nothing is left that is secret.
    black_box(nonces.commitments().clone());
}

fn key_share(index: u16, shares: &[SecretScalar], package: &PublicKeyPackage) -> KeyShare {
    let secret = shares[usize::from(index) - 1].to_bytes();
    let secret = SecretScalar::from_canonical_bytes(&secret).unwrap();
    KeyShare::new(index, 0, package.public_key(), secret).unwrap()
}

/// A member signs under its share; with another's part it is a signature under the key.
fn certificate_signed<P: CryptoRng, S: CryptoRng>(rng: &mut P, secret: &mut S) {
    let (shares, package) = key(rng);
    let (own, other) = (
        key_share(2, &shares, &package),
        key_share(3, &shares, &package),
    );
    let others = Nonces::new(&other, rng).unwrap();
    hide(own.secret().expose());
    let nonces = Nonces::new(&own, secret).unwrap();
    let commitments = [nonces.commitments().clone(), others.commitments().clone()];
    let message = b"a certificate";
    let signed = frost::sign(nonces, &commitments, message, &own, &package).unwrap();
    publish(&signed);
    let of_other = frost::sign(others, &commitments, message, &other, &package).unwrap();
    let parts = [(2, signed), (3, of_other)].into();
    assert!(frost::aggregate(&commitments, &parts, message, &package).is_ok());
}

/// A phrase is split among custodians, and each piece checked as its custodian does it.
fn phrase_split<P: CryptoRng, S: CryptoRng>(_: &mut P, secret: &mut S) {
    let phrase = RecoveryPhrase::generate(secret);
    let pieces = custody::split(&phrase, THRESHOLD, MEMBERS, secret).unwrap();
    let bytes = pieces[0].to_bytes();
    publish(bytes.as_slice());
    assert!(CustodyPiece::from_bytes(&bytes).is_ok());
}

/// Pieces give a phrase back.
fn pieces_joined<P: CryptoRng, S: CryptoRng>(rng: &mut P, _: &mut S) {
    let phrase = RecoveryPhrase::generate(rng);
    let pieces = custody::split(&phrase, THRESHOLD, MEMBERS, rng).unwrap();
    for piece in &pieces {
        hide(piece.share());
    }
    let joined = custody::join(&pieces[1..]).unwrap();
    publish(joined.entropy());
    assert_eq!(joined.entropy(), phrase.entropy());
}

/// Found out: a check that puts the secret shares among the public numbers of one multiplication.
fn variable_check_of_shares<P: CryptoRng, S: CryptoRng>(rng: &mut P, _: &mut S) {
    let (shares, package) = key(rng);
    hide(shares[1].expose());
    black_box(RistrettoPoint::vartime_multiscalar_mul(
        [*shares[1].expose(), -Scalar::ONE],
        [
            *Point::generator().as_ristretto(),
            *package.public_share(2).unwrap().as_ristretto(),
        ],
    ));
}

/// Found out: a pair that is looked for by the secret that both have in common, instead of by the other's key.
fn variable_pad<P: CryptoRng, S: CryptoRng>(rng: &mut P, _: &mut S) {
    let ceremony = Ceremony::new(rng);
    let wanted = ceremony.secrets[0].diffie_hellman(&ceremony.attempt.encryption_keys[1]);
    ceremony.hide_encryption_key(1);
    let secret = &ceremony.secrets[0];
    let keys = ceremony.attempt.encryption_keys.iter();
    let shared = secret.diffie_hellman_with_each(keys);
    black_box(shared.iter().position(|shared| *shared == *wanted));
}
