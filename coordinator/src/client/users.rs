//! Users and the tenant's own public-key infrastructure: what its administrators change, one call each.

use reqwest::Method;
use serde_json::json;

use super::changes::Change;
use super::{Client, ClientError};
use crate::api::ReceiptView;
use crate::platform::now_ms;
use crate::record::{Identifier, Transaction, UserName, UserRole};

fn all(certificates: &[Vec<u8>]) -> Vec<String> {
    certificates.iter().map(hex::encode).collect()
}

/// Whether a transaction holds these bytes, in this order.
fn same<T: AsRef<[u8]>>(found: &[T], meant: &[Vec<u8>]) -> bool {
    let found = found.iter().map(AsRef::as_ref);
    found.eq(meant.iter().map(Vec::as_slice))
}

impl Client {
    fn user_named(&self, user: &Identifier) -> UserName {
        UserName {
            tenant: self.tenant().clone(),
            user: user.clone(),
        }
    }

    /// Registers a user with a key of its own; an administrator acts. With one that the platform keeps: [`Client::add_managed_user`].
    ///
    /// # Errors
    ///
    /// [`ClientError::NotWhatWasMeant`] before anything is signed; otherwise what the platform or the record says.
    pub async fn add_user(
        &self,
        user: &Identifier,
        public_key: &[u8; 32],
        role: UserRole,
        expires_ms: Option<u64>,
    ) -> Result<ReceiptView, ClientError> {
        let asked = json!({ "user": user, "public_key": hex::encode(public_key), "role": role, "expires_ms": expires_ms });
        let change = Change::new(Method::POST, &["users"]).with(asked);
        let name = self.user_named(user);
        self.change(change, |it| {
            matches!(it, Transaction::UserRegister(it) if it.tenant == name.tenant && it.user == name.user && !it.managed
                && it.public_key == *public_key && it.role == role && it.expires_ms == expires_ms)
        })
        .await
    }

    /// Lets a user sign nothing until it is resumed; an administrator acts.
    ///
    /// # Errors
    ///
    /// As [`Client::add_user`].
    pub async fn suspend_user(&self, user: &Identifier) -> Result<ReceiptView, ClientError> {
        let (path, name) = (["users", user.as_str(), "suspend"], self.user_named(user));
        self.change(
            Change::new(Method::POST, &path),
            |it| matches!(it, Transaction::UserSuspend(it) if *it == name),
        )
        .await
    }

    /// Lets a suspended user sign again; an administrator acts.
    ///
    /// # Errors
    ///
    /// As [`Client::add_user`].
    pub async fn resume_user(&self, user: &Identifier) -> Result<ReceiptView, ClientError> {
        let (path, name) = (["users", user.as_str(), "resume"], self.user_named(user));
        self.change(
            Change::new(Method::POST, &path),
            |it| matches!(it, Transaction::UserResume(it) if *it == name),
        )
        .await
    }

    /// Says when a user's time is over, in milliseconds since the Unix epoch, or that it is never; an administrator acts.
    ///
    /// # Errors
    ///
    /// As [`Client::add_user`].
    pub async fn expire_user(
        &self,
        user: &Identifier,
        expires_ms: Option<u64>,
    ) -> Result<ReceiptView, ClientError> {
        let (path, name) = (["users", user.as_str(), "expiry"], self.user_named(user));
        let change = Change::new(Method::PUT, &path).with(json!({ "expires_ms": expires_ms }));
        self.change(change, |it| {
            matches!(it, Transaction::UserExpire(it) if it.tenant == name.tenant && it.user == name.user && it.expires_ms == expires_ms)
        })
        .await
    }

    /// Ends a user at once; an administrator acts.
    ///
    /// # Errors
    ///
    /// As [`Client::add_user`].
    pub async fn remove_user(&self, user: &Identifier) -> Result<ReceiptView, ClientError> {
        let (path, name) = (["users", user.as_str()], self.user_named(user));
        // A time that is past, by the record's clock, which may be a little ahead of this one.
        let latest = now_ms().saturating_add(60_000);
        self.change(Change::new(Method::DELETE, &path), |it| {
            matches!(it, Transaction::UserExpire(it) if it.tenant == name.tenant && it.user == name.user
                && it.expires_ms.is_some_and(|end| end <= latest))
        })
        .await
    }

    /// Says which authorities the tenant stands by, all of them at once, by their certificates (DER), and whether its users read by bound clients alone; an administrator
    /// acts.
    ///
    /// # Errors
    ///
    /// As [`Client::add_user`].
    pub async fn set_authorities(
        &self,
        certificates: &[Vec<u8>],
        bound_clients: bool,
    ) -> Result<ReceiptView, ClientError> {
        let mut meant = certificates.to_vec();
        meant.sort_unstable();
        let change = Change::new(Method::PUT, &["authorities"])
            .with(json!({ "certificates": all(&meant), "bound_clients": bound_clients }));
        self.change(change, |it| {
            matches!(it, Transaction::TenantAuthorities(it) if it.tenant == *self.tenant() && same(&it.authorities, &meant) && it.bound_clients == bound_clients)
        })
        .await
    }

    /// Publishes a revocation list (DER), with the certificates of authorities up to one that a registered authority issued; an administrator
    /// acts.
    ///
    /// # Errors
    ///
    /// As [`Client::add_user`].
    pub async fn publish_revocations(
        &self,
        list: &[u8],
        chain: &[Vec<u8>],
    ) -> Result<ReceiptView, ClientError> {
        let asked = json!({ "list": hex::encode(list), "chain": all(chain) });
        let change = Change::new(Method::POST, &["revocations"]).with(asked);
        self.change(change, |it| {
            matches!(it, Transaction::RevocationsPublish(it) if it.tenant == *self.tenant() && it.list == list && same(&it.chain, chain))
        })
        .await
    }

    /// Binds a user to a certificate of its company (DER, the holder's first), whose key signed the binding (`proof`); the user itself or an
    /// administrator acts.
    ///
    /// # Errors
    ///
    /// As [`Client::add_user`].
    pub async fn bind_certificate(
        &self,
        user: &Identifier,
        chain: &[Vec<u8>],
        proof: &[u8],
    ) -> Result<ReceiptView, ClientError> {
        let (path, name) = (
            ["users", user.as_str(), "certificate"],
            self.user_named(user),
        );
        let asked = json!({ "chain": all(chain), "proof": hex::encode(proof) });
        let change = Change::new(Method::PUT, &path).with(asked);
        self.change(change, |it| {
            matches!(it, Transaction::UserCertify(it) if it.tenant == name.tenant && it.user == name.user
                && it.certificate.as_ref().is_some_and(|it| same(&it.chain, chain) && it.proof == proof))
        })
        .await
    }

    /// Takes a user's binding to a certificate away; an administrator acts.
    ///
    /// # Errors
    ///
    /// As [`Client::add_user`].
    pub async fn unbind_certificate(&self, user: &Identifier) -> Result<ReceiptView, ClientError> {
        let (path, name) = (
            ["users", user.as_str(), "certificate"],
            self.user_named(user),
        );
        self.change(Change::new(Method::DELETE, &path), |it| {
            matches!(it, Transaction::UserCertify(it) if it.tenant == name.tenant && it.user == name.user && it.certificate.is_none())
        })
        .await
    }

    /// Binds a client, by the SHA-256 of the SubjectPublicKeyInfo that it shows to crypto nodes, to a certificate of its company (DER, the holder's first), whose key
    /// signed the binding (`proof`); an administrator acts.
    ///
    /// # Errors
    ///
    /// As [`Client::add_user`].
    pub async fn bind_client(
        &self,
        client: &[u8; 32],
        chain: &[Vec<u8>],
        proof: &[u8],
    ) -> Result<ReceiptView, ClientError> {
        let asked = json!({ "chain": all(chain), "proof": hex::encode(proof) });
        let client_hex = hex::encode(client);
        let path = ["clients", client_hex.as_str(), "certificate"];
        let change = Change::new(Method::PUT, &path).with(asked);
        self.change(change, |it| {
            matches!(it, Transaction::ClientCertify(it) if it.tenant == *self.tenant() && it.client == *client
                && it.certificate.as_ref().is_some_and(|it| same(&it.chain, chain) && it.proof == proof))
        })
        .await
    }

    /// Takes a client's binding to a certificate away; an administrator acts.
    ///
    /// # Errors
    ///
    /// As [`Client::add_user`].
    pub async fn unbind_client(&self, client: &[u8; 32]) -> Result<ReceiptView, ClientError> {
        let path = ["clients", &hex::encode(client), "certificate"];
        self.change(Change::new(Method::DELETE, &path), |it| {
            matches!(it, Transaction::ClientCertify(it) if it.tenant == *self.tenant() && it.client == *client && it.certificate.is_none())
        })
        .await
    }
}
