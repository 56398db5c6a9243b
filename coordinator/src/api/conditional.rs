//! ETags (RFC 9110 section 8.8.3) of what has versions, and the requests that depend on them.
//!
//! A tag names a state of the record, so it is the same at every platform and after every restart. Whoever changes something says
//! with `If-Match` which state it has seen; the record itself refuses a write, a link or permissions that do not come next, so
//! that nothing is lost between the look and the change either.
//!
//! A document has two of them. Its own changes with every write, erasure and rewrap. That of `content` names the body of one version, which never
//! changes; where it is the latest version's, `If-Match` and `If-None-Match` of a change take it in the place of the document's, so that what
//! was fetched can be written back.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::IntoParams;

use super::Problem;
use super::views::{AuthorityView, UserView};
use crate::record::{
    Dataset, DocumentName, DocumentVersion, Event, Identifier, LinkVersion, Permissions, Receipt,
    RecordHandle, State, UserName,
};

/// Bytes of a hash that tell apart the few states of one thing.
const SHORT: usize = 8;
/// Hexadecimal digits of a body's checksum that name it.
const OF_CHECKSUM: usize = 32;

/// By which a change says which state it has seen.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it describes what `may_change` reads")]
pub(super) struct IfSeen {
    /// An `ETag` of what is changed: only if it is still in that state.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

/// The same of what need not be there yet.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(
    dead_code,
    reason = "it describes what `may_change` and `next_version` read"
)]
pub(super) struct IfSeenOrNew {
    /// An `ETag` of what the new version comes after: only if it is still in that state.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
    /// `*`: only if there is none of this name yet.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// What a reader has of a body, and which bytes it wants.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(
    dead_code,
    reason = "it describes what `wanted` reads, and what asks for a range"
)]
pub(super) struct IfAnother {
    /// One range of bytes, such as `bytes=0-1023`, `bytes=1024-` or `bytes=-100`.
    #[param(rename = "Range")]
    range: Option<String>,
    /// An `ETag`: the whole body comes unless it is still this one.
    #[param(rename = "If-Range")]
    if_range: Option<String>,
    /// An `ETag`: 304 if it is still this body.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
    /// An `ETag`: 412 unless it is still this body.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

/// Names a state of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    text: String,
    /// What names it as well for who changes it: the body of a document's latest version.
    body: Option<String>,
}

impl Tag {
    fn new(text: impl std::fmt::Display) -> Self {
        let text = format!("\"{text}\"");
        Self { text, body: None }
    }

    pub(super) fn of_dataset(dataset: &Dataset, permissions: Option<&Permissions>) -> Self {
        let permissions = permissions.map_or(0, |it| it.version);
        Self::new(format_args!("{}.{permissions}", dataset.version))
    }

    pub(super) fn of_permissions(permissions: &Permissions) -> Self {
        Self::new(permissions.version)
    }

    /// Of a version's body as it is served. `checksum` is that of what is stored, hexadecimal: one body never has two.
    pub(super) fn of_body(version: u64, checksum: &str) -> Self {
        let short = checksum.get(..OF_CHECKSUM).unwrap_or(checksum);
        Self::new(format_args!("v{version}.{short}"))
    }

    /// The same of a version on the record, unless it is erased.
    pub(super) fn of_version(number: u64, version: &DocumentVersion) -> Option<Self> {
        version.content.as_ref()?;
        Some(Self::of_body(number, &hex::encode(version.checksum)))
    }

    /// Of what a transaction has changed, in the state that it left, where that is known for certain.
    pub(super) fn of_receipt(state: &State, receipt: &Receipt) -> Option<Self> {
        match receipt.events.as_slice() {
            [Event::Linked { version, .. } | Event::PermissionsChanged { version, .. }] => {
                Some(Self::new(version))
            }
            [Event::DatasetConfigured { dataset, version }, ..] => {
                let (found, permissions) = (state.dataset(dataset)?, state.permissions(dataset)?);
                let is_new = found.version == 1 && permissions.version == 1;
                let is_theirs = found.version == *version
                    && (is_new || permissions.changed_ms < receipt.time_ms);
                is_theirs.then(|| Self::of_dataset(found, Some(permissions)))
            }
            _ => None,
        }
    }

    /// Of a document, if there is one. Erasures of versions and rewraps change rows and make no version, so the rows are in it, too.
    pub(super) fn of_document(state: &State, name: &DocumentName) -> Option<Self> {
        let document = state.document(name)?;
        let mut rows = Sha256::new();
        for (name, row) in state.versions(name, None) {
            rows.update(name.version.to_le_bytes());
            // What else is in a row never changes.
            let key = row.content.as_ref().map(|content| content.key.digest());
            rows.update([u8::from(key.is_some())]);
            rows.update(key.flatten().unwrap_or_default());
        }
        let rows = rows.finalize();
        let short = rows.get(..SHORT).unwrap_or_default();
        let erased = if document.erased { ".erased" } else { "" };
        let mut tag = Self::new(format_args!(
            "{}.{}{erased}.{}",
            document.latest,
            document.changed_ms,
            hex::encode(short)
        ));
        let latest = state.version(&name.version(document.latest));
        let body = latest.and_then(|latest| Self::of_version(document.latest, latest));
        tag.body = body.map(|body| body.text);
        Some(tag)
    }

    /// As a header's value.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.text).ok()
    }

    pub(super) fn of_link(link: &LinkVersion) -> Self {
        Self::new(link.version)
    }

    /// Of a user, if there is one: by all that is shown of it, for of its changes only those of its key are numbered.
    pub(super) fn of_user(state: &State, name: &UserName, now_ms: u64) -> Option<Self> {
        let user = UserView::of(state, name, state.user(name)?, now_ms);
        Some(Self::of_shown(user.key_version, &user))
    }

    /// Of the authorities that a tenant stands by, none included.
    pub(super) fn of_authorities(state: &State, tenant: &Identifier) -> Self {
        let row = state.authorities(tenant);
        let bound_clients = row.is_some_and(|it| it.bound_clients);
        let changed_ms = row.map_or(0, |it| it.changed_ms);
        let all = AuthorityView::all(state, tenant);
        Self::of_shown(changed_ms, &(bound_clients, all))
    }

    fn of_shown(number: u64, shown: &impl Serialize) -> Self {
        let digest = Sha256::digest(serde_json::to_vec(shown).unwrap_or_default());
        let short = digest.get(..SHORT).unwrap_or_default();
        Self::new(format_args!("{number}.{}", hex::encode(short)))
    }

    /// Whether it is among those that the caller names, which is not so of a weak one.
    fn is_among(&self, tags: &[String]) -> bool {
        let mut tags = tags.iter();
        tags.any(|it| it == "*" || *it == self.text || self.body.as_ref() == Some(it))
    }

    /// Whether the caller has seen it already.
    fn is_seen(&self, headers: &HeaderMap) -> bool {
        let same = |it: &String| it == "*" || it.trim_start_matches("W/") == self.text;
        let seen = list(headers, &header::IF_NONE_MATCH);
        seen.is_some_and(|seen| seen.iter().any(same))
    }
}

/// An answer with the tag of what it is about, if that is known.
pub(super) fn with_tag(tag: Option<&Tag>, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    if let Some(value) = tag.and_then(Tag::header) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// An answer with its tag, or only the tag if the caller has the same state already.
pub(super) fn tagged(tag: &Tag, headers: &HeaderMap, answer: impl IntoResponse) -> Response {
    match tag.is_seen(headers) {
        true => with_tag(Some(tag), StatusCode::NOT_MODIFIED),
        false => with_tag(Some(tag), answer),
    }
}

/// What the conditions of a request for a body come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyWanted {
    /// Nothing: the caller has it.
    No,
    /// All of it, for a part would not go with the parts that the caller has.
    Whole,
    /// What it asks for.
    AsAsked,
}

/// Holds the conditions of a request for a body against it, in the order of RFC 9110 section 13.2.2.
///
/// # Errors
///
/// 412 with the code `precondition-failed`.
pub(super) fn wanted(headers: &HeaderMap, tag: &Tag) -> Result<BodyWanted, Problem> {
    if list(headers, &header::IF_MATCH).is_some_and(|tags| !tag.is_among(&tags)) {
        return failed("the version that would be read is not the one that `If-Match` names");
    }
    if tag.is_seen(headers) {
        return Ok(BodyWanted::No);
    }
    // A date is no tag: there is nothing to hold it against.
    let if_range = headers.get(header::IF_RANGE);
    match if_range.is_some_and(|it| it.as_bytes() != tag.text.as_bytes()) {
        true => Ok(BodyWanted::Whole),
        false => Ok(BodyWanted::AsAsked),
    }
}

fn failed<T>(detail: &str) -> Result<T, Problem> {
    Err(Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "precondition-failed",
        detail,
    ))
}

/// Whether a change may be made, which finds `present`: nothing, or something in this state. It is not looked for if no header names a
/// state: a document's is made of all its versions.
///
/// # Errors
///
/// 412 with the code `precondition-failed`.
pub(super) fn may_change(
    headers: &HeaderMap,
    present: impl FnOnce() -> Option<Tag>,
) -> Result<(), Problem> {
    if !name_a_state(headers) {
        return Ok(());
    }
    let expected = list(headers, &header::IF_MATCH);
    let unwanted = list(headers, &header::IF_NONE_MATCH);
    let present = present();
    let is_among = |tags: &[String]| {
        present
            .as_ref()
            .is_some_and(|present| present.is_among(tags))
    };
    if expected.is_some_and(|tags| !is_among(&tags)) {
        return failed(
            "it is not in the state that `If-Match` names: somebody changed it meanwhile; fetch it again and decide anew",
        );
    }
    if unwanted.is_some_and(|tags| is_among(&tags)) {
        return failed("it exists already, which `If-None-Match` forbids");
    }
    Ok(())
}

fn name_a_state(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_NONE_MATCH)
}

/// Whether a version may be written of a document, and as which, if the headers name a state. That number and the state are looked up at one time: what is
/// written comes next after what the caller has seen, or the record refuses it, whoever writes meanwhile.
///
/// # Errors
///
/// 412 with the code `precondition-failed`.
pub(super) fn next_version(
    headers: &HeaderMap,
    record: &RecordHandle,
    name: &DocumentName,
) -> Result<Option<u64>, Problem> {
    if !name_a_state(headers) {
        return Ok(None);
    }
    let (present, latest) = record.with_state(|state| {
        let latest = state.document(name).map_or(0, |it| it.latest);
        (Tag::of_document(state, name), latest)
    });
    may_change(headers, || present)?;
    Ok(Some(latest.saturating_add(1)))
}

/// The members of a header, of all its lines; `None` if it is absent. What is no text matches nothing.
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    if !headers.contains_key(name) {
        return None;
    }
    let lines = headers
        .get_all(name)
        .iter()
        .filter_map(|it| it.to_str().ok());
    let members = lines.flat_map(|line| line.split(','));
    Some(members.map(|it| it.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn changes_are_made_to_the_state_that_was_seen() {
        let mut tag = Tag::new("3.7");
        let ask = |name: HeaderName, value: &str, present: Option<&Tag>| {
            may_change(&headers(name, value), || present.cloned()).is_ok()
        };
        assert!(may_change(&HeaderMap::new(), || Some(tag.clone())).is_ok());
        for (value, fine) in [
            ("\"3.7\"", true),
            ("*", true),
            ("\"1\", \"3.7\"", true),
            ("\"3.8\"", false),
            ("W/\"3.7\"", false),
            ("", false),
        ] {
            assert_eq!(ask(header::IF_MATCH, value, Some(&tag)), fine, "{value}");
            assert!(!ask(header::IF_MATCH, value, None), "{value}");
        }
        assert!(!ask(header::IF_NONE_MATCH, "*", Some(&tag)));
        assert!(ask(header::IF_NONE_MATCH, "*", None));
        assert!(ask(header::IF_NONE_MATCH, "\"3.8\"", Some(&tag)));
        // The latest body's is as good.
        let body = "\"v3.00\"";
        assert!(!ask(header::IF_MATCH, body, Some(&tag)));
        tag.body = Some(body.to_owned());
        assert!(ask(header::IF_MATCH, body, Some(&tag)));
        assert!(!ask(header::IF_NONE_MATCH, body, Some(&tag)));
        let seen = tagged(&tag, &headers(header::IF_NONE_MATCH, body), "state");
        assert_eq!(
            seen.status(),
            StatusCode::OK,
            "whoever has a body has no list"
        );
    }

    #[test]
    fn a_body_is_sent_to_whoever_has_another_one() {
        let tag = Tag::of_body(3, &"5a".repeat(32));
        assert_eq!(tag.text, format!("\"v3.{}\"", "5a".repeat(16)));
        let ask = |name: HeaderName, value: &str| wanted(&headers(name, value), &tag).ok();
        let (own, other) = (tag.text.as_str(), "\"v2.5a\"");
        let weak = format!("W/{own}");
        for (name, value, expected) in [
            (header::IF_NONE_MATCH, own, Some(BodyWanted::No)),
            (header::IF_NONE_MATCH, &weak, Some(BodyWanted::No)),
            (header::IF_NONE_MATCH, "*", Some(BodyWanted::No)),
            (header::IF_NONE_MATCH, other, Some(BodyWanted::AsAsked)),
            (header::IF_MATCH, own, Some(BodyWanted::AsAsked)),
            (header::IF_MATCH, other, None),
            (header::IF_MATCH, &weak, None),
            (header::IF_RANGE, own, Some(BodyWanted::AsAsked)),
            (header::IF_RANGE, other, Some(BodyWanted::Whole)),
            (header::IF_RANGE, &weak, Some(BodyWanted::Whole)),
            (
                header::IF_RANGE,
                "Sun, 22 Nov 2026 00:00:00 GMT",
                Some(BodyWanted::Whole),
            ),
        ] {
            assert_eq!(ask(name.clone(), value), expected, "{name}: {value}");
        }
    }

    #[test]
    fn who_has_the_state_gets_no_body() {
        let tag = Tag::new("3");
        let status = |headers: &HeaderMap| tagged(&tag, headers, "state").status();
        assert_eq!(status(&HeaderMap::new()), StatusCode::OK);
        assert_eq!(
            status(&headers(header::IF_NONE_MATCH, "\"3\"")),
            StatusCode::NOT_MODIFIED
        );
        assert_eq!(
            status(&headers(header::IF_NONE_MATCH, "W/\"3\"")),
            StatusCode::NOT_MODIFIED
        );
        assert_eq!(
            status(&headers(header::IF_NONE_MATCH, "\"2\"")),
            StatusCode::OK
        );
    }
}
