//! Stores that were lost, cut short, or tampered with.

use crate::{ledger::*, solo::Site, solo::options};
use coordinator::record::{
    ApprovalTerms, Role, SignedTransaction, Solo, Transaction,
    head::Head,
    peer::{Peer, Proposal},
};
use rusqlite::Connection;
use std::path::Path;

fn store(folder: &Path, name: &str) -> Connection {
    Connection::open(folder.join(format!("{name}.sqlite"))).unwrap()
}

/// Opens the record after something was done to beta's store, and returns the code and the sentence of the refusal.
async fn refusal(site: &Site, damage: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    for name in ORGANISATIONS {
        let file = format!("{name}.sqlite");
        std::fs::copy(site.folder.path().join(&file), folder.path().join(&file)).unwrap();
    }
    assert!(
        store(folder.path(), "beta").execute(damage, []).unwrap() > 0,
        "{damage}"
    );
    let before = std::fs::read(folder.path().join("alpha.sqlite")).unwrap();
    let opened = Solo::open(
        folder.path(),
        site.founders.genesis.clone(),
        site.founders.peers(),
        options(&site.now_ms),
    )
    .await;
    let error = opened
        .err()
        .unwrap_or_else(|| panic!("opened after: {damage}"));
    assert_eq!(
        std::fs::read(folder.path().join("alpha.sqlite")).unwrap(),
        before,
        "nothing was changed"
    );
    (error.code().to_owned(), error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tampered_store_is_refused_by_name_and_left_as_it_is() {
    let site = Site::with_document().await;
    site.read("acme/eve").await;
    site.record.close().await;
    let flip = |table: &str, column: &str, at: &str, row: &str| {
        // One bit of a blob, by way of its hexadecimal.
        format!(
            "UPDATE {table} SET {column} = CAST(substr({column}, 1, {at} - 1)
             || CASE substr({column}, {at}, 1) WHEN x'41' THEN x'42' ELSE x'41' END
             || substr({column}, {at} + 1) AS BLOB) WHERE {row}"
        )
    };
    let mut damages = vec![
        "DELETE FROM blocks WHERE height = 3".to_owned(),
        "DELETE FROM blocks WHERE height = (SELECT max(height) FROM blocks)".to_owned(),
        "DELETE FROM transactions WHERE position = 2".to_owned(),
        "UPDATE transactions SET position = 1000 WHERE position = 2".to_owned(),
        "UPDATE transactions SET height = 2 WHERE height = 3".to_owned(),
        "UPDATE blocks SET time_ms = time_ms + 1 WHERE height = 2".to_owned(),
        "UPDATE blocks SET header = (SELECT header FROM blocks WHERE height = 4) WHERE height = 5"
            .to_owned(),
        "UPDATE blocks SET signed_head = (SELECT signed_head FROM blocks WHERE height = 4)"
            .to_owned(),
        "UPDATE blocks SET signed_head = replace(signed_head, 'beta', 'gamma')".to_owned(),
        "UPDATE blocks SET signed_head = ''".to_owned(),
        flip("transactions", "id", "5", "position = 3"),
    ];
    let header: u64 = 180;
    for at in (1..header).step_by(13) {
        damages.push(flip("blocks", "header", &at.to_string(), "height = 4"));
        damages.push(flip(
            "blocks",
            "header",
            &at.to_string(),
            "height = (SELECT max(height) FROM blocks)",
        ));
    }
    for at in (1..300).step_by(23) {
        damages.push(flip(
            "transactions",
            "bytes",
            &at.to_string(),
            "position = 3",
        ));
        damages.push(flip(
            "transactions",
            "bytes",
            &at.to_string(),
            "position = (SELECT max(position) FROM transactions)",
        ));
    }
    for damage in damages {
        let (code, sentence) = refusal(&site, &damage).await;
        assert_eq!(code, "record-store-damaged", "{damage}: {sentence}");
        assert!(
            sentence.contains("beta") && sentence.contains("Move the file away"),
            "{sentence}"
        );
    }
    let (code, sentence) =
        refusal(&site, "UPDATE meta SET value = x'00' WHERE key = 'ledger'").await;
    assert_eq!(code, "record-store-other", "{sentence}");
    let (code, _) = refusal(
        &site,
        "UPDATE meta SET value = CAST('alpha' AS BLOB) WHERE key = 'organisation'",
    )
    .await;
    assert_eq!(code, "record-store-other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_store_is_refused() {
    let site = Site::with_document().await;
    site.record.close().await;
    std::fs::write(
        site.folder.path().join("beta.sqlite"),
        b"this is not a database, whatever its name says",
    )
    .unwrap();
    let opened = Solo::open(
        site.folder.path(),
        site.founders.genesis.clone(),
        site.founders.peers(),
        options(&site.now_ms),
    );
    let error = opened.await.unwrap_err();
    assert_eq!(error.code(), "record-store");
    assert!(error.to_string().contains("beta"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_without_a_store_or_behind_catch_up() {
    let mut site = Site::with_document().await;
    let (read, ..) = site.read("acme/eve").await;
    site.reopen(|folder| {
        for suffix in ["", "-wal", "-shm"] {
            drop(std::fs::remove_file(
                folder.join(format!("alpha.sqlite{suffix}")),
            ));
        }
        // An older copy: the last block is not there, nor anything of it.
        store(folder, "delta")
            .execute_batch(
                "DELETE FROM subjects WHERE position = (SELECT max(position) FROM transactions);
                 DELETE FROM transactions WHERE height = (SELECT max(height) FROM blocks);
                 DELETE FROM blocks WHERE height = (SELECT max(height) FROM blocks);",
            )
            .unwrap();
    })
    .await;
    let peers = site.record.peers();
    assert!(
        peers
            .iter()
            .all(|peer| peer.fault.is_none() && peer.height == peers[0].height)
    );
    assert_eq!(site.codes(read).await, ["ok"; 4]);
    site.submit("acme/ann", revoke("acme/data", Role::Reader, "acme/eve"))
        .await
        .unwrap();
    assert_eq!(site.codes(read).await, ["not-permitted"; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_other_blocks_than_the_quorum_is_left_out_by_name() {
    let mut site = Site::with_document().await;
    let founders = Founders::four();
    drop(founders);
    site.record.close().await;
    // Behind the others' backs beta executes a block of its own.
    let path = site.folder.path().join("beta.sqlite");
    let mut beta = Peer::open(
        &path,
        &site.founders.genesis,
        site.founders.peer("beta"),
        ApprovalTerms::default(),
    )
    .unwrap();
    let (height, parent, time_ms) = beta.tip();
    let own = signed(
        &site.founders.genesis.id(),
        "beta",
        tenant_register("secret"),
        site.now(),
    );
    beta.execute(&Proposal {
        height: height + 1,
        parent,
        time_ms,
        candidates: vec![own],
    })
    .unwrap();
    drop(beta);

    // Alone it is ahead; its block holds, and the others take it over.
    site.reopen(|_| {}).await;
    assert!(site.record.peers().iter().all(|peer| peer.fault.is_none()));
    assert!(
        site.record
            .with_state(|state| state.tenant(&id("secret")).is_some())
    );

    // With another block in the same place at the others, it is the one that differs.
    site.record.close().await;
    for (name, tenant) in [
        ("alpha", "common"),
        ("beta", "different"),
        ("gamma", "common"),
        ("delta", "common"),
    ] {
        let path = site.folder.path().join(format!("{name}.sqlite"));
        let mut peer = Peer::open(
            &path,
            &site.founders.genesis,
            site.founders.peer(name),
            ApprovalTerms::default(),
        )
        .unwrap();
        let (height, parent, time_ms) = peer.tip();
        let nonce = [5; 16];
        let mut content = signed(
            &site.founders.genesis.id(),
            "alpha",
            tenant_register(tenant),
            site.now(),
        )
        .content()
        .clone();
        content.nonce = nonce;
        let candidates = vec![content.sign(&key("operator alpha"))];
        peer.execute(&Proposal {
            height: height + 1,
            parent,
            time_ms,
            candidates,
        })
        .unwrap();
    }
    site.reopen(|_| {}).await;
    let faulty: Vec<_> = site
        .record
        .peers()
        .into_iter()
        .filter(|peer| peer.fault.is_some())
        .collect();
    assert_eq!(faulty.len(), 1);
    assert_eq!(faulty[0].organisation, id("beta"));
    assert!(
        site.record
            .with_state(|state| state.tenant(&id("different")).is_none())
    );
    let (read, ..) = site.read("acme/eve").await;
    assert_eq!(
        site.codes(read).await,
        ["ok", "peer-unavailable", "ok", "ok"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_ahead_by_a_block_that_does_not_hold_is_left_out_by_name() {
    let mut site = Site::with_document().await;
    site.record.close().await;
    let name = "beta";
    let path = site.folder.path().join("beta.sqlite");
    let mut beta = Peer::open(
        &path,
        &site.founders.genesis,
        site.founders.peer(name),
        ApprovalTerms::default(),
    )
    .unwrap();
    let (height, parent, time_ms) = beta.tip();
    let own = signed(
        &site.founders.genesis.id(),
        "alpha",
        tenant_register("forged"),
        site.now(),
    );
    let candidates = vec![own.clone()];
    beta.execute(&Proposal {
        height: height + 1,
        parent,
        time_ms,
        candidates,
    })
    .unwrap();
    let mut block = beta.replica().block(height + 1).unwrap().unwrap();
    drop(beta);

    // Another signature under the transaction, which is not the author's; everything above it is as beta would have made it.
    let mut signature = *own.signature();
    signature[1] ^= 1;
    let forged = SignedTransaction::from_parts(own.content().clone(), signature);
    let connection = store(site.folder.path(), name);
    let mut tree = certs::merkle::Tree::new();
    let mut rows = connection
        .prepare("SELECT bytes FROM transactions ORDER BY position")
        .unwrap();
    let leaves: Vec<Vec<u8>> = rows
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for bytes in &leaves[..leaves.len() - 1] {
        tree.push(certs::merkle::leaf_hash(bytes));
    }
    tree.push(certs::merkle::leaf_hash(forged.as_bytes()));
    block.header.transactions_root = tree.root();
    let head = Head::new(&site.founders.genesis.origin(), &block.header)
        .sign(name, &key("head beta"))
        .unwrap();
    connection
        .execute(
            "UPDATE blocks SET header = ?1, signed_head = ?2 WHERE height = ?3",
            rusqlite::params![block.header.to_bytes(), head, height + 1],
        )
        .unwrap();
    connection
        .execute(
            "UPDATE transactions SET bytes = ?1 WHERE height = ?2",
            rusqlite::params![forged.as_bytes(), height + 1],
        )
        .unwrap();
    drop(rows);
    drop(connection);

    site.reopen(|_| {}).await;
    let faulty: Vec<_> = site
        .record
        .peers()
        .into_iter()
        .filter_map(|peer| Some((peer.organisation, peer.fault?)))
        .collect();
    assert_eq!(faulty.len(), 1, "{faulty:?}");
    assert_eq!(faulty[0].0, id(name));
    assert!(faulty[0].1.contains("do not hold"), "{}", faulty[0].1);
    assert!(
        site.record
            .with_state(|state| state.tenant(&id("forged")).is_none())
    );
    let (read, ..) = site.read("acme/eve").await;
    assert_eq!(
        site.codes(read).await,
        ["ok", "peer-unavailable", "ok", "ok"]
    );
}

#[test]
fn a_peer_takes_over_no_block_that_does_not_hold() {
    let founders = Founders::four();
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str, file: &str| {
        Peer::open(
            &folder.path().join(file),
            &founders.genesis,
            founders.peer(name),
            ApprovalTerms::default(),
        )
        .unwrap()
    };
    let mut alpha = open("alpha", "alpha");
    let (height, parent, time_ms) = alpha.tip();
    let ledger = founders.genesis.id();
    let candidates = vec![signed(
        &ledger,
        "alpha",
        tenant_register("acme"),
        GENESIS_MS,
    )];
    let proposal = Proposal {
        height: height + 1,
        parent,
        time_ms,
        candidates,
    };
    alpha.execute(&proposal).unwrap();
    let good = alpha.replica().block(1).unwrap().unwrap();

    type Change = fn(&mut coordinator::record::Block);
    let changes: [Change; 9] = [
        |block| block.header.height = 2,
        |block| block.header.parent[0] ^= 1,
        |block| block.header.time_ms += 1,
        |block| block.header.time_ms = 0,
        |block| block.header.size = 2,
        |block| block.header.transactions_root[0] ^= 1,
        |block| block.header.state_root[0] ^= 1,
        |block| block.transactions.clear(),
        |block| {
            let signed = &block.transactions[0];
            let mut signature = *signed.signature();
            signature[1] ^= 1;
            let forged = coordinator::record::SignedTransaction::from_parts(
                signed.content().clone(),
                signature,
            );
            block.transactions = vec![forged];
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut block = good.clone();
        change(&mut block);
        let mut beta = open("beta", &format!("beta{number}"));
        assert!(beta.adopt(&block).is_err(), "change {number}");
        drop(beta);
        let mut beta = open("beta", &format!("beta{number}"));
        assert_eq!(beta.tip().0, 0, "nothing of it is durable");
        beta.adopt(&good).unwrap();
        assert_eq!(beta.tip(), alpha.tip());
    }
    // Out of order, out of time.
    for (height, parent, time_ms) in [
        (1, alpha.tip().1, time_ms),
        (2, [0; 32], time_ms),
        (2, alpha.tip().1, 0),
        (3, alpha.tip().1, time_ms),
    ] {
        let candidates = vec![signed(
            &ledger,
            "alpha",
            tenant_register("more"),
            GENESIS_MS,
        )];
        assert!(
            alpha
                .execute(&Proposal {
                    height,
                    parent,
                    time_ms,
                    candidates
                })
                .is_err()
        );
    }
    let candidates: Vec<_> = (0..1025)
        .map(|_| {
            signed(
                &ledger,
                "alpha",
                Transaction::UserSuspend(user("a/b")),
                GENESIS_MS,
            )
        })
        .collect();
    let (height, parent, time_ms) = alpha.tip();
    assert!(
        alpha
            .execute(&Proposal {
                height: height + 1,
                parent,
                time_ms,
                candidates
            })
            .is_err()
    );
}
