//! Companies' own certificates: which authorities a tenant stands by, which user or client is bound to which certificate, and what was revoked.
//!
//! A binding gives nothing: no role, no key. It takes: from the moment in which the certificate does not stand any more
//! ([`State::certificate_stands`](crate::record::State)), its user signs nothing and gets no approval, and no read goes to its client. So whoever manages a tenant's
//! users may bind them, and only such a person, not the user, unbinds; and a user who renews its certificate itself gets one in the same name.
//!
//! Administrators are under the company's authorities themselves, and must not step out from under them before their certificates are revoked. Three ways lead out,
//! and each needs somebody else:
//!
//! - *an authority of one's own*: once somebody of the tenant is bound, an administrator takes authorities away and adds none, and makes nothing looser;
//! - *to be unbound by a friend*, or by a second account: an administrator is unbound by the tenant's organisation alone;
//! - *a second account*: an administrator who is bound makes administrators who sign nothing before they are bound too (`must_be_bound`).
//!
//! All of it is decided by what is on the record and the block's time alone.

use super::{Actor, Rules, bounded};
use crate::record::{
    event::Event,
    identifier::{Identifier, UserName},
    rejection::Rejection,
    signed::{certificate_statement, client_statement},
    state::{
        Authorities, BoundCertificate, CertificateLink, Holder, RegisteredAuthority, Revocations,
        RevocationsKey, State, User,
    },
    transaction::{
        Certification, ClientCertify, MAX_AUTHORITIES, MAX_CHAIN, MAX_REVOCATION_LIST,
        RevocationsPublish, TenantAuthorities, UserCertify, UserRole,
    },
};
use certs::chain::{self, ChainError, PkiAuthority, VerifiedChain};
use serde_bytes::ByteBuf;

/// How far a list's thisUpdate may be ahead of the block's time, in seconds.
const LIST_AHEAD_S: u64 = 300;

fn refused(error: &ChainError) -> Rejection {
    Rejection::CertificateChain {
        reason: error.to_string(),
    }
}

fn list_refused(error: impl ToString) -> Rejection {
    Rejection::RevocationList {
        reason: error.to_string(),
    }
}

impl Rules<'_> {
    pub(super) fn tenant_authorities(
        &mut self,
        it: &TenantAuthorities,
    ) -> Result<Vec<Event>, Rejection> {
        self.manages(&it.tenant)?;
        bounded("the authorities", it.authorities.len(), MAX_AUTHORITIES)?;
        if !it.authorities.is_sorted_by(|a, b| a < b) {
            return Err(Rejection::AuthoritiesNotSorted);
        }
        if self.state.is_under_pki(&it.tenant) && self.widens(it) {
            self.organisation_decides(&it.tenant, "to add an authority or to make less binding")?;
        }
        let mut authorities = Vec::with_capacity(it.authorities.len());
        for certificate in &it.authorities {
            let read = PkiAuthority::from_der(certificate).map_err(|error| refused(&error))?;
            authorities.push(RegisteredAuthority {
                certificate: certificate.clone(),
                key: read.key_hash(),
                not_after_s: read.not_after(),
            });
        }
        let (tenant, count) = (it.tenant.clone(), authorities.len());
        let row = Authorities {
            authorities,
            bound_clients: it.bound_clients,
            changed_by: self.transaction.author().clone(),
            changed_ms: self.block.time_ms,
        };
        let state = &mut *self.state;
        state.authorities.put(&mut state.tree, tenant.clone(), row);
        Ok(vec![Event::AuthoritiesRegistered { tenant, count }])
    }

    pub(super) fn user_certify(&mut self, it: &UserCertify) -> Result<Vec<Event>, Rejection> {
        let name = it.name();
        let itself = matches!(&self.actor, Actor::User(author, _) if *author == name);
        // Who wants to be rid of a certificate that will be revoked asks somebody else.
        if !itself || it.certificate.is_none() {
            self.manages(&it.tenant)?;
        }
        if it.certificate.is_none() {
            self.not_itself(&name)?;
        }
        let mut user = self.known_user(&name)?;
        user.certificate = match &it.certificate {
            None if user.certificate.is_none() => {
                return Err(Rejection::CertificateUnbound(Holder::User(name)));
            }
            None => {
                if user.role == UserRole::Administrator {
                    self.organisation_decides(&it.tenant, "to unbind an administrator")?;
                }
                None
            }
            Some(certification) => {
                let verified = self.verify_certificate(&it.tenant, certification)?;
                let statement = certificate_statement(&self.state.ledger, &name, &user.public_key);
                if !verified.is_signed(&statement, &certification.proof) {
                    return Err(Rejection::CertificateProof);
                }
                let bound = bound(&verified, self.block.time_ms);
                let same_name = |old: &BoundCertificate| old.subject == bound.subject;
                if itself && !user.certificate.as_ref().is_none_or(same_name) {
                    return Err(Rejection::CertificateSubject(name));
                }
                let holder = Holder::User(name.clone());
                self.state
                    .certificate_stands(&holder, &bound, self.block.time_ms)?;
                Some(bound)
            }
        };
        let certificate = user
            .certificate
            .as_ref()
            .map(|it| hex::encode(it.fingerprint));
        self.put_user(name.clone(), user);
        Ok(vec![Event::UserCertified {
            user: name,
            certificate,
        }])
    }

    pub(super) fn client_certify(&mut self, it: &ClientCertify) -> Result<Vec<Event>, Rejection> {
        self.manages(&it.tenant)?;
        let name = it.name();
        let mut certificate = None;
        match &it.certificate {
            None => {
                if !self.state.delete_client(&name) {
                    return Err(Rejection::CertificateUnbound(Holder::Client(name)));
                }
            }
            Some(certification) => {
                let verified = self.verify_certificate(&it.tenant, certification)?;
                let statement = client_statement(&self.state.ledger, &name);
                if !verified.is_signed(&statement, &certification.proof) {
                    return Err(Rejection::CertificateProof);
                }
                let bound = bound(&verified, self.block.time_ms);
                let holder = Holder::Client(name.clone());
                self.state
                    .certificate_stands(&holder, &bound, self.block.time_ms)?;
                certificate = Some(hex::encode(bound.fingerprint));
                self.state.put_client(name, bound);
            }
        }
        Ok(vec![Event::ClientCertified {
            tenant: it.tenant.clone(),
            client: hex::encode(it.client),
            certificate,
        }])
    }

    pub(super) fn revocations_publish(
        &mut self,
        it: &RevocationsPublish,
    ) -> Result<Vec<Event>, Rejection> {
        self.manages(&it.tenant)?;
        bounded("the revocation list", it.list.len(), MAX_REVOCATION_LIST)?;
        bounded("the chain", it.chain.len(), MAX_CHAIN)?;
        let anchors = anchors(self.state, &it.tenant)?;
        let now_s = self.block.time_ms / 1000;
        let (authority, list) = if it.chain.is_empty() {
            // Whichever of the registered authorities signed it.
            let lists = anchors
                .iter()
                .map(|anchor| anchor.revocation_list(&it.list).map(|list| (anchor, list)));
            let mut first_error = None;
            let found = lists.into_iter().find_map(|tried| match tried {
                Ok(found) => Some(found),
                Err(error) => {
                    first_error.get_or_insert(error);
                    None
                }
            });
            let (anchor, list) = found.ok_or_else(|| {
                first_error.map_or_else(
                    || Rejection::UnknownAuthorities(it.tenant.clone()),
                    list_refused,
                )
            })?;
            (anchor.key_hash(), list)
        } else {
            let chain: Vec<&[u8]> = it.chain.iter().map(|der| der.as_slice()).collect();
            let authority = chain::verify_authority(&chain, &anchors, now_s)
                .map_err(|error| refused(&error))?;
            let list = authority.revocation_list(&it.list).map_err(list_refused)?;
            (authority.key_hash(), list)
        };
        let key = RevocationsKey {
            tenant: it.tenant.clone(),
            authority,
        };
        let row = Revocations {
            this_update_s: list.this_update(),
            next_update_s: list.next_update(),
            number: list.number().to_vec(),
            revoked: list.serials().map(ByteBuf::from).collect(),
            published_by: self.transaction.author().clone(),
            published_ms: self.block.time_ms,
        };
        if row.this_update_s > now_s.saturating_add(LIST_AHEAD_S) {
            return Err(list_refused("it is of a time that has not come yet"));
        }
        if let Some(held) = self.state.revocations.get(&key) {
            let order = |it: &Revocations| (it.number.len(), it.number.clone());
            let older = row.this_update_s < held.this_update_s || order(&row) < order(held);
            if older {
                return Err(list_refused("there is a newer one on the record already"));
            }
        }
        let revoked = row.revoked.len();
        let state = &mut *self.state;
        state.revocations.put(&mut state.tree, key, row);
        Ok(vec![Event::RevocationsPublished {
            tenant: it.tenant.clone(),
            authority: hex::encode(authority),
            revoked,
        }])
    }

    /// Whether somebody could be bound, or read, by it who could not before.
    fn widens(&self, it: &TenantAuthorities) -> bool {
        let present = self.state.authorities(&it.tenant);
        let known = |certificate: &ByteBuf| {
            present.is_some_and(|row| {
                let mut registered = row.authorities.iter();
                registered.any(|authority| authority.certificate == *certificate)
            })
        };
        let looser = !it.bound_clients && present.is_some_and(|row| row.bound_clients);
        looser || !it.authorities.iter().all(known)
    }

    /// The author, who manages the tenant, must be the organisation that answers for it.
    fn organisation_decides(
        &self,
        tenant: &Identifier,
        what: &'static str,
    ) -> Result<(), Rejection> {
        match (&self.actor, self.state.tenant(tenant)) {
            (Actor::Organisation(_), _) => Ok(()),
            (Actor::User(..), Some(row)) => Err(Rejection::OrganisationDecides {
                what,
                tenant: tenant.clone(),
                organisation: row.organisation.clone(),
            }),
            (Actor::User(..), None) => Err(Rejection::UnknownTenant(tenant.clone())),
        }
    }

    fn verify_certificate(
        &self,
        tenant: &Identifier,
        it: &Certification,
    ) -> Result<VerifiedChain, Rejection> {
        bounded("the chain", it.chain.len(), MAX_CHAIN)?;
        bounded("the proof", it.proof.len(), chain::MAX_PROOF)?;
        let anchors = anchors(self.state, tenant)?;
        let chain: Vec<&[u8]> = it.chain.iter().map(|der| der.as_slice()).collect();
        chain::verify_chain(&chain, &anchors, self.block.time_ms / 1000)
            .map_err(|error| refused(&error))
    }
}

/// The authorities that a tenant stands by.
fn anchors(state: &State, tenant: &Identifier) -> Result<Vec<PkiAuthority>, Rejection> {
    let registered = state
        .authorities(tenant)
        .filter(|row| !row.authorities.is_empty())
        .ok_or_else(|| Rejection::UnknownAuthorities(tenant.clone()))?;
    registered
        .authorities
        .iter()
        .map(|it| PkiAuthority::from_der(&it.certificate).map_err(|error| refused(&error)))
        .collect()
}

fn bound(verified: &VerifiedChain, bound_ms: u64) -> BoundCertificate {
    let link = |link: &chain::ChainLink| CertificateLink {
        issuer: link.issuer,
        serial: link.serial.clone(),
        not_after_s: link.not_after,
    };
    BoundCertificate {
        fingerprint: verified.fingerprint(),
        subject: verified.subject().to_vec(),
        links: verified.links().iter().map(link).collect(),
        bound_ms,
    }
}

/// Whether the user's certificate, if it is bound to one, stands at this time; and that it is bound to one, if it must be.
pub(super) fn certified(
    state: &State,
    name: &UserName,
    user: &User,
    time_ms: u64,
) -> Result<(), Rejection> {
    let holder = || Holder::User(name.clone());
    match &user.certificate {
        Some(certificate) => state.certificate_stands(&holder(), certificate, time_ms),
        None if user.must_be_bound => Err(Rejection::CertificateMissing(holder())),
        None => Ok(()),
    }
}
