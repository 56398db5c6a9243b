//! A peer's process that asks a company's web server for its revocation list: it knows sooner than the record, and binds nobody else.

use crate::federation::{Federation, id, success};
use crate::hospital::Hospital;
use certs::chain::sign_statement;
use coordinator::folder::Folder;
use coordinator::peer::settings::{PeerSettings, RevocationSettings};
use coordinator::platform::now_ms;
use coordinator::record::wire::Submitted;
use coordinator::record::{
    Author, Certification, SignedTransaction, TenantAuthorities, Transaction, UnsignedTransaction,
    UserCertify, UserName, certificate_statement,
};
use ed25519_dalek::SigningKey;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use serde_bytes::ByteBuf;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

const SERIAL: u64 = 77;

fn at(offset_s: i64) -> OffsetDateTime {
    let now = OffsetDateTime::from_unix_timestamp((now_ms() / 1000) as i64).unwrap();
    now + time::Duration::seconds(offset_s)
}

fn parameters(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = at(-3600);
    params.not_after = at(86_400);
    params
}

/// Signed by the hospital's administrator.
fn signed(federation: &Federation, transaction: Transaction) -> SignedTransaction {
    let unsigned = UnsignedTransaction {
        ledger: federation.genesis.id(),
        author: Author::User(admin()),
        nonce: rand::random(),
        expires_ms: now_ms() + 600_000,
        transaction,
    };
    unsigned.sign(&admin_key())
}

/// A change by the hospital's administrator.
async fn administrates(federation: &Federation, transaction: Transaction) -> u64 {
    match federation.submit(1, &signed(federation, transaction)).await {
        Submitted::Recorded { height, .. } => height,
        refused => panic!("{refused:?}"),
    }
}

fn admin() -> UserName {
    UserName {
        tenant: id("hospital"),
        user: id("admin"),
    }
}

fn admin_key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

/// Answers every question with the list.
fn serve(list: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/people.crl", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = lines
                .map_while(Result::ok)
                .take_while(|it| !it.is_empty())
                .count();
            let length = list.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&list);
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_at_an_address_keeps_the_peer_that_asks_there_from_approving() {
    let mut params = parameters("people", 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let root = params.self_signed(&key).unwrap();
    let company = Issuer::new(params, key);
    let mut params = parameters("admin", SERIAL);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let own = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = params.signed_by(&own, &company).unwrap();
    let list = CertificateRevocationListParams {
        this_update: at(-60),
        next_update: at(86_400),
        crl_number: 1_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(SERIAL),
            revocation_time: at(-60),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let url = serve(list.signed_by(&company).unwrap().der().to_vec());

    let mut federation = Federation::found(4);
    let folder = Folder::open_peer(&federation.peers[0].dir).unwrap();
    std::fs::write(folder.root().join("people.pem"), root.pem()).unwrap();
    let mut settings = PeerSettings::read(&folder).unwrap();
    settings.revocation = vec![RevocationSettings {
        authority: "people.pem".to_owned(),
        list: url,
    }];
    settings.write(&folder).unwrap();
    for peer in 0..4 {
        federation.run(peer);
    }
    let hospital = Hospital::open(&federation).await;
    let authorities = Transaction::TenantAuthorities(TenantAuthorities {
        tenant: id("hospital"),
        authorities: vec![ByteBuf::from(root.der().to_vec())],
        bound_clients: false,
    });
    administrates(&federation, authorities).await;
    let public = admin_key().verifying_key().to_bytes();
    let statement = certificate_statement(&federation.genesis.id(), &admin(), &public);
    let bind = Transaction::UserCertify(UserCertify {
        tenant: id("hospital"),
        user: id("admin"),
        certificate: Some(Certification {
            chain: vec![ByteBuf::from(certificate.der().to_vec())],
            proof: sign_statement(&own.serialize_pem(), &statement).unwrap(),
        }),
    });
    let height = administrates(&federation, bind).await;

    // The record takes the read: nobody has published that list there.
    let read = hospital.read(&federation, 2).await;
    federation.agree(&[0, 1, 2, 3], height + 1).await;
    let started = Instant::now();
    loop {
        match federation.asked(0).approve(&read).await {
            Err(error) if error.code() == "certificate-revoked" => break,
            // It may just have begun, and not have the list yet.
            answer => assert!(
                started.elapsed() < Duration::from_secs(60),
                "{answer:?}; {}",
                federation.logs()
            ),
        }
    }
    let mut approved = 0;
    for peer in 1..4 {
        while let Err(error) = federation.asked(peer).approve(&read).await {
            assert_eq!(error.code(), "peer-catching-up");
        }
        approved += 1;
    }
    assert_eq!(approved, 3);

    // What the tenant's administrators may not do, the organisation that answers for it does at its own peer; another one's operator does not.
    let people = federation.base.path().join("people.pem");
    std::fs::write(&people, root.pem()).unwrap();
    let mut own = parameters("another", 2);
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    own.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let own = own.self_signed(&key).unwrap();
    let another = federation.base.path().join("another.pem");
    std::fs::write(&another, own.pem()).unwrap();
    let (people, another) = (people.to_str().unwrap(), another.to_str().unwrap());
    let mut both = vec![
        ByteBuf::from(root.der().to_vec()),
        ByteBuf::from(own.der().to_vec()),
    ];
    both.sort();
    let step_out = Transaction::TenantAuthorities(TenantAuthorities {
        tenant: id("hospital"),
        authorities: both,
        bound_clients: false,
    });
    let refused = federation.submit(1, &signed(&federation, step_out)).await;
    let Submitted::Refused { code, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(code, "organisation-decides");
    let passphrase = federation.base.path().join("passphrase");
    let operator = |peer: usize, arguments: &[&str]| {
        let tenant = [&["tenant"][..], arguments].concat();
        let mut command = federation.peer_command(peer, &tenant);
        command.args(["--url", &federation.peers[peer].url]);
        command.arg("--passphrase-file").arg(&passphrase);
        command
    };
    let authorities = ["authorities", "hospital", people, another];
    let other = operator(1, &authorities).output().unwrap();
    assert!(!other.status.success());
    success(&mut operator(0, &authorities));
    success(&mut operator(0, &["unbind", "hospital", "admin"]));
}
