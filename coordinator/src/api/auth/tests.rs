//! Keys: made, verified, exchanged, ended.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;

const NOW: u64 = 1_700_000_000_000;

fn keys(folder: &tempfile::TempDir, secret: u8) -> ApiKeys {
    let secret = Zeroizing::new(vec![secret; SECRET_SIZE]);
    ApiKeys::open(secret, &folder.path().join("api-keys.sqlite")).unwrap()
}

fn terms(tenant: &str, expires_ms: Option<u64>) -> KeyTerms {
    KeyTerms {
        tenant: tenant.to_owned(),
        name: "ci".to_owned(),
        scopes: Scopes::all(),
        user: None,
        expires_ms,
    }
}

fn code(keys: &ApiKeys, header: &str, now_ms: u64) -> &'static str {
    keys.verify(Some(header.as_bytes()), now_ms)
        .map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn keys_fit_their_tenant_and_platform_only() {
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (keys(&folder, 1), keys(&folder, 2));
    let issued = own.issue(terms("acme.eu", None), NOW).unwrap();
    let header = format!("Bearer {}", issued.key.as_str());
    let caller = own.verify(Some(header.as_bytes()), NOW).unwrap();
    assert_eq!(caller.tenant, "acme.eu");
    assert_eq!(code(&other, &header, NOW), "api-key-invalid");
    assert_eq!(own.verify(None, NOW).unwrap_err().code(), "api-key-missing");
    for bad in [
        header.replace("acme", "umbra"),
        header.replace("acme.eu", "acme"),
        header.get(..header.len() - 1).unwrap().to_owned(),
        format!("{header}0"),
        header.replace("Bearer acme", "Bearer .acme"),
        "Bearer ".to_owned(),
        "Bearer ..".to_owned(),
    ] {
        assert_eq!(code(&own, &bad, NOW), "api-key-invalid", "{bad}");
    }
    assert_eq!(
        code(&own, &header.replace("Bearer", "Basic"), NOW),
        "api-key-missing"
    );
}

#[test]
fn keys_end_by_time_rotation_and_revocation() {
    let folder = tempfile::tempdir().unwrap();
    let own = keys(&folder, 1);
    let first = own.issue(terms("acme", Some(NOW + 10_000)), NOW).unwrap();
    let first_header = format!("Bearer {}", first.key.as_str());
    assert_eq!(code(&own, &first_header, NOW + 9_999), "ok");
    assert_eq!(code(&own, &first_header, NOW + 10_000), "api-key-expired");

    let later = NOW + 1_000;
    let second = own
        .rotate("acme", &first.record.id, 2, None, later)
        .unwrap();
    assert_eq!(second.record.expires_ms, Some(later + 10_000));
    assert_eq!(second.record.scopes, first.record.scopes);
    let second_header = format!("Bearer {}", second.key.as_str());
    assert_eq!(code(&own, &first_header, later + 1_999), "ok");
    assert_eq!(code(&own, &first_header, later + 2_000), "api-key-expired");
    assert_eq!(code(&own, &second_header, later + 2_000), "ok");

    // Another process revokes it; this one sees it at once, and after a restart too.
    let id = &second.record.id;
    keys(&folder, 1).revoke("acme", id, later).unwrap();
    assert_eq!(code(&own, &second_header, later), "api-key-revoked");
    assert_eq!(
        code(&keys(&folder, 1), &second_header, later),
        "api-key-revoked"
    );
    let again = own.revoke("acme", id, later + 5).unwrap();
    assert_eq!(again.revoked_ms, Some(later), "the first time counts");

    let list = own.list("acme", None, usize::MAX).unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0].replaced_by.as_ref(), Some(id));
    let rest = own.list("acme", Some(&list[0].id), usize::MAX).unwrap();
    assert_eq!(rest, list[1..]);
    assert!(own.list("umbra", None, 1).unwrap().is_empty());
    for (tenant, id) in [("umbra", id.as_str()), ("acme", "0000000000000000")] {
        let unknown = own.revoke(tenant, id, later).unwrap_err();
        assert_eq!(unknown.code(), "api-key-unknown");
    }
    assert!(
        own.rotate("acme", id, 2, None, later).is_err(),
        "it is revoked"
    );
    let again = own.rotate("acme", &first.record.id, 2, None, later).err();
    let code = again.map(|error| error.code());
    assert_eq!(code, Some("api-key-terms"), "it was rotated");
}

#[test]
fn keys_that_are_over_take_no_room_and_go_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let own = keys(&folder, 1);
    let first = own.issue(terms("acme", None), NOW).unwrap();
    let full = |state: &str| {
        let list = rusqlite::Connection::open(folder.path().join("api-keys.sqlite")).unwrap();
        let rows = format!(
            "DELETE FROM api_keys WHERE name = 'full';
             WITH RECURSIVE number(n) AS (VALUES (2) UNION ALL SELECT n + 1 FROM number WHERE n < {MAX_KEYS})
             INSERT INTO api_keys (id, tenant, name, scopes, created_ms, expires_ms, revoked_ms)
             SELECT printf('%016x', n), 'acme', 'full', 'read', {NOW}, {state} FROM number"
        );
        list.execute_batch(&rows).unwrap();
    };
    let made = |now_ms| {
        own.issue(terms("acme", None), now_ms)
            .map(|made| made.record.id)
    };
    for in_use in ["NULL, NULL".to_owned(), format!("{}, NULL", NOW + 2)] {
        full(&in_use);
        assert_eq!(made(NOW + 1).unwrap_err().code(), "api-key-terms");
        assert!(
            own.rotate("acme", &first.record.id, 2, None, NOW + 1)
                .is_err()
        );
    }
    for over in [format!("NULL, {NOW}"), format!("{NOW}, NULL")] {
        full(&over);
        made(NOW + 1).unwrap();
        let count = own.list("acme", None, usize::MAX).unwrap().len() as u64;
        assert!(count > MAX_KEYS);
        assert_eq!(own.list("acme", None, 3).unwrap().len(), 3);
    }
    let kept = |now_ms| {
        made(now_ms).unwrap();
        let list = own.list("acme", None, usize::MAX).unwrap();
        list.iter().filter(|key| key.name == "full").count()
    };
    assert!(kept(NOW + KEPT_MS - 1) > 0);
    assert_eq!(kept(NOW + KEPT_MS), 0);
}

#[test]
fn making_and_revoking_keys_does_not_fill_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let own = keys(&folder, 1);
    let other = own.issue(terms("umbra", None), NOW).unwrap();
    own.revoke("umbra", &other.record.id, NOW).unwrap();
    let list = rusqlite::Connection::open(folder.path().join("api-keys.sqlite")).unwrap();
    let rows = format!(
        "WITH RECURSIVE number(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < {MAX_KEPT})
         INSERT INTO api_keys (id, tenant, name, scopes, created_ms, expires_ms, revoked_ms)
         SELECT printf('%016x', n), 'acme', 'over', 'read', {NOW}, iif(n % 2, {NOW} + n, NULL), iif(n % 2, NULL, {NOW} + n) FROM number"
    );
    list.execute_batch(&rows).unwrap();
    let mut now_ms = NOW + MAX_KEPT;
    for round in 1..=3_u64 {
        now_ms += 1;
        let made = own.issue(terms("acme", None), now_ms).unwrap();
        own.revoke("acme", &made.record.id, now_ms).unwrap();
        let all = own.list("acme", None, usize::MAX).unwrap();
        // The one that has just ended is counted with the next one that is made.
        assert_eq!(all.len() as u64, MAX_KEPT + 1, "{round}");
        let oldest = format!("{:016x}", round.saturating_sub(1));
        assert!(
            all.iter().all(|key| key.id != oldest),
            "who ended first goes"
        );
        let next = format!("{round:016x}");
        assert!(all.iter().any(|key| key.id == next));
        let header = format!("Bearer {}", made.key.as_str());
        assert_eq!(code(&own, &header, now_ms), "api-key-revoked");
    }
    assert_eq!(own.list("umbra", None, usize::MAX).unwrap().len(), 1);
}

#[test]
fn a_key_that_is_bound_to_a_user_is_that_users_alone() {
    let folder = tempfile::tempdir().unwrap();
    let own = keys(&folder, 1);
    let terms = KeyTerms {
        user: Some("carol".parse().unwrap()),
        ..terms("acme", None)
    };
    let first = own.issue(terms, NOW).unwrap();
    // Its successor is bound as well, and another process knows it too.
    let second = own.rotate("acme", &first.record.id, 2, None, NOW).unwrap();
    let header = format!("Bearer {}", second.key.as_str());
    let caller = keys(&folder, 1)
        .verify(Some(header.as_bytes()), NOW)
        .unwrap();
    let name = |text: &str| Some(text.parse::<Identifier>().unwrap());
    assert_eq!(caller.user, name("carol"));
    assert_eq!(caller.acting(None).ok(), name("carol"));
    assert_eq!(caller.acting(name("carol")).ok(), name("carol"));
    let refused = caller.acting(name("alice")).unwrap_err();
    assert_eq!(refused.code(), "api-key-user");
    let free = Caller {
        user: None,
        ..caller
    };
    assert_eq!(free.acting(name("alice")).ok(), name("alice"));
    assert_eq!(free.acting(None).unwrap_err().code(), "author-missing");
}

#[test]
fn a_list_from_before_keys_were_bound_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let issued = keys(&folder, 1).issue(terms("acme", None), NOW).unwrap();
    let list = rusqlite::Connection::open(folder.path().join("api-keys.sqlite")).unwrap();
    list.execute_batch("ALTER TABLE api_keys DROP COLUMN user")
        .unwrap();
    drop(list);
    let header = format!("Bearer {}", issued.key.as_str());
    assert_eq!(code(&keys(&folder, 1), &header, NOW), "ok");
}

#[test]
fn a_true_key_that_is_not_on_the_list_opens_nothing() {
    let (folder, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let issued = keys(&folder, 1).issue(terms("acme", None), NOW).unwrap();
    let header = format!("Bearer {}", issued.key.as_str());
    assert_eq!(code(&keys(&empty, 1), &header, NOW), "api-key-invalid");
}

#[test]
fn impossible_terms_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let own = keys(&folder, 1);
    for name in ["", "a\nb", &"x".repeat(65)] {
        let name = name.to_owned();
        let terms = KeyTerms {
            name,
            ..terms("acme", None)
        };
        assert!(own.issue(terms, NOW).is_err());
    }
    assert!(own.issue(terms("acme", Some(NOW)), NOW).is_err());
    assert!(own.list("acme", None, usize::MAX).unwrap().is_empty());
}
