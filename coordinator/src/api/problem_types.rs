//! The types of problems that an answer can have: each code, the status that it usually comes with, and what it means. A code never
//! changes its meaning. This list is in the OpenAPI file, and `GET /problems/CODE` answers from it.

use serde::Serialize;
use utoipa::ToSchema;

/// A type of problem.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(example = json!({ "code": "not-permitted", "status": 403, "meaning": "the user has no such role in the dataset" }))]
pub struct ProblemType {
    /// Its code; its `type` is `/problems/CODE`.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What it means.
    pub meaning: &'static str,
}

/// The type with this code.
pub fn find(code: &str) -> Option<&'static ProblemType> {
    ALL.iter().find(|it| it.code == code)
}

macro_rules! types {
    ($($code:literal $status:literal $meaning:literal,)*) => {
        /// All of them, by subject.
        pub const ALL: &[ProblemType] = &[$(ProblemType { code: $code, status: $status, meaning: $meaning }),*];
    };
}

types! {
    // The request.
    "bad-request" 400 "the path, the query, a header or the body cannot be read; `detail` says where",
    "not-found" 404 "there is nothing here that this API key can see",
    "method-not-allowed" 405 "the path does not know this method; `Allow` lists those that it knows",
    "body-too-long" 413 "the body is longer than this route, or this platform, takes",
    "range-not-satisfiable" 416 "the document has no such bytes; `Content-Range` has its length",
    "precondition-failed" 412 "it is not in the state that `If-Match` or `If-None-Match` asks for",
    "rate-limited" 429 "the tenant makes more requests than it may; `Retry-After` says when to come back",
    "idempotency-key-malformed" 400 "an Idempotency-Key has 1 to 128 visible characters",
    "idempotency-key-reused" 422 "the Idempotency-Key was used for another request, or another body",
    "idempotency-key-in-use" 409 "a request with this Idempotency-Key is under way",
    "idempotency-full" 503 "the tenant has used more Idempotency-Keys than are remembered at a time",
    "idempotency-store" 503 "the list of Idempotency-Keys cannot be used; the operator must put the disk in order",
    "malformed" 422 "the body is no such transaction, or this route does not take it",
    "other-transaction" 422 "what was signed is not what was prepared",
    "not-prepared" 404 "an upload or a read that is unknown, was used, or waited too long",
    // API keys.
    "api-key-missing" 401 "there is no API key in the request",
    "api-key-invalid" 401 "the API key was not made by this platform",
    "api-key-expired" 401 "the API key's time is over",
    "api-key-revoked" 401 "the API key was revoked",
    "api-key-scope" 403 "the API key lacks the scope that this needs",
    "api-key-user" 403 "the API key is one user's alone, and another one is to act",
    "author-missing" 400 "nobody says who acts: `author` (or `reader`) is missing, and the API key is bound to no user",
    "api-key-unknown" 404 "there is no API key with this id",
    "api-key-terms" 422 "a key as it was asked for cannot be made",
    "api-key-list" 503 "the list of API keys cannot be used: nobody is let in",
    // Users whose keys the platform keeps.
    "user-not-managed" 422 "the user holds its key itself, so the platform cannot sign for it",
    "managed-key-missing" 422 "another platform keeps the user's key, or it was lost",
    "managed-keys-waiting" 503 "the tenant made more managed keys than the record has taken over",
    "managed-key-damaged" 500 "the kept key cannot be used",
    "managed-key-store" 503 "the list of managed keys cannot be used",
    // Transfers.
    "upload-broken-off" 400 "the body did not arrive whole",
    "reader-gone" 400 "the reader closed the connection",
    "transfer-idle" 408 "the transfer was too slow",
    "parts-gap" 409 "bytes are missing before those that were sent; `more.offset` says from where on to send",
    "parts-overtaken" 409 "another request sends to this upload by now",
    "parts-incomplete" 409 "fewer or more bytes have arrived than the body has; `more.offset` says how many",
    "parts-pending" 503 "whether the upload is on the record already is not known yet; the same request tells later",
    "parts-differ" 422 "what arrived has another SHA-256 than what was sent",
    "parts-tag" 422 "the tag of the upload is too long",
    "parts-too-many" 429 "the tenant has as many uploads in parts as it may have",
    "parts-too-large" 429 "the tenant's uploads in parts have as many bytes together as they may have",
    "parts-list" 500 "the list of uploads in parts cannot be used",
    "parts-damaged" 500 "an upload in parts is damaged; it must begin again",
    "busy" 503 "as many transfers are under way as are taken on",
    // Reads.
    "not-approved" 403 "not enough organisations approve the read; `more` has what each said",
    "not-end-to-end" 422 "the version is under no cluster's key: the platform opens it, or nobody needs to",
    "pointer-needed" 400 "the sealed body lies in the body store, and the request has no `Body-Pointer`",
    "read-over" 410 "the sealed body was asked for more than an hour after its read: make a new one",
    "approvals-unavailable" 503 "no organisation's peer could approve the read in time; `more` has what each said",
    "cluster-unknown" 503 "the platform knows no cluster with the dataset's key",
    "too-few-answers" 503 "too few crypto nodes gave their share; `more` has what each did",
    "request" 503 "the request for the crypto nodes cannot be made",
    "invalid-wrapped-key" 503 "the crypto nodes' client refuses the wrapped key",
    "other-key" 503 "the wrapped key is under another cluster's key",
    "wrapped-key-invalid" 502 "the document's wrapped key on the record is not valid",
    "envelope-header" 502 "the stored body is no encrypted body",
    "envelope-block" 502 "a block of the stored body was altered, moved or exchanged",
    "envelope-size" 502 "the stored body is shorter or longer than on the record",
    "envelope-checksum" 502 "the stored body is not the one on the record",
    "envelope-wrapped-key" 502 "the wrapped body key does not belong to this version",
    "envelope-document-key" 502 "the wrapped document key does not belong to this version",
    "envelope-pointer" 502 "the pointer does not belong to this version",
    "envelope-too-long" 502 "longer than a body can be",
    "envelope-too-large" 502 "the metadata is longer than it may be",
    "envelope-cipher" 502 "the cryptographic library failed",
    "body-missing" 500 "the stored body is not there",
    "body-store" 503 "the body store cannot be reached, or fails; with 500, it refuses the platform",
    "body-store-full" 507 "there is no room for bodies",
    "body-index" 500 "the list of bodies cannot be used",
    "body-note" 500 "a note about an upload cannot be read",
    "passphrase-wrong" 500 "the master key does not open",
    "passphrase-empty" 500 "the master key's passphrase is empty",
    "master-key-damaged" 500 "the master key's file is damaged",
    "master-key-other" 500 "this was wrapped under another master key",
    "master-key-refused" 500 "a key under the master key was altered",
    "master-key-cipher" 500 "the cryptographic library failed",
    "master-key-too-many" 409 "too many master keys are still in use for another rotation",
    "master-key-not-rewrapped" 500 "something is still under an older master key; it is tried again",
    "master-key-not-retirable" 409 "the master key is the present one, or not here",
    "version-key-missing" 500 "the platform's half of the version's key is not there",
    "key-store" 500 "the version keys cannot be used",
    "key-store-damaged" 500 "the version keys' file is damaged",
    "folder-other" 500 "the platform's folder is of something else",
    "folder-not-initialised" 500 "the platform's folder is not one",
    "folder-not-empty" 500 "the platform's folder has something else in it",
    "folder-in-use" 500 "another process uses the platform's folder",
    "file-io" 500 "a file of the platform cannot be read or written",
    "file-too-large" 500 "a file of the platform is larger than it can be",
    "file-too-open" 500 "a secret of the platform may be read by others",
    "internal" 500 "something of the platform's own failed",
    // The record as a whole.
    "record-halted" 503 "the record has stopped; whether the transaction is on it, its id tells later",
    "record-busy" 503 "too many transactions wait",
    "record-catching-up" 503 "the platform's copy of the record does not have all yet that the organisations' peers have",
    "record-closing" 503 "the record is being closed",
    "record-store" 503 "a peer's store failed",
    "record-store-other" 503 "a peer's store belongs to another record",
    "record-store-damaged" 503 "a peer's store is damaged",
    "unknown-transaction" 404 "there is no such transaction on the record",
    "beyond-size" 422 "the record has fewer transactions than that",
    "export" 503 "the export cannot be written",
    // What the record refuses.
    "wrong-ledger" 422 "the transaction is for another ledger",
    "expired" 422 "the transaction has expired: prepare and sign it anew",
    "expires-too-late" 422 "the transaction expires further in the future than it may",
    "replayed" 409 "this very transaction is on the record already",
    "signature" 403 "the signature is not the author's",
    "wrong-author" 422 "an organisation must sign this, or a user",
    "too-large" 422 "something in the transaction is longer than it may be",
    "public-key" 422 "a public key is none, or a weak one",
    "unknown-organisation" 404 "there is no such organisation",
    "organisation-exists" 409 "the organisation exists already",
    "organisation-change" 422 "the change of the organisations cannot be made",
    "already-endorsed" 422 "the organisation has endorsed this already",
    "not-endorsed" 422 "the organisation has not endorsed this",
    "too-many-endorsements" 422 "too many changes of the organisations wait",
    "unknown-tenant" 404 "there is no such tenant",
    "tenant-exists" 409 "the tenant exists already",
    "orphaned-tenant" 422 "the tenant's organisation takes no part any more",
    "unknown-user" 404 "there is no such user",
    "user-exists" 409 "the user exists already",
    "user-suspended" 403 "the user is suspended",
    "user-not-suspended" 422 "the user is not suspended",
    "user-expired" 403 "the user's time is over",
    "key-custody" 422 "the transaction names another keeper of its author's key than the record",
    "not-administrator" 403 "this needs an administrator of the tenant",
    "own-account" 422 "nobody does this to its own account",
    "rotation-proof" 422 "the new key has not signed its rotation",
    "key-unchanged" 422 "the new key is the old one",
    "unknown-authorities" 404 "the tenant has registered no authority of its own",
    "authorities-not-sorted" 422 "the authorities are not in ascending order, or one is there twice",
    "certificate-chain" 422 "the certificates lead to no authority of the tenant, or cannot be used",
    "certificate-proof" 422 "the certificate's key has not signed for this user or client",
    "certificate-subject" 422 "a user renews its certificate in its own name only",
    "certificate-unbound" 422 "the user or client is bound to no certificate",
    "certificate-missing" 403 "the user or client must be bound to a certificate of its company, and is not",
    "certificate-revoked" 403 "the certificate of the user or client is revoked",
    "certificate-expired" 403 "the certificate of the user or client has expired",
    "certificate-unanchored" 403 "the certificate of the user or client is under no authority of the tenant any more",
    "organisation-decides" 403 "this would lead out of the company's PKI: the tenant's organisation does it, no administrator",
    "revocation-list" 422 "the revocation list is not taken",
    "unknown-dataset" 404 "there is no such dataset",
    "dataset-exists" 409 "the dataset exists already",
    "other-tenant" 403 "a user makes datasets in its own tenant only",
    "cluster-key" 422 "the cluster's key is none",
    "version" 409 "another version comes next: somebody else was first",
    "not-permitted" 403 "the user has no such role in the dataset",
    "permission-unchanged" 409 "the user has the role already, or does not have it",
    "users-not-sorted" 422 "the users are not in order, or one is there twice",
    "last-owner" 422 "a dataset always has an owner",
    "access-pending" 409 "the same request for access waits for an owner already",
    "unknown-access-request" 404 "there is no such open request for access",
    "unknown-document" 404 "there is no such document",
    "unknown-version" 404 "there is no such version",
    "erased" 410 "it is erased",
    "content-type" 422 "the media type has characters that none has, or is too long",
    "encryption-mismatch" 422 "the write is not encrypted as the dataset says",
    "storage-mismatch" 422 "the body does not lie where the dataset says",
    "presence" 422 "something is there that must not be, or is missing",
    "checksum" 422 "the checksum is not that of the body",
    "length" 422 "the length is not that of the body",
    "wrapped-key" 422 "the wrapped key cannot be read",
    "wrapped-key-cluster" 422 "the wrapped key is under another cluster's key",
    "wrapped-key-label" 422 "the wrapped key was made for another write",
    "wrapped-key-proof" 422 "the wrapped key's proof is false",
    "write-id-known" 422 "the wrapped key was used before",
    "key-replaced" 409 "the version's key was wrapped anew by somebody else meanwhile",
    "reencryption" 422 "the read must name an ephemeral key, or must not",
    "write-id" 422 "the read names another wrapped key",
    "ephemeral-key" 422 "the ephemeral key cannot be read",
    "ephemeral-key-proof" 422 "the ephemeral key's proof is false",
    "ephemeral-key-used" 422 "the ephemeral key was used before",
    "client-key" 422 "the client's key is none",
    "unknown-link" 404 "there is no such link",
    "link-to-itself" 422 "a link does not lead to where it starts",
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The codes in the `match` of each `fn code` in a file.
    fn codes_in(source: &str) -> Vec<String> {
        let mut found = Vec::new();
        let source = source.split("#[cfg(test)]").next().unwrap();
        for function in source.split("fn code(").skip(1) {
            let body = function.split("\n    }\n").next().unwrap();
            let quoted = body.split('"').skip(1).step_by(2);
            found.extend(quoted.map(str::to_owned));
        }
        found
    }

    #[test]
    fn every_code_that_an_answer_can_have_is_listed() {
        let sources = [
            include_str!("auth/mod.rs"),
            include_str!("../platform/error.rs"),
            include_str!("../platform/managed.rs"),
            include_str!("../envelope/error.rs"),
            include_str!("../body_store.rs"),
            include_str!("../master_key.rs"),
            include_str!("../folder.rs"),
            include_str!("../record/engine.rs"),
            include_str!("../record/rejection.rs"),
            include_str!("../record/peer/store.rs"),
        ];
        for source in sources {
            let codes = codes_in(source);
            assert!(codes.len() >= 3, "{codes:?}");
            for code in codes {
                assert!(find(&code).is_some(), "{code} is not listed");
            }
        }
    }

    #[test]
    fn each_is_listed_once_and_is_a_plain_word() {
        for (place, one) in ALL.iter().enumerate() {
            assert!(
                one.code
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{}",
                one.code
            );
            assert!((400..600).contains(&one.status) && !one.meaning.is_empty());
            assert!(
                ALL.iter()
                    .skip(place + 1)
                    .all(|other| other.code != one.code),
                "{}",
                one.code
            );
        }
    }
}
