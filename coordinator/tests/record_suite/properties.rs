//! Random histories: all peers come to the same state, and nothing happens that permission forbids.

mod oracle;

use crate::certificates::{Company, Holder, authorities, certify, publish};
use crate::ledger::*;
use coordinator::record::{
    AccessDecision, AccessRequest, AccessStatus, ApprovalTerms, Author, DatasetConfigure,
    DatasetName, Encryption, Erase, Hash, Link, OrganisationEndorse, OrganisationWithdraw,
    PermissionSet, Rewrap, Role, SignedTransaction, Storage, Transaction, UnsignedTransaction,
    UserExpire, UserName, UserRole,
    peer::{Peer, Proposal},
    rotate_key,
};
use oracle::{Oracle, rotated};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;

const USERS: [&str; 5] = [
    "acme/root",
    "acme/ann",
    "acme/bob",
    "rival/root",
    "rival/mallory",
];
/// Who tries something: the users, and the organisations that registered the tenants `acme` and `rival`, and one that registered none.
const AUTHORS: [&str; 8] = [
    "acme/root",
    "acme/ann",
    "acme/bob",
    "rival/root",
    "rival/mallory",
    "alpha",
    "beta",
    "gamma",
];
const DATASETS: [&str; 3] = ["acme/data", "acme/more", "rival/data"];
const DOCUMENTS: [&str; 2] = ["one", "two"];
const TENANTS: [&str; 2] = ["acme", "rival"];

/// A company that the tenants may stand by, a person's certificate of it, and an organisation that may join. Their keys are made once.
static COMPANY: LazyLock<Company> = LazyLock::new(|| Company::new("a company", None));
static HOLDER: LazyLock<Holder> = LazyLock::new(|| COMPANY.certify("a person", 7, 30));
static DELTA: LazyLock<Authority> = LazyLock::new(|| Authority::new("delta"));

/// Something somebody tries; the numbers are indices into the names above.
#[derive(Debug, Clone)]
enum Attempt {
    Register(usize),
    Suspend(usize),
    Resume(usize),
    Expire(usize, bool),
    Create(usize),
    Configure(usize),
    Request(usize, Role),
    Decide(usize, bool),
    Add(usize, Role, usize),
    Remove(usize, Role, usize),
    SetReaders(usize, Vec<usize>),
    Write(usize, usize, bool),
    Read(usize, usize),
    Link(usize, usize),
    Erase(usize, usize),
    Rewrap(usize, usize),
    Rotate(u8),
    Authorities(usize, bool),
    Certify(usize, bool),
    Publish(usize),
    /// Of the change that is possible now: delta comes or goes.
    Endorse,
    Withdraw,
}

/// How it is signed.
#[derive(Debug, Clone)]
enum Signing {
    Right,
    /// By somebody else, or with a key that its author had before.
    Wrong(usize),
    /// It is one that was accepted before.
    Replay(usize),
}

fn attempts() -> impl Strategy<Value = Vec<(usize, Attempt, Signing)>> {
    let (user, data, document) = (0..USERS.len(), 0..DATASETS.len(), 0..DOCUMENTS.len());
    let role = prop_oneof![Just(Role::Owner), Just(Role::Writer), Just(Role::Reader)];
    let attempt = prop_oneof![
        1 => user.clone().prop_map(Attempt::Register),
        1 => user.clone().prop_map(Attempt::Suspend),
        1 => user.clone().prop_map(Attempt::Resume),
        1 => (user.clone(), any::<bool>()).prop_map(|(u, past)| Attempt::Expire(u, past)),
        3 => data.clone().prop_map(Attempt::Create),
        1 => data.clone().prop_map(Attempt::Configure),
        2 => (data.clone(), role.clone()).prop_map(|(d, r)| Attempt::Request(d, r)),
        2 => (data.clone(), any::<bool>()).prop_map(|(d, grant)| Attempt::Decide(d, grant)),
        4 => (data.clone(), role.clone(), user.clone()).prop_map(|(d, r, u)| Attempt::Add(d, r, u)),
        3 => (data.clone(), role, user.clone()).prop_map(|(d, r, u)| Attempt::Remove(d, r, u)),
        1 => (data.clone(), prop::collection::vec(user.clone(), 0..3)).prop_map(|(d, us)| Attempt::SetReaders(d, us)),
        5 => (data.clone(), document.clone(), any::<bool>()).prop_map(|(d, o, right)| Attempt::Write(d, o, right)),
        5 => (data.clone(), document.clone()).prop_map(|(d, o)| Attempt::Read(d, o)),
        1 => (data.clone(), document.clone()).prop_map(|(d, o)| Attempt::Link(d, o)),
        1 => (data.clone(), document.clone()).prop_map(|(d, o)| Attempt::Erase(d, o)),
        2 => (data, document).prop_map(|(d, o)| Attempt::Rewrap(d, o)),
        2 => any::<u8>().prop_map(Attempt::Rotate),
        1 => (0..TENANTS.len(), any::<bool>()).prop_map(|(t, any)| Attempt::Authorities(t, any)),
        2 => (user.clone(), any::<bool>()).prop_map(|(u, bound)| Attempt::Certify(u, bound)),
        1 => (0..TENANTS.len()).prop_map(Attempt::Publish),
        4 => Just(Attempt::Endorse),
        1 => Just(Attempt::Withdraw),
    ];
    let signing = prop_oneof![
        12 => Just(Signing::Right),
        1 => (0..AUTHORS.len()).prop_map(Signing::Wrong),
        1 => any::<usize>().prop_map(Signing::Replay),
    ];
    // Users more often than organisations, which may little.
    let author = prop_oneof![6 => user, 2 => USERS.len()..AUTHORS.len()];
    prop::collection::vec((author, attempt, signing), 1..80)
}

/// Makes a transaction of an attempt that has a chance: with the right version, a key for this write, and so on.
fn transaction(peer: &Peer, oracle: &Oracle, author: &str, attempt: &Attempt) -> Transaction {
    let replica = peer.replica();
    let document =
        |data: usize, document: usize| format!("{}/{}", DATASETS[data], DOCUMENTS[document]);
    let latest = |name: &str| {
        let document = version(name, 1).document_name();
        replica.with_state(|state| {
            state
                .document(&document)
                .map_or(0, |document| document.latest)
        })
    };
    match attempt {
        Attempt::Register(who) => user_register(USERS[*who], UserRole::Member),
        Attempt::Suspend(who) => Transaction::UserSuspend(user(USERS[*who])),
        Attempt::Resume(who) => Transaction::UserResume(user(USERS[*who])),
        Attempt::Expire(who, past) => {
            let UserName { tenant, user } = user(USERS[*who]);
            Transaction::UserExpire(UserExpire {
                tenant,
                user,
                expires_ms: past.then_some(GENESIS_MS),
            })
        }
        Attempt::Configure(data) => {
            let DatasetName { tenant, dataset } = dataset(DATASETS[*data]);
            let name = DatasetName {
                tenant: tenant.clone(),
                dataset: dataset.clone(),
            };
            let present =
                replica.with_state(|state| state.dataset(&name).map_or(0, |it| it.version));
            Transaction::DatasetConfigure(DatasetConfigure {
                tenant,
                dataset,
                version: present + 1,
                encryption: threshold("Y"),
                storage: Storage::OffChain,
            })
        }
        Attempt::Request(data, role) => {
            let DatasetName { tenant, dataset } = dataset(DATASETS[*data]);
            let role = *role;
            Transaction::AccessRequest(AccessRequest {
                tenant,
                dataset,
                role,
            })
        }
        Attempt::Decide(data, grant) => {
            let name = dataset(DATASETS[*data]);
            // Whatever is open there; something that nobody asked for, if nothing is.
            let open = replica.with_state(|state| {
                let mut known = state.access(&name, None);
                let open = known.find(|(_, it)| it.status == AccessStatus::Open);
                open.map(|(key, it)| (key.user.clone(), key.role, it.request))
            });
            let (user, role, request) =
                open.unwrap_or_else(|| (user("acme/bob"), Role::Reader, [0; 32]));
            let decision = AccessDecision {
                tenant: name.tenant,
                dataset: name.dataset,
                role,
                user,
                request,
            };
            match grant {
                true => Transaction::AccessGrant(decision),
                false => Transaction::AccessDecline(decision),
            }
        }
        Attempt::Create(data) => dataset_create(DATASETS[*data], threshold("Y"), Storage::OffChain),
        Attempt::Add(data, role, who) => grant(DATASETS[*data], *role, USERS[*who]),
        Attempt::Remove(data, role, who) => revoke(DATASETS[*data], *role, USERS[*who]),
        Attempt::SetReaders(data, who) => {
            let name = dataset(DATASETS[*data]);
            let present =
                replica.with_state(|state| state.permissions(&name).map_or(0, |it| it.version));
            let users: BTreeSet<_> = who.iter().map(|who| user(USERS[*who])).collect();
            let (tenant, dataset, users) = (name.tenant, name.dataset, users.into_iter().collect());
            Transaction::PermissionSet(PermissionSet {
                tenant,
                dataset,
                version: present + 1,
                role: Role::Reader,
                users,
            })
        }
        Attempt::Write(data, number, right) => {
            let name = document(*data, *number);
            let right = *right && author.contains('/');
            let writer = if right { author } else { "acme/bob" };
            Transaction::Write(threshold_write(
                &name,
                latest(&name) + 1,
                writer,
                &cluster("Y"),
            ))
        }
        Attempt::Read(data, number) => {
            let name = version(
                &document(*data, *number),
                latest(&document(*data, *number)).max(1),
            );
            let readable = |state: &_| {
                threshold_of(state, &name).map(|_| threshold_read(state, &name, &spki("c")).0)
            };
            Transaction::Read(
                replica
                    .with_state(readable)
                    .unwrap_or_else(|| plain_read(&name)),
            )
        }
        Attempt::Link(data, number) => {
            let (from, to) = (
                version(&document(*data, *number), 1),
                version(&document(*data, 1 - *number), 1),
            );
            let (tenant, dataset) = (from.tenant.clone(), from.dataset.clone());
            Transaction::Link(Link {
                tenant,
                dataset,
                link: id("l"),
                version: 1,
                from,
                to,
                relation: id("of"),
            })
        }
        Attempt::Erase(data, number) => {
            let name = version(&document(*data, *number), 1);
            let (tenant, dataset, document) = (name.tenant, name.dataset, name.document);
            Transaction::Erase(Erase {
                tenant,
                dataset,
                document,
                version: None,
            })
        }
        Attempt::Rewrap(data, number) => {
            let name = version(&document(*data, *number), 1);
            let replaces = replica.with_state(|state| {
                let version = state.version(&name)?;
                version.content.as_ref()?.key.digest()
            });
            // Whoever wrote it may have been another: then the label is not right.
            let wrapped = wrapped(&cluster("Y"), &name, "acme/ann");
            Transaction::Rewrap(Rewrap {
                replaces: replaces.unwrap_or([0; 32]),
                wrapped_key: wrapped.as_bytes().to_vec(),
                tenant: name.tenant,
                dataset: name.dataset,
                document: name.document,
                version: 1,
            })
        }
        Attempt::Rotate(number) => {
            // An organisation tries it for a user.
            let who = user(if author.contains('/') {
                author
            } else {
                "acme/ann"
            });
            rotate_key(&oracle.ledger, &who, &key(&rotated(&who, *number)))
        }
        Attempt::Authorities(tenant, any) => {
            let companies = [&*COMPANY];
            let companies = if *any { &companies[..] } else { &[] };
            authorities(TENANTS[*tenant], companies)
        }
        Attempt::Certify(who, bound) => match bound {
            true => {
                let seed = oracle.seed(&Author::User(user(USERS[*who])));
                HOLDER.bind(&oracle.ledger, USERS[*who], &seed, &[])
            }
            false => certify(USERS[*who], None),
        },
        Attempt::Publish(tenant) => {
            // Of nobody's certificate: what a revoked one takes is tested for itself.
            let list = COMPANY.list(&[1000], 1, GENESIS_MS / 1000);
            publish(TENANTS[*tenant], &[COMPANY.certificate.as_slice()], list)
        }
        Attempt::Endorse => {
            let change = oracle.change();
            Transaction::OrganisationEndorse(OrganisationEndorse { change })
        }
        Attempt::Withdraw => {
            let change = oracle.change().id();
            Transaction::OrganisationWithdraw(OrganisationWithdraw { change })
        }
    }
}

/// Signed by whom the attempt says; or one of before again.
fn candidate(
    peer: &Peer,
    oracle: &Oracle,
    author: &str,
    attempt: &Attempt,
    signing: &Signing,
) -> SignedTransaction {
    if let Signing::Replay(number) = signing {
        return oracle.accepted[number % oracle.accepted.len()].clone();
    }
    let transaction = transaction(peer, oracle, author, attempt);
    let author = match author.contains('/') {
        true => Author::User(user(author)),
        false => Author::Organisation(id(author)),
    };
    let seed = match signing {
        Signing::Wrong(other) if AUTHORS[*other].contains('/') => AUTHORS[*other].to_owned(),
        Signing::Wrong(other) => format!("operator {}", AUTHORS[*other]),
        _ => oracle.seed(&author),
    };
    UnsignedTransaction {
        ledger: oracle.ledger,
        author,
        nonce: rand::random(),
        expires_ms: GENESIS_MS + 60_000,
        transaction,
    }
    .sign(&key(&seed))
}

fn threshold_of(
    state: &coordinator::record::State,
    name: &coordinator::record::VersionName,
) -> Option<coordinator::record::ThresholdKey> {
    state.version(name)?.content.as_ref()?.threshold
}

fn root(peer: &Peer) -> Hash {
    peer.replica()
        .header()
        .map_or([0; 32], |header| header.state_root)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn peers_agree_and_permission_rules(attempts in attempts(), block_size in 1usize..5) {
        let founders = Founders::new(&["alpha", "beta", "gamma"]);
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let path = folder.path().join(name);
            Peer::open(&path, &founders.genesis, founders.peer(name), ApprovalTerms::default()).unwrap()
        };
        let (mut first, mut second) = (open("alpha"), open("beta"));
        let mut oracle = Oracle::of(founders.genesis.id());
        let mut run = |first: &mut Peer, oracle: &mut Oracle, candidates: Vec<SignedTransaction>| {
            let (height, parent, time_ms) = first.tip();
            let proposal = Proposal { height: height + 1, parent, time_ms: time_ms + 10, candidates };
            let (a, b) = (first.execute(&proposal).unwrap(), second.execute(&proposal).unwrap());
            assert_eq!(a.block.map(|it| it.hash()), b.block.map(|it| it.hash()));
            assert_eq!(a.outcomes, b.outcomes);
            for (candidate, outcome) in proposal.candidates.iter().zip(a.outcomes) {
                match outcome {
                    Ok(_) => {
                        assert!(oracle.permits(candidate), "{candidate:?} was accepted");
                        oracle.learn(candidate);
                    }
                    Err(rejection) if rejection.code() == "not-permitted" => {
                        let link = matches!(candidate.transaction(), Transaction::Link(_));
                        assert!(link || !oracle.permits(candidate), "{candidate:?} was refused: {rejection}");
                    }
                    Err(_) => {}
                }
            }
        };
        let ledger = founders.genesis.id();
        for (transaction, author) in founding() {
            run(&mut first, &mut oracle, vec![signed(&ledger, author, transaction, GENESIS_MS)]);
        }
        for block in attempts.chunks(block_size) {
            let candidates = block.iter().map(|(author, attempt, signing)| {
                candidate(&first, &oracle, AUTHORS[*author], attempt, signing)
            });
            let candidates = candidates.collect();
            run(&mut first, &mut oracle, candidates);
        }
        let delta = first.replica().with_state(|state| state.organisation(&id("delta")).is_some());
        prop_assert_eq!(delta, oracle.delta_is_in);
        let (tip, end) = (first.tip(), root(&first));
        prop_assert_eq!(root(&second), end);

        // From the blocks alone, everything verified, and from the own store.
        let mut third = open("gamma");
        for height in 1..=tip.0 {
            third.adopt(&first.replica().block(height).unwrap().unwrap()).unwrap();
        }
        prop_assert_eq!((third.tip(), root(&third)), (tip, end));
        drop((first, third));
        for name in ["alpha", "gamma"] {
            let again = open(name);
            prop_assert_eq!((again.tip(), root(&again)), (tip, end));
        }
    }
}

#[test]
fn encryption_none_has_no_threshold_key() {
    let mut ledger = Ledger::with_dataset(Encryption::None, Storage::OffChain);
    ledger.accept(
        "acme/bob",
        Transaction::Write(plain_write("acme/data/doc", 1)),
    );
    assert!(threshold_of(&ledger.state, &version("acme/data/doc", 1)).is_none());
}
