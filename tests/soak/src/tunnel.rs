//! The way from the platform's machine to the API of a peer on another one. A peer answers on its own loopback alone; its operator
//! has a proxy or a tunnel in front of it, and here is one. What goes through it goes through the peer's cable.
//!
//! ```text
//! platform's machine                     cable      the peer's machine
//! platform → 127.0.0.1:any → near end ──────────── 10.99.0.N:7739 far end → 127.0.0.1:7730
//! ```

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;

/// Where the peer's API answers, on its machine.
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7730);
/// Where the far end listens.
const FAR_PORT: u16 = 7739;
/// How long the near end tries to reach the far one.
const REACHED_WITHIN: Duration = Duration::from_secs(5);

/// Takes this thread, and those that it starts, into a network namespace.
///
/// # Errors
/// The system's reason.
pub(crate) fn enter(namespace: &str) -> Result<(), String> {
    let path = PathBuf::from("/run/netns").join(namespace);
    let shown = path.display();
    let file = File::open(&path).map_err(|error| format!("{shown}: {error}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| format!("enter {shown}: {error}"))
}

/// Makes a tunnel from the machine of this thread to the one with this namespace and address. Returns the near end, which stays
/// where it is until the program ends.
///
/// # Errors
/// The system's reason.
pub(crate) fn open(namespace: String, host: Ipv4Addr) -> Result<SocketAddr, String> {
    let far = SocketAddr::new(host.into(), FAR_PORT);
    spawn(Some(namespace), far, API)?;
    spawn(None, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), far)
}

/// Listens in a thread of its own, in a namespace if one is named, and passes on whatever comes. Returns where.
fn spawn(
    namespace: Option<String>,
    listen: SocketAddr,
    to: SocketAddr,
) -> Result<SocketAddr, String> {
    let (told, heard) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("tunnel".to_owned());
    let run = move || {
        let prepared = || {
            namespace.as_deref().map_or(Ok(()), enter)?;
            let listener = TcpListener::bind(listen).map_err(|error| error.to_string())?;
            let set = listener.set_nonblocking(true);
            set.map_err(|error| error.to_string())?;
            let place = listener.local_addr().map_err(|error| error.to_string())?;
            // A runtime of one thread: sockets are where their thread is.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?;
            Ok::<_, String>((listener, place, runtime))
        };
        match prepared() {
            Err(error) => drop(told.send(Err(error))),
            Ok((listener, place, runtime)) => {
                let _ = told.send(Ok(place));
                runtime.block_on(pass_on(listener, to));
            }
        }
    };
    thread.spawn(run).map_err(|error| error.to_string())?;
    heard.recv().map_err(|error| error.to_string())?
}

async fn pass_on(listener: TcpListener, to: SocketAddr) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let Ok((near, _)) = listener.accept().await else {
            // Too many files are open: it will pass.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(async move {
            let reached = tokio::time::timeout(REACHED_WITHIN, TcpStream::connect(to)).await;
            if let Ok(Ok(far)) = reached {
                between(near, far).await;
            }
        });
    }
}

/// Until one of them has had enough: nobody who speaks HTTP goes on reading from whom he has closed.
async fn between(mut near: TcpStream, mut far: TcpStream) {
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (mut from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    tokio::select! {
        _ = tokio::io::copy(&mut from_near, &mut to_far) => {}
        _ = tokio::io::copy(&mut from_far, &mut to_near) => {}
    }
}
