//! Random histories: all peers come to the same state, and nothing happens that permission forbids.

use crate::ledger::*;
use coordinator::record::{
    AccessDecision, AccessRequest, AccessStatus, ApprovalTerms, Author, DatasetConfigure,
    DatasetName, Encryption, Erase, Hash, Identifier, Link, PermissionSet, Role, SignedTransaction,
    Storage, Transaction, UserExpire, UserName, UserRole,
    peer::{Peer, Proposal},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

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
}

fn attempts() -> impl Strategy<Value = Vec<(usize, Attempt)>> {
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
        1 => (data, document).prop_map(|(d, o)| Attempt::Erase(d, o)),
    ];
    // Users more often than organisations, which may little.
    let author = prop_oneof![6 => user, 1 => USERS.len()..AUTHORS.len()];
    prop::collection::vec((author, attempt), 1..60)
}

/// What may happen, told once more and as simply as can be; it sees accepted transactions and nothing of the state.
#[derive(Default)]
struct Oracle {
    suspended: BTreeSet<UserName>,
    expired: BTreeSet<UserName>,
    users: BTreeSet<UserName>,
    /// Who registered each tenant.
    tenants: BTreeMap<Identifier, Identifier>,
    roles: BTreeMap<DatasetName, BTreeSet<(Role, UserName)>>,
}

impl Oracle {
    fn has(&self, who: &UserName, dataset: &DatasetName, role: Role) -> bool {
        let roles = self.roles.get(dataset);
        roles.is_some_and(|roles| {
            roles.contains(&(role, who.clone())) || roles.contains(&(Role::Owner, who.clone()))
        })
    }

    fn permits(&self, signed: &SignedTransaction) -> bool {
        let who = match signed.author() {
            Author::User(who) | Author::Managed(who) => who,
            // An organisation manages the users of the tenants that it registered, and nothing that is in them.
            Author::Organisation(name) => {
                let tenant = match signed.transaction() {
                    Transaction::TenantRegister(_) => return true,
                    Transaction::UserRegister(it) => &it.tenant,
                    Transaction::UserSuspend(it) | Transaction::UserResume(it) => &it.tenant,
                    Transaction::UserExpire(it) => &it.tenant,
                    _ => return false,
                };
                return self.tenants.get(tenant) == Some(name);
            }
        };
        let inactive = self.suspended.contains(who) || self.expired.contains(who);
        if inactive || !self.users.contains(who) {
            return false;
        }
        let at = |tenant: &_, dataset: &_| DatasetName {
            tenant: Clone::clone(tenant),
            dataset: Clone::clone(dataset),
        };
        match signed.transaction() {
            Transaction::UserRegister(it) => who.user.as_str() == "root" && who.tenant == it.tenant,
            Transaction::UserSuspend(it) | Transaction::UserResume(it) => {
                who.user.as_str() == "root" && who.tenant == it.tenant
            }
            Transaction::UserExpire(it) => who.user.as_str() == "root" && who.tenant == it.tenant,
            Transaction::DatasetCreate(it) => who.tenant == it.tenant,
            Transaction::DatasetConfigure(it) => {
                self.has(who, &at(&it.tenant, &it.dataset), Role::Owner)
            }
            // Anybody may ask.
            Transaction::AccessRequest(_) => true,
            Transaction::AccessGrant(it) | Transaction::AccessDecline(it) => {
                self.has(who, &at(&it.tenant, &it.dataset), Role::Owner)
            }
            Transaction::PermissionAdd(it) | Transaction::PermissionRemove(it) => {
                self.has(who, &at(&it.tenant, &it.dataset), Role::Owner)
            }
            Transaction::PermissionSet(it) => {
                self.has(who, &at(&it.tenant, &it.dataset), Role::Owner)
            }
            Transaction::Write(it) => self.has(who, &at(&it.tenant, &it.dataset), Role::Writer),
            Transaction::Link(it) => self.has(who, &at(&it.tenant, &it.dataset), Role::Writer),
            Transaction::Read(it) => self.has(who, &at(&it.tenant, &it.dataset), Role::Reader),
            Transaction::Erase(it) => self.has(who, &at(&it.tenant, &it.dataset), Role::Owner),
            Transaction::Rewrap(it) => self.has(who, &at(&it.tenant, &it.dataset), Role::Owner),
            other => panic!("{} is not attempted", other.kind()),
        }
    }

    fn learn(&mut self, signed: &SignedTransaction) {
        let at = |tenant: &_, dataset: &_| DatasetName {
            tenant: Clone::clone(tenant),
            dataset: Clone::clone(dataset),
        };
        match (signed.transaction(), signed.author()) {
            (Transaction::TenantRegister(it), author) => {
                if let Author::Organisation(name) = author {
                    self.tenants.insert(it.tenant.clone(), name.clone());
                }
                self.users.insert(UserName {
                    tenant: it.tenant.clone(),
                    user: it.administrator.clone(),
                });
            }
            (Transaction::UserRegister(it), _) => {
                self.users.insert(UserName {
                    tenant: it.tenant.clone(),
                    user: it.user.clone(),
                });
            }
            (Transaction::UserSuspend(it), _) => drop(self.suspended.insert(it.clone())),
            (Transaction::UserResume(it), _) => drop(self.suspended.remove(it)),
            (Transaction::UserExpire(it), _) => {
                let user = UserName {
                    tenant: it.tenant.clone(),
                    user: it.user.clone(),
                };
                if it.expires_ms.is_some() {
                    self.expired.insert(user);
                } else {
                    self.expired.remove(&user);
                }
            }
            (Transaction::AccessGrant(it), _) => {
                let roles = self.roles.get_mut(&at(&it.tenant, &it.dataset)).unwrap();
                roles.insert((it.role, it.user.clone()));
            }
            (Transaction::DatasetCreate(it), Author::User(who)) => {
                let owner = BTreeSet::from([(Role::Owner, who.clone())]);
                self.roles.insert(at(&it.tenant, &it.dataset), owner);
            }
            (Transaction::PermissionAdd(it), _) => {
                self.roles
                    .get_mut(&at(&it.tenant, &it.dataset))
                    .unwrap()
                    .insert((it.role, it.user.clone()));
            }
            (Transaction::PermissionRemove(it), _) => {
                self.roles
                    .get_mut(&at(&it.tenant, &it.dataset))
                    .unwrap()
                    .remove(&(it.role, it.user.clone()));
            }
            (Transaction::PermissionSet(it), _) => {
                let roles = self.roles.get_mut(&at(&it.tenant, &it.dataset)).unwrap();
                roles.retain(|(role, _)| *role != it.role);
                roles.extend(it.users.iter().map(|user| (it.role, user.clone())));
            }
            _ => {}
        }
    }
}

/// Makes a transaction of an attempt that has a chance: with the right version, a key for this write, and so on.
fn transaction(peer: &Peer, author: &str, attempt: &Attempt) -> Transaction {
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
    }
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
        let mut oracle = Oracle::default();
        let mut run = |first: &mut Peer, candidates: Vec<SignedTransaction>| {
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
            run(&mut first, vec![signed(&ledger, author, transaction, GENESIS_MS)]);
        }
        for block in attempts.chunks(block_size) {
            let candidates = block.iter().map(|(author, attempt)| {
                let author = AUTHORS[*author];
                signed(&ledger, author, transaction(&first, author, attempt), GENESIS_MS)
            });
            let candidates = candidates.collect();
            run(&mut first, candidates);
        }
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
