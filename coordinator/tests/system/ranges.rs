//! Ranges of documents: exactly the bytes that were asked for, and none that do not verify.

use coordinator::client::profile::Profile;
use coordinator::client::{ClientError, GetOptions, PutOptions};
use coordinator::platform::ByteRange;
use coordinator::record::UnsignedTransaction;
use serde_json::{Value, json};

use crate::site::{Site, id, plaintext};

const BLOCK: u64 = 65_536;
const LENGTH: u64 = 3 * 1024 * 1024 + 12_345;

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_the_bytes_that_were_asked_for() {
    let site = Site::start();
    let client = site.administrator();
    let plain = plaintext(LENGTH as usize);
    for level in ["none", "platform"] {
        site.cli(&["dataset", "create", level, "--encryption", level]);
        let source = std::io::Cursor::new(plain.clone());
        client
            .put(&id(level), &id("film"), source, PutOptions::default())
            .await
            .unwrap();
        let get = async |range: ByteRange| {
            let mut out = Vec::new();
            let options = GetOptions {
                range: Some(range),
                ..GetOptions::default()
            };
            client
                .get_with(&id(level), &id("film"), options, &mut out)
                .await
                .map(|got| (got, out))
        };
        let between = |first, last| ByteRange::From {
            first,
            last: Some(last),
        };
        for range in [
            between(0, 0),
            between(0, LENGTH - 1),
            between(0, u64::MAX),
            between(BLOCK - 1, BLOCK),
            between(BLOCK, 2 * BLOCK - 1),
            between(1_048_575, 2_097_152),
            between(16 * BLOCK - 1, 48 * BLOCK),
            between(7, LENGTH - 7),
            ByteRange::From {
                first: LENGTH - 1,
                last: None,
            },
            ByteRange::From {
                first: 2_000_000,
                last: None,
            },
            ByteRange::Last(1),
            ByteRange::Last(70_000),
            ByteRange::Last(u64::MAX),
        ] {
            let (got, out) = get(range).await.unwrap();
            let expected = range.within(LENGTH).unwrap();
            let expected = &plain[expected.start as usize..expected.end as usize];
            assert!(out == expected, "{level} {range:?}: {} bytes", out.len());
            assert_eq!(got.length, expected.len() as u64);
            let report = got.report.unwrap();
            assert_eq!(
                (report.outcome.as_str(), report.length),
                ("complete", LENGTH)
            );
        }
        for range in [
            ByteRange::From {
                first: LENGTH,
                last: None,
            },
            ByteRange::Last(0),
        ] {
            match get(range).await {
                Err(ClientError::Problem {
                    status: 416, code, ..
                }) => assert_eq!(code, "range-not-satisfiable"),
                other => panic!("{:?}", other.map(|(got, _)| got)),
            }
        }
    }
    // On the command line too.
    let out = site.file("part");
    let range = [
        "get",
        "platform",
        "film",
        "--range",
        "65530-65545",
        "--out",
        out.to_str().unwrap(),
    ];
    assert_eq!(site.cli(&range)["got"]["length"], 16);
    assert_eq!(std::fs::read(&out).unwrap(), plain[65_530..=65_545]);
    let beyond = site.file("beyond");
    let beyond = [
        "get",
        "platform",
        "film",
        "--range",
        "9999999-",
        "--out",
        beyond.to_str().unwrap(),
    ];
    let (_, _, json) = site.fails(&beyond);
    assert_eq!(json["error"]["code"], "range-not-satisfiable");
    let (status, said, _) =
        site.fails(&["get", "platform", "film", "--range", "5-1", "--out", "-"]);
    assert_eq!(status, 2, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_over_http_say_which_bytes_they_are() {
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let client = site.administrator();
    client
        .put(
            &id("designs"),
            &id("bridge"),
            &b"0123456789"[..],
            PutOptions::default(),
        )
        .await
        .unwrap();
    let profile = Profile::read(&site.profile()).unwrap();
    let key = coordinator::client::user_key::read(&profile.key.unwrap()).unwrap();
    let api_key = profile.api_key.unwrap();
    let (http, base) = (
        reqwest::Client::new(),
        format!("{}/v1/tenants/main", site.url),
    );
    let prepare = async || {
        let prepared = http
            .post(format!("{base}/datasets/designs/documents/bridge/reads"))
            .bearer_auth(api_key.expose())
            .json(&json!({ "reader": "admin" }));
        let prepared: Value = prepared.send().await.unwrap().json().await.unwrap();
        let bytes = hex::decode(prepared["transaction"].as_str().unwrap()).unwrap();
        let signed = UnsignedTransaction::from_bytes(&bytes).unwrap().sign(&key);
        (
            format!("{base}/reads/{}", prepared["id"].as_str().unwrap()),
            signed.as_bytes().to_vec(),
        )
    };
    let commit = async |(url, signed): &(String, Vec<u8>), range: &str| {
        let request = http
            .post(url)
            .bearer_auth(api_key.expose())
            .header("range", range);
        request.body(signed.clone()).send().await.unwrap()
    };
    let read = prepare().await;
    // What cannot be answered is refused before it is on the record, and can be asked for again.
    let heads = async || site.cli(&["audit", "checkpoint"])["checkpoint"].clone();
    let before = heads().await;
    let refused = commit(&read, "bytes=10-").await;
    assert_eq!(refused.status(), 416);
    assert_eq!(refused.headers()["content-range"], "bytes */10");
    for bad in ["bytes=2-1", "bytes=0-1,4-5", "bytes=x"] {
        assert_eq!(commit(&read, bad).await.status(), 400, "{bad}");
    }
    assert_eq!(heads().await, before);
    let part = commit(&read, "Bytes=2-4").await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 2-4/10");
    assert_eq!(part.headers()["content-length"], "3");
    assert_eq!(part.text().await.unwrap(), "234");
    // Another unit, or everything: the whole document.
    for all in ["lines=1-2", "bytes=0-"] {
        let whole = commit(&prepare().await, all).await;
        assert_eq!(whole.status(), 200, "{all}");
        assert_eq!(whole.headers()["accept-ranges"], "bytes");
        assert_eq!(whole.text().await.unwrap(), "0123456789");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_damaged_range_is_released() {
    let site = Site::start();
    let client = site.administrator();
    for level in ["none", "platform"] {
        site.cli(&["dataset", "create", level, "--encryption", level]);
        let before = site.bodies();
        let source = std::io::Cursor::new(plaintext(LENGTH as usize));
        client
            .put(&id(level), &id("film"), source, PutOptions::default())
            .await
            .unwrap();
        let body = site
            .bodies()
            .into_iter()
            .find(|path| !before.contains(path))
            .unwrap();
        let original = std::fs::read(&body).unwrap();
        let get = async |first: u64, last: u64| {
            let mut out = Vec::new();
            let range = Some(ByteRange::From {
                first,
                last: Some(last),
            });
            let options = GetOptions {
                range,
                ..GetOptions::default()
            };
            let got = client
                .get_with(&id(level), &id("film"), options, &mut out)
                .await;
            let code = got.map_or_else(|e| e.code().to_owned(), |_| "fine".to_owned());
            (code, out)
        };
        let sealed = 65_552;
        let at = |block: usize| 16 + block * sealed;
        let swapped = {
            let mut bytes = original.clone();
            let (front, back) = bytes.split_at_mut(at(3));
            front[at(2)..at(2) + 65_000].swap_with_slice(&mut back[..65_000]);
            bytes
        };
        let flipped = |place: usize| {
            let mut bytes = original.clone();
            bytes[place] ^= 1;
            bytes
        };
        for (bytes, expected) in [
            (flipped(at(2) + 70), "envelope-block"),
            (flipped(at(2) + sealed - 1), "envelope-block"),
            (flipped(3), "envelope-header"),
            (flipped(8), "envelope-block"),
            (swapped, "envelope-block"),
            (original[..original.len() - 1].to_vec(), "envelope-size"),
            ([&original[..], b"x"].concat(), "envelope-size"),
        ] {
            std::fs::write(&body, &bytes).unwrap();
            let (code, out) = get(2 * BLOCK + 5, 2 * BLOCK + 900).await;
            // Without encryption there are no blocks: the whole body is verified, whatever is asked of it.
            let size = expected == "envelope-size";
            let expected = if level == "none" && !size {
                "envelope-checksum"
            } else {
                expected
            };
            assert_eq!((code.as_str(), out.len()), (expected, 0), "{level}");
        }
        // Far behind what leaves first, the answer breaks off before what is damaged.
        if level == "platform" {
            std::fs::write(&body, flipped(at(40))).unwrap();
            let (code, out) = get(0, LENGTH).await;
            assert!(
                out.is_empty(),
                "the whole document is verified first: {code}"
            );
            let (code, out) = get(1, LENGTH).await;
            assert_eq!(code, "document-broken-off");
            assert!(
                out.len() as u64 <= 40 * BLOCK
                    && out[..] == plaintext(LENGTH as usize)[1..1 + out.len()]
            );
            // What is damaged elsewhere is not in the way.
            assert_eq!(get(5, 6).await.0, "fine");
        }
        std::fs::write(&body, &original).unwrap();
        assert_eq!(get(2 * BLOCK, 2 * BLOCK).await.0, "fine");
    }
}
