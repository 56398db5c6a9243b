//! Callers who ask and do not read the answer: they are cut off, and hold up nobody.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::site::Site;

/// Sooner than the platform closes a connection for any other reason: the head of a request may take 30 seconds.
const SOON: Duration = Duration::from_secs(25);
const ASK: &[u8] = b"GET /v1/openapi.json HTTP/1.1\r\nHost: here\r\n\r\n";

/// A platform that gives up an answer of which nobody takes a byte for a second.
fn site() -> Site {
    let mut site = Site::init();
    let file = site.dir().join("coordinator.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace("\nidle_s = 60\n", "\nidle_s = 1\n");
    assert_ne!(text, changed);
    std::fs::write(&file, changed).unwrap();
    site.run();
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_cut_off() {
    let mut site = site();
    let address = site.url.strip_prefix("http://").unwrap();
    let mut stalled = TcpStream::connect(address).await.unwrap();
    // Asks until nobody takes its questions any more either. When the connection is closed from there, it hears of it.
    let asking = async { while stalled.write_all(ASK).await.is_ok() {} };
    timeout(SOON, asking).await.expect("it is cut off");
    let served = reqwest::get(format!("{}/healthz", site.url)).await.unwrap();
    assert_eq!(served.status(), 200);
    site.stop();
    assert!(
        site.log()
            .contains("an answer that nobody takes is cut off")
    );
}
