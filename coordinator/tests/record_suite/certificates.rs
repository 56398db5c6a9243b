//! Users who are bound to certificates of their companies: bound, renewed, revoked, expired.

use crate::{
    approvals::{code, finalise},
    ledger::*,
    solo::{Site, codes},
};
use certs::chain::sign_statement;
use coordinator::record::{
    Certification, ClientCertify, ClientName, FresherLists, RevocationsPublish, TenantAuthorities,
    Transaction, UserCertify, certificate_statement, client_statement, rotate_key,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use time::OffsetDateTime;

pub const NOW_S: u64 = GENESIS_MS / 1000;
pub const DAY_S: u64 = 86_400;

fn at(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds as i64).unwrap()
}

fn parameters(name: &str, serial: u64, days: u64) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = at(NOW_S - DAY_S);
    params.not_after = at(NOW_S + days * DAY_S);
    params
}

/// An authority of a company.
pub struct Company {
    pub certificate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Company {
    pub fn new(name: &str, above: Option<(&Self, u64)>) -> Self {
        let serial = above.map_or(1, |(_, serial)| serial);
        let mut params = parameters(name, serial, 365);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = match above {
            Some((above, _)) => params.signed_by(&key, &above.issuer),
            None => params.self_signed(&key),
        };
        Self {
            certificate: certificate.unwrap().der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A person's certificate.
    pub fn certify(&self, name: &str, serial: u64, days: u64) -> Holder {
        let mut params = parameters(name, serial, days);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Holder {
            certificate: certificate.der().to_vec(),
            key: key.serialize_pem(),
        }
    }

    pub fn list(&self, serials: &[u64], number: u64, at_s: u64) -> Vec<u8> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: at(at_s),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: at(at_s),
            next_update: at(at_s + DAY_S),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

pub struct Holder {
    certificate: Vec<u8>,
    key: String,
}

impl Holder {
    /// Bound to a user whose key is that of `key_of`.
    pub fn bind(&self, ledger: &[u8; 32], who: &str, key_of: &str, above: &[&[u8]]) -> Transaction {
        let statement = certificate_statement(ledger, &user(who), &public(key_of));
        let proof = sign_statement(&self.key, &statement).unwrap();
        certify(who, Some(self.certification(proof, above)))
    }

    /// Bound to a client of a tenant.
    pub fn bind_client(&self, ledger: &[u8; 32], client: &ClientName) -> Transaction {
        let proof = sign_statement(&self.key, &client_statement(ledger, client)).unwrap();
        certify_client(client, Some(self.certification(proof, &[])))
    }

    fn certification(&self, proof: Vec<u8>, above: &[&[u8]]) -> Certification {
        let mut chain = vec![ByteBuf::from(self.certificate.as_slice())];
        chain.extend(above.iter().map(|der| ByteBuf::from(*der)));
        Certification { chain, proof }
    }
}

/// The client of a tenant that has this TLS key.
pub fn client(tenant: &str, spki: &[u8]) -> ClientName {
    ClientName {
        tenant: id(tenant),
        client: Sha256::digest(spki).into(),
    }
}

pub fn certify_client(name: &ClientName, certificate: Option<Certification>) -> Transaction {
    Transaction::ClientCertify(ClientCertify {
        tenant: name.tenant.clone(),
        client: name.client,
        certificate,
    })
}

pub fn certify(who: &str, certificate: Option<Certification>) -> Transaction {
    let name = user(who);
    Transaction::UserCertify(UserCertify {
        tenant: name.tenant,
        user: name.user,
        certificate,
    })
}

pub fn authorities(tenant: &str, companies: &[&Company]) -> Transaction {
    authorities_and(tenant, companies, false)
}

pub fn authorities_and(tenant: &str, companies: &[&Company], bound_clients: bool) -> Transaction {
    let mut authorities: Vec<_> = companies
        .iter()
        .map(|it| ByteBuf::from(it.certificate.as_slice()))
        .collect();
    authorities.sort();
    Transaction::TenantAuthorities(TenantAuthorities {
        tenant: id(tenant),
        authorities,
        bound_clients,
    })
}

pub fn publish(tenant: &str, chain: &[&[u8]], list: Vec<u8>) -> Transaction {
    Transaction::RevocationsPublish(RevocationsPublish {
        tenant: id(tenant),
        chain: chain.iter().map(|der| ByteBuf::from(*der)).collect(),
        list,
    })
}

/// What eve, who reads `acme/data`, gets when she signs something.
fn eve_signs(ledger: &mut Ledger) -> &'static str {
    let link = rotate_key(&ledger.id, &user("acme/eve"), &key("acme/eve"));
    // Refused in any case, but for its own reason only if eve may sign at all.
    ledger.refuse("acme/eve", link)
}

const MAY: &str = "key-unchanged";

#[test]
fn a_revoked_certificate_takes_everything_from_its_user_and_another_gives_it_back() {
    let mut ledger = Ledger::with_users();
    let ledger_id = ledger.id;
    let root = Company::new("root", None);
    let people = Company::new("people", Some((&root, 40)));
    let eve = people.certify("eve", 7, 30);
    let above: [&[u8]; 1] = [&people.certificate];
    let bind = |holder: &Holder| holder.bind(&ledger_id, "acme/eve", "acme/eve", &above);

    assert_eq!(ledger.refuse("acme/eve", bind(&eve)), "unknown-authorities");
    assert_eq!(
        ledger.refuse("acme/eve", authorities("acme", &[&root])),
        "not-administrator"
    );
    ledger.accept("acme/root", authorities("acme", &[&root]));
    ledger.accept("acme/eve", bind(&eve));
    assert_eq!(eve_signs(&mut ledger), MAY);

    // Somebody else's serial number; then hers; and an older list does not give it back.
    let list =
        |serials: &[u64], number| publish("acme", &above, people.list(serials, number, NOW_S));
    ledger.accept("acme/root", list(&[8], 1));
    assert_eq!(eve_signs(&mut ledger), MAY);
    assert_eq!(ledger.refuse("acme/eve", list(&[], 2)), "not-administrator");
    ledger.accept("acme/root", list(&[7, 8], 2));
    assert_eq!(eve_signs(&mut ledger), "certificate-revoked");
    assert_eq!(ledger.refuse("acme/root", list(&[8], 1)), "revocation-list");

    // She does not get out of it herself; an administrator binds her to another one, or to none.
    let renewed = people.certify("eve", 9, 30);
    assert_eq!(
        ledger.refuse("acme/eve", bind(&renewed)),
        "certificate-revoked"
    );
    assert_eq!(
        ledger.refuse("acme/root", bind(&eve)),
        "certificate-revoked"
    );
    ledger.accept("acme/root", bind(&renewed));
    assert_eq!(eve_signs(&mut ledger), MAY);
    ledger.accept("acme/root", list(&[7, 8, 9], 3));
    assert_eq!(eve_signs(&mut ledger), "certificate-revoked");
    ledger.accept("acme/root", certify("acme/eve", None));
    assert_eq!(eve_signs(&mut ledger), MAY);
    assert_eq!(
        ledger.refuse("acme/root", certify("acme/eve", None)),
        "certificate-unbound"
    );

    // The authority between is revoked by the one above.
    ledger.accept("acme/root", bind(&people.certify("eve", 10, 30)));
    ledger.accept("alpha", publish("acme", &[], root.list(&[40], 1, NOW_S)));
    assert_eq!(eve_signs(&mut ledger), "certificate-revoked");
    ledger.accept("alpha", publish("acme", &[], root.list(&[], 2, NOW_S)));
    assert_eq!(eve_signs(&mut ledger), MAY);

    // The tenant stands by the authority no more; by another one beside it as well.
    let other = Company::new("other", None);
    ledger.accept("alpha", authorities("acme", &[&other]));
    assert_eq!(eve_signs(&mut ledger), "certificate-unanchored");
    ledger.accept("alpha", authorities("acme", &[&other, &root]));
    assert_eq!(eve_signs(&mut ledger), MAY);
    ledger.accept("acme/root", authorities("acme", &[]));
    assert_eq!(eve_signs(&mut ledger), "certificate-unanchored");
}

#[test]
fn a_certificate_ends_with_its_time_and_that_of_all_above_it() {
    let mut ledger = Ledger::with_users();
    let ledger_id = ledger.id;
    let root = Company::new("root", None);
    ledger.accept("acme/root", authorities("acme", &[&root]));
    let eve = root.certify("eve", 7, 2);
    ledger.accept(
        "acme/eve",
        eve.bind(&ledger_id, "acme/eve", "acme/eve", &[]),
    );
    ledger.block.time_ms = (NOW_S + 2 * DAY_S) * 1000 - 1000;
    assert_eq!(eve_signs(&mut ledger), MAY);
    assert_eq!(eve_signs(&mut ledger), "certificate-expired");
    let late = eve.bind(&ledger_id, "acme/eve", "acme/eve", &[]);
    assert_eq!(ledger.refuse("acme/root", late), "certificate-chain");
    // Renewed by somebody else; nobody's lists are needed for it, but the root's time is.
    let renewed = root.certify("eve", 8, 1000);
    ledger.accept(
        "acme/root",
        renewed.bind(&ledger_id, "acme/eve", "acme/eve", &[]),
    );
    ledger.block.time_ms = (NOW_S + 366 * DAY_S) * 1000;
    assert_eq!(eve_signs(&mut ledger), "certificate-unanchored");
}

#[test]
fn a_binding_is_of_this_user_this_key_and_this_holder() {
    let mut ledger = Ledger::with_users();
    let ledger_id = ledger.id;
    let root = Company::new("root", None);
    ledger.accept("acme/root", authorities("acme", &[&root]));
    let (eve, bob) = (root.certify("eve", 7, 30), root.certify("bob", 8, 30));
    let proofs = [
        eve.bind(&[9; 32], "acme/eve", "acme/eve", &[]),
        eve.bind(&ledger_id, "acme/eve", "acme/bob", &[]),
    ];
    for wrong in proofs {
        assert_eq!(ledger.refuse("acme/eve", wrong), "certificate-proof");
    }
    let of_other = |holder: &Holder| {
        let Transaction::UserCertify(mut it) = holder.bind(&ledger_id, "acme/bob", "acme/bob", &[])
        else {
            unreachable!()
        };
        it.user = id("eve");
        Transaction::UserCertify(it)
    };
    assert_eq!(
        ledger.refuse("acme/eve", of_other(&bob)),
        "certificate-proof"
    );
    let eves = |holder: &Holder| holder.bind(&ledger_id, "acme/eve", "acme/eve", &[]);
    assert_eq!(ledger.refuse("acme/bob", eves(&eve)), "not-administrator");
    assert_eq!(ledger.refuse("rival/root", eves(&eve)), "not-administrator");
    let stranger = Company::new("root", None).certify("eve", 7, 30);
    assert_eq!(
        ledger.refuse("acme/eve", eves(&stranger)),
        "certificate-chain"
    );
    ledger.accept("acme/eve", eves(&eve));

    // A rotation keeps the binding: nobody rotates out of a certificate that will be revoked.
    let new_key = key("eve's new key");
    ledger.accept(
        "acme/eve",
        rotate_key(&ledger_id, &user("acme/eve"), &new_key),
    );
    let bound = ledger.state.user(&user("acme/eve")).unwrap();
    assert!(bound.certificate.is_some());
    // Renewed by herself in her name only.
    let sign = |ledger: &Ledger, transaction| {
        let content = ledger.sign("acme/eve", transaction).content().clone();
        content.sign(&new_key)
    };
    for (holder, code) in [
        (&bob, Some("certificate-subject")),
        (&root.certify("eve", 9, 30), None),
    ] {
        let renewal = holder.bind(&ledger_id, "acme/eve", "eve's new key", &[]);
        let signed = sign(&ledger, renewal);
        let outcome = ledger.apply_signed(&signed).map_err(|it| it.code());
        assert_eq!(outcome.err(), code);
    }
    let unbind = sign(&ledger, certify("acme/eve", None));
    let refused = ledger.apply_signed(&unbind).unwrap_err();
    assert_eq!(refused.code(), "not-administrator");
    // Not even an administrator lets itself out.
    let admin = root.certify("admin", 10, 30);
    let bind = admin.bind(&ledger_id, "acme/root", "acme/root", &[]);
    ledger.accept("acme/root", bind);
    let refused = ledger.refuse("acme/root", certify("acme/root", None));
    assert_eq!(refused, "own-account");
}

#[test]
fn what_is_no_authority_or_no_list_is_refused() {
    let mut ledger = Ledger::with_users();
    let root = Company::new("root", None);
    let other = Company::new("other", None);
    let eve = root.certify("eve", 7, 30);
    let raw = |list: Vec<Vec<u8>>| {
        Transaction::TenantAuthorities(TenantAuthorities {
            tenant: id("acme"),
            authorities: list.into_iter().map(ByteBuf::from).collect(),
            bound_clients: false,
        })
    };
    let mut both = vec![root.certificate.clone(), other.certificate.clone()];
    both.sort();
    both.reverse();
    assert_eq!(
        ledger.refuse("acme/root", raw(both)),
        "authorities-not-sorted"
    );
    let twice = vec![root.certificate.clone(), root.certificate.clone()];
    assert_eq!(
        ledger.refuse("acme/root", raw(twice)),
        "authorities-not-sorted"
    );
    let many = vec![root.certificate.clone(); 9];
    assert_eq!(ledger.refuse("acme/root", raw(many)), "too-large");
    for no_authority in [eve.certificate.clone(), vec![1, 2, 3], vec![]] {
        let refused = ledger.refuse("acme/root", raw(vec![no_authority]));
        assert_eq!(refused, "certificate-chain");
    }
    assert_eq!(
        ledger.refuse("rival/root", authorities("acme", &[&root])),
        "not-administrator"
    );

    let list = root.list(&[7], 1, NOW_S);
    let mut publish = |list: Vec<u8>| ledger.refuse("acme/root", publish("acme", &[], list));
    assert_eq!(publish(list.clone()), "unknown-authorities");
    let registered = authorities("acme", &[&root]);
    ledger.accept("acme/root", registered);
    let mut publish = |chain: &[&[u8]], list: Vec<u8>| {
        ledger.refuse("acme/root", self::publish("acme", chain, list))
    };
    assert_eq!(publish(&[], other.list(&[7], 1, NOW_S)), "revocation-list");
    assert_eq!(
        publish(&[], list[..list.len() - 1].to_vec()),
        "revocation-list"
    );
    assert_eq!(publish(&[], vec![0; 70_000]), "too-large");
    assert_eq!(
        publish(&[], root.list(&[7], 1, NOW_S + 3_600)),
        "revocation-list"
    );
    assert_eq!(
        publish(&[&eve.certificate], list.clone()),
        "certificate-chain"
    );
    assert_eq!(publish(&[&other.certificate], list), "certificate-chain");
}

/// At the peers: a read that was fine gets no approval once the certificate is revoked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_approval_is_had_with_a_revoked_certificate_and_none_outlives_it() {
    let mut site = Site::with_document().await;
    let root = Company::new("root", None);
    let ledger = site.record.ledger();
    let registered = authorities("acme", &[&root]);
    site.submit("acme/root", registered).await.unwrap();
    let eve = root.certify("eve", 7, 30);
    let bind = eve.bind(&ledger, "acme/eve", "acme/eve", &[]);
    site.submit("acme/eve", bind).await.unwrap();

    let (read, ..) = site.read("acme/eve").await;
    let (later, ..) = site.read("acme/eve").await;
    assert_eq!(codes(&site.record.approvals(read).await), ["ok"; 4]);
    let now_s = site.now() / 1000;
    let revoke = publish("acme", &[], root.list(&[7], 1, now_s));
    site.submit("acme/root", revoke).await.unwrap();
    for read in [read, later] {
        let said = codes(&site.record.approvals(read).await);
        assert_eq!(said, ["certificate-revoked"; 4]);
    }
    // Also after a restart, from the stores alone.
    site.reopen(|_| {}).await;
    let said = codes(&site.record.approvals(later).await);
    assert_eq!(said, ["certificate-revoked"; 4]);

    // An approval ends with the certificate.
    site.submit("acme/root", certify("acme/eve", None))
        .await
        .unwrap();
    let short = root.certify("eve", 8, 1);
    let bind = short.bind(&ledger, "acme/eve", "acme/eve", &[]);
    site.submit("acme/root", bind).await.unwrap();
    let ends_s = NOW_S + DAY_S;
    site.pass((ends_s - 20) * 1000 - site.now());
    let (read, ..) = site.read("acme/eve").await;
    let approvals = site.record.approvals(read).await;
    let certificate = approvals[0].result.as_ref().unwrap();
    let approval = certs::UnverifiedApproval::parse(certificate).unwrap();
    assert_eq!(approval.not_after(), ends_s);
}

/// A list that one peer has and the record has not: that peer approves nothing, and nobody else is bound by it.
#[test]
fn a_peer_that_knows_of_a_revocation_before_the_record_approves_nothing() {
    let bench = crate::approvals::Bench::new();
    let [mut alpha, mut beta] = bench.peers(["alpha", "beta"]);
    let read = bench.with_read(&mut [&mut alpha, &mut beta]);
    let root = Company::new("root", None);
    let ledger = bench.founders.genesis.id();
    let peers = &mut [&mut alpha, &mut beta];
    bench.execute(peers, "acme/root", authorities("acme", &[&root]));
    let eve = root.certify("eve", 7, 30);
    let bind = eve.bind(&ledger, "acme/eve", "acme/eve", &[]);
    bench.execute(peers, "acme/eve", bind);
    finalise(peers);
    let lists = Arc::new(FresherLists::default());
    alpha.consult(lists.clone());
    let authority = certs::chain::PkiAuthority::from_der(&root.certificate).unwrap();
    for (serials, expected) in [
        (vec![8], "ok"),
        (vec![7], "certificate-revoked"),
        (vec![], "ok"),
    ] {
        let list = root.list(&serials, 1, NOW_S);
        let list = authority.revocation_list(&list).unwrap();
        let revoked = list.serials().map(<[u8]>::to_vec).collect();
        lists.put(authority.key_hash(), revoked);
        assert_eq!(code(&mut alpha, read, bench.now_ms), expected);
        assert_eq!(code(&mut beta, read, bench.now_ms), "ok");
    }
}
