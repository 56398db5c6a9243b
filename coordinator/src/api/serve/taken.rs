//! A connection whose other end must take what is sent to it.
//!
//! Whoever asks and does not read the answer holds a connection, what was made for the answer, and the end of the process, which waits for the
//! answers that are under way. So a write that moves no byte for a while ends the connection. Whoever reads slowly is no such one: every byte
//! that moves begins the time anew.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The connection.
pub(super) struct Taken<S> {
    stream: S,
    within: Duration,
    /// There while a write moves no byte: when it is given up.
    given_up: Option<Pin<Box<Sleep>>>,
}

impl<S> Taken<S> {
    /// Its writes may stand still for so long.
    pub(super) fn new(stream: S, within: Duration) -> Self {
        Self {
            stream,
            within,
            given_up: None,
        }
    }

    /// What became of a write, or that it is given up.
    fn judged(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.given_up = None;
            return written;
        }
        let within = self.within;
        let given_up = self.given_up.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(given_up.as_mut().poll(context));
        tracing::debug!("an answer that nobody takes is cut off");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judged(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.judged(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_nobody_takes_is_given_up() {
        let (here, _there) = duplex(16);
        let mut taken = Taken::new(here, Duration::from_millis(20));
        taken.write_all(&[7; 16]).await.unwrap();
        let stuck = taken.write_all(&[7; 1]).await.unwrap_err();
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn every_byte_begins_the_time_anew() {
        let (here, mut there) = duplex(16);
        let mut taken = Taken::new(here, Duration::from_secs(3600));
        let (mut byte, mut read) = ([0; 1], 0);
        {
            let mut writing = Box::pin(taken.write_all(&[7; 64]));
            loop {
                tokio::select! {
                    biased;
                    written = &mut writing => break written.unwrap(),
                    one = there.read_exact(&mut byte) => { one.unwrap(); read += 1; }
                }
            }
        }
        assert!(read >= 48);
        assert!(taken.given_up.is_none());
    }
}
