//! Lists come in parts: `limit` says how long a part may be, and `next` of a part is the `after` of the one behind it.

use axum::extract::FromRequestParts;
use axum::extract::Query;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::Problem;
use super::views::Page;
use crate::record::Identifier;

const MAX_PAGE: usize = 1000;
const USUAL_PAGE: usize = 100;

/// Which part of a list of names.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// `next` of the part before.
    #[param(value_type = Option<String>)]
    pub(super) after: Option<Identifier>,
    /// Items at most; 100 if absent, never more than 1000.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
}

/// Which part of a list of numbered things.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NumberPageQuery {
    /// `next` of the part before.
    pub(super) after: Option<u64>,
    /// Items at most; 100 if absent, never more than 1000.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
}

/// Which part of a list of what has ids.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct IdPageQuery {
    /// `next` of the part before: the id of an API key, or a client.
    pub(super) after: Option<String>,
    /// Items at most; 100 if absent, never more than 1000.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
}

/// Items that a part has at most, as asked for.
pub(super) fn limit(asked: Option<usize>) -> usize {
    asked.unwrap_or(USUAL_PAGE).clamp(1, MAX_PAGE)
}

/// The next `limit` items, and the cursor of the last if there are more.
pub(super) fn part<T>(
    items: impl IntoIterator<Item = T>,
    limit: usize,
    cursor: impl Fn(&T) -> String,
) -> Page<T> {
    let mut items = items.into_iter();
    let taken: Vec<T> = items.by_ref().take(limit).collect();
    let more = items.next().is_some();
    let next = taken.last().filter(|_| more).map(cursor);
    Page { items: taken, next }
}

/// The query of a request; what cannot be read is a problem like any other.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(e) => Err(Problem::bad_request(e.body_text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_names_the_next_one_only_if_there_is_one() {
        let next = |count: u32, limit| part(0..count, limit, u32::to_string);
        assert_eq!(next(3, 2).items, [0, 1]);
        assert_eq!(next(3, 2).next.as_deref(), Some("1"));
        assert_eq!(next(2, 2).next, None);
        assert_eq!(next(0, 2).next, None);
        assert_eq!(
            [limit(None), limit(Some(0)), limit(Some(5000))],
            [100, 1, 1000]
        );
    }
}
