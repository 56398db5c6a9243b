//! Bodies stream in constant memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use coordinator::client::PutOptions;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::site::{Site, id};

const LENGTH: u64 = 200 << 20;

/// 200 MiB that are nowhere in memory at once.
struct Source {
    left: u64,
    position: u64,
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.left.min(buffer.remaining() as u64).min(64 * 1024);
        let start = self.position;
        let bytes: Vec<u8> = (start..start + length)
            .map(|i| (i * 31 + i / 251) as u8)
            .collect();
        buffer.put_slice(&bytes);
        self.left -= length;
        self.position += length;
        Poll::Ready(Ok(()))
    }
}

/// Counts and hashes what it gets.
struct Sink {
    length: u64,
    digest: Sha256,
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.length += bytes.len() as u64;
        self.digest.update(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The most memory that the process ever had, in KiB.
pub(crate) fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_mebibytes_stream_in_bounded_memory() {
    let site = Site::start();
    for level in ["platform", "none"] {
        site.cli(&["dataset", "create", level, "--encryption", level]);
    }
    let client = site.administrator();
    // The master key's derivation took 64 MiB at the start; that is not what is measured here.
    let before = peak_kib(site.pid());
    for level in ["platform", "none"] {
        let source = Source {
            left: LENGTH,
            position: 0,
        };
        let written = client
            .put(&id(level), &id("large"), source, PutOptions::default())
            .await
            .unwrap();
        let mut sink = Sink {
            length: 0,
            digest: Sha256::new(),
        };
        let got = client
            .get(&id(level), &id("large"), None, &mut sink, None)
            .await
            .unwrap();
        assert_eq!((written.length, sink.length), (LENGTH, LENGTH));
        assert_eq!(hex::encode(sink.digest.finalize()), written.sha256);
        assert_eq!(got.report.unwrap().outcome, "complete");
    }
    let grown = peak_kib(site.pid()).saturating_sub(before);
    assert!(
        grown < 64 * 1024,
        "the process grew by {grown} KiB while 800 MiB went through"
    );
}
