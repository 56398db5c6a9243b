#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use super::*;

fn template() -> String {
    Config::template(
        "n1",
        "127.0.0.1:7700".parse().unwrap(),
        "node1.example:7700",
    )
}

fn card(n: u8) -> Card {
    let identity = ed25519_dalek::SigningKey::from_bytes(&[n; 32])
        .verifying_key()
        .to_bytes();
    let recovery = reencrypt::SecretScalar::random(&mut rand::rng()).public();
    Card {
        name: format!("n{n}"),
        identity: hex::encode(identity),
        recovery_public: hex::encode(recovery.as_bytes()),
        address: format!("192.0.2.{n}:7700"),
    }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("D"), text)
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let sentence = parse(text).unwrap_err().to_string();
    assert!(!sentence.contains('\n'), "one sentence: {sentence}");
    for part in ["D/config.toml"].iter().chain(parts) {
        assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
    }
}

#[test]
fn the_template_is_in_order_and_has_the_defaults() {
    let config = parse(&template()).unwrap();
    assert_eq!(
        (config.name.as_str(), config.advertise.as_str()),
        ("n1", "node1.example:7700")
    );
    assert_eq!(config.limits, LimitSettings::default());
    assert_eq!(config.ceremony.open_for_s, 86_400);
    assert_eq!(config.policy, Path::new("D/policy.toml"));
}

#[test]
fn members_are_added_once_behind_the_comments() {
    let text = Config::with_member(Path::new("D"), &template(), &card(2))
        .unwrap()
        .unwrap();
    assert!(text.starts_with(&template()));
    let text = Config::with_member(Path::new("D"), &text, &card(3))
        .unwrap()
        .unwrap();
    let known: Vec<Card> = parse(&text).unwrap().members.iter().map(Card::of).collect();
    assert_eq!(
        known
            .iter()
            .map(|card| card.name.as_str())
            .collect::<Vec<_>>(),
        ["n2", "n3"]
    );
    assert!(
        Config::with_member(Path::new("D"), &text, &known[0])
            .unwrap()
            .is_none()
    );
    let moved = Card {
        address: "192.0.2.9:7700".to_owned(),
        ..known[0].clone()
    };
    let refused = Config::with_member(Path::new("D"), &text, &moved)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("members[2]") && refused.contains("n2"),
        "{refused}"
    );
}

#[test]
fn every_mistake_names_file_and_key() {
    let template = template();
    refused(&format!("{template}\ncolour = 1\n"), &["line", "colour"]);
    refused(
        &template.replace("[limits]", "[limits]\nspeed = 3"),
        &["line", "speed"],
    );
    refused(
        &template.replace("listen = \"127.0.0.1:7700\"", "listen = \"here\""),
        &["`listen`", "here"],
    );
    refused(
        &template.replace("listen = \"127.0.0.1:7700\"", "listen = 7700"),
        &["line 10", "listen"],
    );
    refused(
        &template.replace("node1.example:7700", "node1.example"),
        &["`advertise`"],
    );
    refused(
        &template.replace("node1.example:7700", "node1.example:0"),
        &["`advertise`", "port 0"],
    );
    refused(
        &template.replace("name = \"n1\"", "name = \"n 1\""),
        &["`name`"],
    );
    refused(&template.replace("name = \"n1\"", ""), &["name"]);
    refused(
        &template.replace("accept_from = []", "accept_from = [\"abc\"]"),
        &["`ceremony.accept_from`", "card"],
    );
    refused(
        &template.replace("connections = 1024", "connections = 0"),
        &["`limits.connections`"],
    );
    refused(
        &template.replace("open_for_s = 86400", "open_for_s = 86400000"),
        &["`ceremony.open_for_s`"],
    );
    refused("name = ", &["line 1"]);
    refused("\u{0}", &["line 1"]);
    let mut wrong = card(2);
    wrong.recovery_public = "00".repeat(32);
    refused(
        &format!("{template}{}", wrong.as_toml()),
        &["members[0]", "recovery_public"],
    );
}

#[test]
fn a_card_is_one_line_that_comes_back() {
    let line = card(4).to_line();
    assert!(!line.contains('\n'));
    assert_eq!(Card::parse(&line).unwrap().to_line(), line);
    assert!(Card::parse("{}").is_err());
    assert!(Card::parse(&line.replace("\"name\"", "\"title\"")).is_err());
    assert!(Card::parse(&line.to_uppercase()).is_err());
}

#[test]
fn a_policy_file_is_read_or_told_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    assert!(matches!(
        read_policy(&path),
        Err(PolicyFileError::Missing { .. })
    ));
    let issuer = certs::Issuer::generate(
        "Hospital",
        certs::Algorithm::Ed25519,
        1_700_000_000,
        2_000_000_000,
    )
    .unwrap();
    let good = format!(
        "approvals_needed = 1\n[[organisations]]\nname = \"Hospital\"\nissuers = ['''{}''']\n",
        issuer.certificate_pem()
    );
    fs::write(&path, &good).unwrap();
    let policy = read_policy(&path).unwrap();
    assert_eq!(
        (
            policy.approvals_needed(),
            policy.max_lifetime_s(),
            policy.tolerance_s()
        ),
        (1, 300, 30)
    );
    for (from, to, part) in [
        (
            "approvals_needed = 1",
            "approvals_needed = 0",
            "cannot be used",
        ),
        (
            "approvals_needed = 1",
            "approvals_needed = 2",
            "cannot be used",
        ),
        ("approvals_needed = 1", "approvals = 1", "line 1"),
        ("BEGIN", "BEGONE", "cannot be used"),
        ("[[organisations]]", "[organisations]", "line 2"),
    ] {
        fs::write(&path, good.replace(from, to)).unwrap();
        let refused = read_policy(&path).unwrap_err().to_string();
        assert!(
            refused.contains(part) && !refused.contains('\n'),
            "{refused}"
        );
    }
}

#[test]
fn a_member_is_removed_and_nothing_else() {
    let folder = Path::new("D");
    let mut text = template();
    let cards = [2, 3, 4].map(card);
    for card in &cards {
        text = Config::with_member(folder, &text, card).unwrap().unwrap();
    }
    let before = format!(
        "{text}# my words\n[[clients.client]]\nfingerprint = \"{}\"\n",
        "ab".repeat(32)
    );
    let name = &cards[1].name;
    let after = Config::without_member(folder, &before, name)
        .unwrap()
        .unwrap();
    let config = Config::parse(folder, &after).unwrap();
    let left: Vec<Card> = config.members.iter().map(Card::of).collect();
    assert_eq!(left, [cards[0].clone(), cards[2].clone()]);
    assert_eq!(config.clients.named.len(), 1);
    assert!(after.contains("# my words") && !after.contains(&format!("{name:?}")));
    let gone = before.lines().count() - after.lines().count();
    assert!((5..=6).contains(&gone), "{gone} lines");
    assert!(
        Config::without_member(folder, &after, name)
            .unwrap()
            .is_none()
    );
    // Written in another way, it is left to the operator.
    let odd = after.replace("[[members]]", "[[ members ]]");
    assert!(Config::without_member(folder, &odd, &cards[0].name).is_err());
}
