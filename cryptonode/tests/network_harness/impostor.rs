//! Nodes that hold a true identity and do what a script says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cryptonode::server::{Limits, bind};
use cryptonode::wire::v1::{Answer, ByteBuf, Request};
use ed25519_dalek::SigningKey;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reencrypt::{EphemeralKey, KeyShare, WrappedKey, verify_request};

/// How an impostor answers a request: bytes for the stream, or nothing for ever.
pub type Script = Arc<dyn Fn(&Request) -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync>;

pub fn says(answer: Answer) -> Script {
    let bytes = answer.to_bytes().unwrap();
    Arc::new(move |_| {
        let bytes = bytes.clone();
        async move { Some(bytes) }.boxed()
    })
}

pub fn sends(bytes: Vec<u8>) -> Script {
    Arc::new(move |_| {
        let bytes = bytes.clone();
        async move { Some(bytes) }.boxed()
    })
}

pub fn is_silent() -> Script {
    Arc::new(|_| async { None }.boxed())
}

/// Checks nothing and answers with this share, after this long.
pub fn answers_with(share: KeyShare, after: Duration) -> Script {
    let share = Arc::new(share);
    Arc::new(move |request| {
        let share = Arc::clone(&share);
        let Request::Reencrypt {
            wrapped_key,
            ephemeral_key,
            ..
        } = request.clone()
        else {
            let refused = Answer::Refused {
                code: "no-key-certificate".into(),
                message: "It gives shares and nothing else.".into(),
                retry_after_ms: None,
            };
            return async move { Some(refused.to_bytes().unwrap()) }.boxed();
        };
        async move {
            tokio::time::sleep(after).await;
            let mut rng = rand::rng();
            let wrapped = WrappedKey::parse(&wrapped_key).unwrap();
            let ephemeral = EphemeralKey::parse(&ephemeral_key).unwrap();
            let (wrapped, ephemeral) = verify_request(&wrapped, &ephemeral, &mut rng).unwrap();
            let share = share.reencrypt(&wrapped, &ephemeral, &mut rng).unwrap();
            Some(
                Answer::Share {
                    share: ByteBuf::from(share.to_bytes().as_slice()),
                    newest: None,
                }
                .to_bytes()
                .unwrap(),
            )
        }
        .boxed()
    })
}

/// Listens with a node's true identity and follows a script.
pub fn impostor(identity: &SigningKey, script: Script) -> SocketAddr {
    let endpoint = bind(([127, 0, 0, 1], 0).into(), identity, &Limits::default()).unwrap();
    let address = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                let connection = incoming.await.unwrap();
                while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                    let script = Arc::clone(&script);
                    tokio::spawn(async move {
                        let bytes = receive.read_to_end(1 << 20).await.unwrap();
                        match script(&Request::from_bytes(&bytes).unwrap()).await {
                            Some(answer) => {
                                let _ = send.write_all(&answer).await;
                                let _ = send.finish();
                                let _ = send.stopped().await;
                            }
                            None => std::future::pending().await,
                        }
                    });
                }
            });
        }
    });
    address
}
