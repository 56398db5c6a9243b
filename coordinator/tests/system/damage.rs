//! Whatever is done to a stored body, nothing of it reaches a reader, and no file is left behind.

use coordinator::client::PutOptions;

use crate::cluster::Cluster;
use crate::site::{Site, id, plaintext};

#[tokio::test(flavor = "multi_thread")]
async fn damaged_exchanged_and_missing_bodies_are_refused() {
    let mut site = Site::init();
    let cluster = Cluster::start(2, 3, &site.dir().join("policy.toml"));
    let file = site.file("cluster.json");
    std::fs::write(&file, cluster.descriptor.to_json()).unwrap();
    site.run();
    site.operator(&["cluster", "add", file.to_str().unwrap()]);
    for level in ["none", "platform", "threshold"] {
        site.cli(&["dataset", "create", level, "--encryption", level]);
        let client = site.administrator();
        let before = site.bodies();
        let put = async |document: &str, first: u8| {
            let mut body = plaintext(1_500_000);
            body[0] = first;
            client
                .put(
                    &id(level),
                    &id(document),
                    std::io::Cursor::new(body),
                    PutOptions::default(),
                )
                .await
                .unwrap();
        };
        put("one", 1).await;
        let one = site
            .bodies()
            .into_iter()
            .find(|path| !before.contains(path))
            .unwrap();
        put("two", 2).await;
        let two = site
            .bodies()
            .into_iter()
            .find(|path| !before.contains(path) && *path != one)
            .unwrap();
        let original = std::fs::read(&one).unwrap();

        let out = site.file("out");
        let refused = |code: &str| {
            let (status, said, json) =
                site.fails(&["get", level, "one", "--out", out.to_str().unwrap()]);
            assert_eq!(
                (status, json["error"]["code"].as_str()),
                (7, Some(code)),
                "{said}"
            );
            assert!(!out.exists());
            // Nor anything half-written beside it.
            let names = std::fs::read_dir(site.base.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name());
            assert!(
                !names
                    .into_iter()
                    .any(|name| name.to_string_lossy().starts_with(".tmp"))
            );
        };
        let mut altered = original.clone();
        altered[1_400_000] ^= 1;
        std::fs::write(&one, &altered).unwrap();
        refused("envelope-checksum");
        std::fs::write(&one, &original[..original.len() - 1]).unwrap();
        refused("envelope-size");
        std::fs::write(&one, [&original[..], b"x"].concat()).unwrap();
        refused("envelope-size");
        std::fs::copy(&two, &one).unwrap();
        refused("envelope-checksum");
        std::fs::remove_file(&one).unwrap();
        refused("body-missing");
        std::fs::write(&one, &original).unwrap();
        site.cli(&["get", level, "one", "--out", out.to_str().unwrap()]);
        assert_eq!(std::fs::read(&out).unwrap()[0], 1);
        std::fs::remove_file(&out).unwrap();
    }
}

#[test]
fn exports_are_verified_and_altered_ones_refused() {
    let site = Site::start();
    site.cli(&[
        "dataset",
        "create",
        "designs",
        "--encryption",
        "platform",
        "--storage",
        "ledger",
    ]);
    std::fs::write(site.file("note"), "a note").unwrap();
    site.cli(&[
        "put",
        "designs",
        "note",
        site.file("note").to_str().unwrap(),
    ]);
    let (export, keys) = (site.file("export"), site.dir().join("verifiers.txt"));
    let verify = [
        "audit",
        "verify",
        export.to_str().unwrap(),
        "--keys",
        keys.to_str().unwrap(),
    ];
    site.cli(&["audit", "export", "--out", export.to_str().unwrap()]);
    let report = site.cli(&verify);
    assert_eq!(report["transactions"], 3);
    assert_eq!(report["signed_by"].as_array().unwrap().len(), 3);
    let note = site.cli(&["audit", "checkpoint"]);
    assert!(note["checkpoint"].as_str().unwrap().contains("\n3\n"));

    let original = std::fs::read(&export).unwrap();
    for at in [10, original.len() / 2, original.len() - 40] {
        let mut altered = original.clone();
        altered[at] = if altered[at] == b'a' { b'b' } else { b'a' };
        std::fs::write(&export, altered).unwrap();
        let (status, said, _) = site.fails(&verify);
        assert_eq!(status, 7, "{at}: {said}");
    }
}
