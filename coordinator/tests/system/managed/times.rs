//! How long a read took, said behind it.

use reqwest::Method;
use serde_json::json;

use super::{BRIDGE, site};
use crate::site::Site;

/// Reads an answer to its end, trailers and all.
fn raw(site: &Site, request: &str) -> String {
    use std::io::{Read as _, Write as _};
    let address = site.url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_a_long_read_come_behind_it_for_who_takes_them() {
    let (site, admin) = site();
    let new = json!({ "dataset": "designs", "encryption": "platform", "storage": "off-chain" });
    admin.done(Method::POST, "datasets?author=admin", new).await;
    let write = format!("{BRIDGE}?author=admin");
    assert_eq!(admin.put(&write, &vec![b'x'; 4_000_000]).await.status, 201);
    let long = admin.get(&format!("{BRIDGE}?reader=admin")).await;
    let timing = long.headers["server-timing"].to_str().unwrap();
    assert!(
        timing.contains("first-byte;dur=") && !timing.contains("total"),
        "{timing}"
    );
    assert_eq!(long.headers["content-length"], "4000000");

    let key = &admin.key;
    let request = format!(
        "GET /v1/tenants/main/{BRIDGE}?reader=admin HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {key}\r\nte: trailers\r\nconnection: close, te\r\n\r\n"
    );
    let answer = tokio::task::spawn_blocking(move || raw(&site, &request))
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200") && !head.contains("content-length"),
        "{head}"
    );
    assert!(head.contains("trailer: server-timing"), "{head}");
    let end = body.rsplit("0\r\n").next().unwrap();
    for phase in ["permission", "fetch", "checksum", "decrypt", "total"] {
        assert!(end.contains(&format!("{phase};dur=")), "{phase}: {end}");
    }
}
