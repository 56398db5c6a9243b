//! Threshold encryption end to end: the record's approvals, the nodes' shares, the document.

use coordinator::client::{ClientError, GetOptions, PutOptions};

use crate::cluster::Cluster;
use crate::site::{Site, id, plaintext};

#[tokio::test(flavor = "multi_thread")]
async fn a_document_opens_with_approvals_and_enough_nodes_only() {
    let mut site = Site::init();
    let cluster = Cluster::start(2, 3, &site.dir().join("policy.toml"));
    let file = site.file("cluster.json");
    std::fs::write(&file, cluster.descriptor.to_json()).unwrap();
    site.run();
    // A running platform sees it at once.
    let added = site.operator(&["cluster", "add", file.to_str().unwrap()]);
    assert_eq!(
        added["public_key"],
        hex::encode(cluster.descriptor.public_key)
    );
    site.add_user("reader");
    site.add_user("stranger");
    site.cli(&["dataset", "create", "designs"]);
    site.cli(&["grant", "designs", "reader", "reader"]);
    let shown = site.cli(&["dataset", "show", "designs"]);
    assert_eq!(shown["cluster"], hex::encode(cluster.descriptor.public_key));

    let (designs, bridge) = (id("designs"), id("bridge"));
    let plain = plaintext(300_000);
    let source = std::io::Cursor::new(plain.clone());
    site.administrator()
        .put(&designs, &bridge, source, PutOptions::default())
        .await
        .unwrap();
    let read = async |user: &str| {
        let mut out = Vec::new();
        let result = site
            .client(user)
            .get(&designs, &bridge, None, &mut out, None)
            .await;
        assert!(out.is_empty() || out == plain);
        result
    };
    let report = read("reader").await.unwrap().report.unwrap();
    assert_eq!(
        (report.encryption.as_str(), report.outcome.as_str()),
        ("threshold", "complete")
    );
    assert_eq!(
        report
            .organisations
            .iter()
            .filter(|organisation| organisation.approved)
            .count(),
        3
    );
    assert_eq!(
        report
            .nodes
            .iter()
            .filter(|node| node.outcome == "answered")
            .count(),
        2
    );
    let phases = report.phases;
    assert!(phases.approvals_ms > 0.0 && phases.cluster_ms > 0.0);

    // A range of it, by the same approvals and shares.
    let (reader, mut out) = (site.client("reader"), Vec::new());
    let options = GetOptions {
        range: "65000-70000".parse().ok(),
        ..GetOptions::default()
    };
    let got = reader.get_with(&designs, &bridge, options, &mut out).await;
    assert_eq!(got.unwrap().length, 5001);
    assert!(out == plain[65_000..=70_000]);

    match read("stranger").await {
        Err(ClientError::Problem {
            status: 403, code, ..
        }) => assert_eq!(code, "not-permitted"),
        other => panic!("{other:?}"),
    }
    cluster.stop(1);
    let report = read("reader").await.unwrap().report.unwrap();
    assert_eq!(
        report
            .nodes
            .iter()
            .filter(|node| node.outcome == "answered")
            .count(),
        2
    );
    cluster.stop(3);
    match read("reader").await {
        Err(ClientError::Problem {
            status: 503,
            code,
            detail,
            more,
            ..
        }) => {
            assert_eq!(code, "too-few-answers");
            assert!(
                detail.contains("1 of 3 nodes answered, 2 are needed"),
                "{detail}"
            );
            assert_eq!(more.unwrap()["nodes"].as_array().unwrap().len(), 3);
        }
        other => panic!("{other:?}"),
    }
    let out = site.file("out");
    let (status, said, _) =
        site.fails(&["get", "designs", "bridge", "--out", out.to_str().unwrap()]);
    assert_eq!(status, 8, "{said}");
    assert!(!out.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_another_policy_gives_nothing() {
    let mut site = Site::init();
    let text = std::fs::read_to_string(site.dir().join("policy.toml")).unwrap();
    let elsewhere = Site::init();
    // The same names, other authorities.
    let cluster = Cluster::start(1, 1, &elsewhere.dir().join("policy.toml"));
    assert_ne!(
        text,
        std::fs::read_to_string(elsewhere.dir().join("policy.toml")).unwrap()
    );
    let file = site.file("cluster.json");
    std::fs::write(&file, cluster.descriptor.to_json()).unwrap();
    site.operator(&["cluster", "add", file.to_str().unwrap()]);
    site.run();
    site.cli(&["dataset", "create", "designs"]);
    let (designs, bridge, client) = (id("designs"), id("bridge"), site.administrator());
    client
        .put(&designs, &bridge, &b"stones"[..], PutOptions::default())
        .await
        .unwrap();
    let mut out = Vec::new();
    match client.get(&designs, &bridge, None, &mut out, None).await {
        Err(ClientError::Problem { code, detail, .. }) => {
            assert_eq!(code, "too-few-answers");
            assert!(detail.contains("0 of 2 approvals"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert!(out.is_empty());
}
