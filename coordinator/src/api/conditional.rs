//! ETags (RFC 9110 section 8.8.3) of what has versions, and the requests that depend on them.
//!
//! A tag names a state of the record, so it is the same at every platform and after every restart. Whoever changes something says
//! with `If-Match` which state it has seen; the record itself refuses a write, a link or permissions that do not come next, so
//! that nothing is lost between the look and the change either.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::Problem;
use crate::record::{Dataset, DocumentName, LinkVersion, Permissions, State};

/// Bytes of a hash that tell apart the few states of one document.
const SHORT: usize = 8;

/// Names a state of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag(String);

impl Tag {
    pub(super) fn of_dataset(dataset: &Dataset, permissions: Option<&Permissions>) -> Self {
        let permissions = permissions.map_or(0, |it| it.version);
        Self(format!("\"{}.{permissions}\"", dataset.version))
    }

    pub(super) fn of_permissions(permissions: &Permissions) -> Self {
        Self(format!("\"{}\"", permissions.version))
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
        Some(Self(format!(
            "\"{}.{}{erased}.{}\"",
            document.latest,
            document.changed_ms,
            hex::encode(short)
        )))
    }

    /// As a header's value.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }

    pub(super) fn of_link(link: &LinkVersion) -> Self {
        Self(format!("\"{}\"", link.version))
    }
}

/// An answer with its tag, or only the tag if the caller has the same state already.
pub(super) fn tagged(tag: &Tag, headers: &HeaderMap, answer: impl IntoResponse) -> Response {
    let seen = list(headers, &header::IF_NONE_MATCH);
    let same = |it: &&str| *it == "*" || it.trim_start_matches("W/") == tag.0;
    let mut response = if seen.is_some_and(|seen| seen.iter().any(|it| same(&it.as_str()))) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        answer.into_response()
    };
    if let Some(value) = tag.header() {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
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
    let expected = list(headers, &header::IF_MATCH);
    let unwanted = list(headers, &header::IF_NONE_MATCH);
    if expected.is_none() && unwanted.is_none() {
        return Ok(());
    }
    let present = present();
    let is_among = |tags: &[String]| {
        let is_it = |tag: &Tag| tags.iter().any(|it| it == "*" || *it == tag.0);
        present.as_ref().is_some_and(is_it)
    };
    let failed = |detail: &str| {
        Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition-failed",
            detail,
        ))
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
        let tag = Tag("\"3.7\"".to_owned());
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
    }

    #[test]
    fn who_has_the_state_gets_no_body() {
        let tag = Tag("\"3\"".to_owned());
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
