//! A peer that lies to the platform: it refuses what is right, and shows a block with a state of its own, signed by its organisation's key.

use super::federation::PeerProcess;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use coordinator::record::Identifier;
use coordinator::record::head::Head;
use coordinator::record::wire::{BlocksView, HexBytes, Submitted};
use ed25519_dalek::SigningKey;
use std::sync::Arc;

pub(crate) struct Liar {
    name: Identifier,
    url: String,
    origin: String,
    head_key: SigningKey,
    client: reqwest::Client,
}

impl Liar {
    /// Stands in front of an honest peer; says where.
    pub(crate) async fn in_front_of(peer: &PeerProcess, origin: String) -> String {
        let liar = Arc::new(Self {
            name: peer.name.clone(),
            url: peer.url.clone(),
            origin,
            head_key: peer.key("head"),
            client: reqwest::Client::new(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(lie).with_state(liar);
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

async fn lie(State(liar): State<Arc<Liar>>, request: Request) -> Response {
    let path = request.uri().path_and_query().unwrap().to_string();
    if path == "/v1/transactions" {
        let refused = Submitted::Refused {
            code: "not-permitted".to_owned(),
            message: "because I say so".to_owned(),
        };
        return axum::Json(refused).into_response();
    }
    if !path.starts_with("/v1/blocks") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let token = request.headers()["authorization"].clone();
    let asked = liar.client.get(format!("{}{path}", liar.url));
    let Ok(answer) = asked.header("authorization", token).send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let mut view: BlocksView = answer.json().await.unwrap();
    for block in &mut view.blocks {
        let mut header = block.header().unwrap();
        header.state_root = [7; 32];
        block.header = HexBytes(header.to_bytes());
        let head = Head::new(&liar.origin, &header);
        block.signed_head = head.sign(liar.name.as_str(), &liar.head_key).unwrap();
    }
    axum::Json(view).into_response()
}
