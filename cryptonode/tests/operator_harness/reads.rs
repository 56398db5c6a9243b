//! Reads from real nodes, one node at a time: what a platform sends, and what the node answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use certs::Approval;
use cryptonode::client::{CallError, ClientIdentity, ClusterDescriptor, PeerOptions, call};
use cryptonode::wire::v1::{Answer, ByteBuf, Request};
use reencrypt::{EphemeralSecret, Point, VerifiedWrappedKey, wrap};
use sha2::{Digest, Sha256};

use super::Site;

/// A client with a key of its own, and the cluster that it calls.
pub struct Reader {
    pem: String,
    descriptor: ClusterDescriptor,
}

/// A document's wrapped key.
pub struct Document(VerifiedWrappedKey);

impl Document {
    pub fn write_id(&self) -> String {
        hex::encode(self.0.write_id())
    }
}

pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

impl Reader {
    /// A new client of the key that the node `name` exports.
    pub fn new(site: &Site, name: &str) -> Self {
        let output = site.on(name, &["key", "export"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        Self {
            pem: ClientIdentity::generate().unwrap().to_pem().to_owned(),
            descriptor: ClusterDescriptor::from_json(&text).unwrap(),
        }
    }

    pub fn identity(&self) -> ClientIdentity {
        ClientIdentity::from_pem(&self.pem).unwrap()
    }

    /// SHA-256 of its public key, as audit log and configuration name it.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(self.identity().spki()))
    }

    pub fn document(&self) -> Document {
        let public_key = Point::from_bytes(&self.descriptor.public_key).unwrap();
        let wrapped = wrap(&public_key, b"label", &[7; 32], &mut rand::rng());
        Document(wrapped.unwrap())
    }

    /// A request for a share of `document`'s key with an approval of `issuer` that is valid from `not_before` on.
    pub fn request(&self, issuer: &certs::Issuer, document: &Document, not_before: u64) -> Request {
        self.request_with(issuer, document, not_before).0
    }

    /// The same, and the approval's certificate.
    pub fn request_with(
        &self,
        issuer: &certs::Issuer,
        document: &Document,
        not_before: u64,
    ) -> (Request, Vec<u8>) {
        let ephemeral = EphemeralSecret::new(&document.0, &mut rand::rng());
        let approval = issuer
            .issue(&Approval {
                write_id: document.0.write_id(),
                ephemeral_point: *ephemeral.public().point().as_bytes(),
                approval_id: "read-1".to_owned(),
                client_spki: self.identity().spki().to_vec(),
                not_before,
                not_after: not_before + 120,
            })
            .unwrap();
        let request = Request::Reencrypt {
            result: None,
            approvals: vec![ByteBuf::from(approval.as_slice())],
            traceparent: None,
            wrapped_key: ByteBuf::from(document.0.as_bytes()),
            ephemeral_key: ByteBuf::from(ephemeral.public().as_bytes().as_slice()),
        };
        (request, approval)
    }

    /// Reads a new document from the member `name` with approvals of all these: `share`, or the code of the refusal.
    pub fn read_by(&self, issuers: &[&certs::Issuer], name: &str) -> String {
        let document = self.document();
        let ephemeral = EphemeralSecret::new(&document.0, &mut rand::rng());
        let approval = Approval {
            write_id: document.0.write_id(),
            ephemeral_point: *ephemeral.public().point().as_bytes(),
            approval_id: "read-1".to_owned(),
            client_spki: self.identity().spki().to_vec(),
            not_before: now() - 5,
            not_after: now() + 120,
        };
        let approvals = issuers
            .iter()
            .map(|issuer| issuer.issue(&approval).unwrap());
        let request = Request::Reencrypt {
            result: None,
            approvals: approvals.map(ByteBuf::from).collect(),
            traceparent: None,
            wrapped_key: ByteBuf::from(document.0.as_bytes()),
            ephemeral_key: ByteBuf::from(ephemeral.public().as_bytes().as_slice()),
        };
        self.outcome(name, &request)
    }

    /// Sends a request to the member `name` over a connection of its own.
    pub async fn send(&self, name: &str, request: &Request) -> Answer {
        self.try_send(name, request).await.unwrap()
    }

    /// The same; the node may be gone.
    pub async fn try_send(&self, name: &str, request: &Request) -> Result<Answer, CallError> {
        let mut members = self.descriptor.members.iter();
        let member = members.find(|member| member.name == name).unwrap();
        let options = PeerOptions {
            connect_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            ..PeerOptions::default()
        };
        call(
            self.identity(),
            &member.address,
            &member.identity,
            request,
            options,
        )
        .await
    }

    /// Reads a new document from the member `name`: `share`, or the code of the refusal.
    pub fn read(&self, site: &Site, name: &str) -> String {
        let document = self.document();
        self.read_again(site, name, &document)
    }

    /// The same with a document that is there.
    pub fn read_again(&self, site: &Site, name: &str, document: &Document) -> String {
        self.outcome(name, &self.request(&site.issuer, document, now()))
    }

    /// Sends a request to the member `name`: `share`, or the code of the refusal.
    pub fn outcome(&self, name: &str, request: &Request) -> String {
        let answer = self.answer(name, request);
        answer.split(": ").next().unwrap().to_owned()
    }

    /// The same, with the refusal's sentence behind its code.
    pub fn answer(&self, name: &str, request: &Request) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        match runtime.block_on(self.send(name, request)) {
            Answer::Refused { code, message, .. } => format!("{code}: {message}"),
            other => other.name().to_owned(),
        }
    }
}
