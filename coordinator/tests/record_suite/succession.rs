//! An auditor who pinned the founders' keys follows the organisations as they come, change their keys and go, and is led by nobody else.

use crate::{
    ledger::*,
    solo::{Site, options},
};
use certs::note::{NoteKey, SignedNote};
use coordinator::record::{
    OrganisationChange, OrganisationEndorse, PeerKeys, RecordHandle, Solo, Transaction,
    audit::{AuditError, VerifiedRecord, verify_export},
};
use std::path::{Path, PathBuf};

fn head_key(name: &str, seed: &str) -> NoteKey {
    NoteKey::new(name, key(seed).verifying_key()).unwrap()
}

/// Those on the record at the end.
fn keys_of_now() -> Vec<NoteKey> {
    vec![
        head_key("alpha", "alpha's second head"),
        head_key("epsilon", "head epsilon"),
        head_key("gamma", "head gamma"),
    ]
}

struct Changed {
    site: Site,
    export: PathBuf,
    lines: Vec<String>,
}

impl Changed {
    /// Epsilon comes, alpha gets another head key, delta and beta go: of the founders' keys gamma's alone is left.
    async fn new() -> Self {
        let site = Site::four().await;
        let authority = Authority::new("epsilon");
        let peers = |alpha_has_its_second: bool| {
            let mut peers = site.founders.peers();
            if alpha_has_its_second {
                peers[0].head_key = key("alpha's second head");
            }
            peers.push(PeerKeys {
                organisation: id("epsilon"),
                head_key: key("head epsilon"),
                issuer: authority.issuer(),
            });
            peers
        };
        let (folder, genesis) = (site.folder.path(), &site.founders.genesis);
        let reopen = async |record: RecordHandle, peers| {
            record.close().await;
            Solo::open(folder, genesis.clone(), peers, options(&site.now_ms))
                .await
                .unwrap()
        };
        let decide = async |record: &RecordHandle, change: OrganisationChange, by: &[&str]| {
            for organisation in by {
                let change = change.clone();
                let endorse = Transaction::OrganisationEndorse(OrganisationEndorse { change });
                let signed = signed(&record.ledger(), organisation, endorse, site.now());
                record.submit(signed).await.unwrap();
            }
        };
        let record = site.record.clone();
        let admit = OrganisationChange::Admit(organisation("epsilon", &authority));
        decide(&record, admit, &["alpha", "beta", "gamma"]).await;
        let record = reopen(record, peers(false)).await;
        let mut alpha = genesis.organisations[0].clone();
        alpha.head_key = public("alpha's second head");
        let rekey = OrganisationChange::Rekey(alpha);
        decide(&record, rekey, &["beta", "gamma", "delta", "epsilon"]).await;
        let record = reopen(record, peers(true)).await;
        let remaining = ["alpha", "beta", "gamma", "epsilon"];
        let remove = OrganisationChange::Remove(id("delta"));
        decide(&record, remove, &remaining).await;
        let remove = OrganisationChange::Remove(id("beta"));
        decide(&record, remove, &["alpha", "gamma", "epsilon"]).await;
        let tenant = signed(
            &record.ledger(),
            "epsilon",
            tenant_register("late"),
            site.now(),
        );
        record.submit(tenant).await.unwrap();
        let export = folder.join("export.jsonl");
        record.export(&export).await.unwrap();
        record.close().await;
        let text = std::fs::read_to_string(&export).unwrap();
        let lines = text.lines().map(str::to_owned).collect();
        Self {
            site,
            export,
            lines,
        }
    }

    fn verify(&self, lines: &[String], keys: &[NoteKey]) -> Result<VerifiedRecord, AuditError> {
        let path = self.site.folder.path().join("changed.jsonl");
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        verify_export(&path, keys)
    }

    /// The export with each of these lines' notes made anew.
    fn with_notes(&self, kind: &str, change: impl Fn(usize, SignedNote) -> String) -> Vec<String> {
        let mut seen = 0;
        let remake = |line: &String| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(note) = value[kind].as_str() else {
                return line.clone();
            };
            seen += 1;
            let note = change(seen, SignedNote::parse(note).unwrap());
            serde_json::json!({ kind: note }).to_string()
        };
        self.lines.iter().map(remake).collect()
    }
}

/// The same text, signed by these alone.
fn signed_by(text: &str, keys: &[(&str, &str)]) -> String {
    let mut keys = keys.iter();
    let (name, seed) = keys.next().unwrap();
    let mut note = SignedNote::sign(text, name, &key(seed)).unwrap();
    for (name, seed) in keys {
        note.add_signature(name, &key(seed)).unwrap();
    }
    note.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_founders_keys_lead_over_a_join_a_rekey_and_departures_to_those_of_now() {
    let changed = Changed::new().await;
    let founders = changed.site.founders.head_keys();
    let verified = verify_export(&changed.export, &founders).unwrap();
    let report = &verified.report;
    assert_eq!(report.signed_by, ["alpha", "epsilon", "gamma"]);
    assert_eq!(report.not_signed_by, Vec::<String>::new());
    let now = keys_of_now();
    let texts: Vec<String> = now.iter().map(ToString::to_string).collect();
    assert_eq!(report.verifiers, texts);
    let sizes: Vec<usize> = report
        .handovers
        .iter()
        .map(|it| it.verifiers.len())
        .collect();
    assert_eq!(sizes, [5, 5, 4, 3]);
    // Alpha signed with the key that it had then.
    assert!(report.handovers[1].signed_by.contains(&"alpha".to_owned()));
    assert!(report.handovers[2].signed_by.contains(&"delta".to_owned()));
    assert_eq!(verified.issuers.len(), 5);
    assert_eq!(verified.head_keys[&id("alpha")].len(), 2);

    // Three of the founders are a quorum of them; two are none, nor are strangers beside them.
    assert!(verify_export(&changed.export, &founders[..3]).is_ok());
    let two = verify_export(&changed.export, &founders[..2]).unwrap_err();
    assert_eq!(two.code(), "export-signatures");
    // Who pinned in the middle, and who pins now, comes to the same.
    let middle = [
        head_key("alpha", "alpha's second head"),
        head_key("beta", "head beta"),
        head_key("gamma", "head gamma"),
        head_key("epsilon", "head epsilon"),
    ];
    for keys in [&middle[..], &now] {
        let again = verify_export(&changed.export, keys).unwrap().report;
        assert_eq!(again.verifiers, report.verifiers);
        assert_eq!(again.signed_by, report.signed_by);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_change_of_the_organisations_leads_nowhere() {
    let changed = Changed::new().await;
    let (founders, now) = (changed.site.founders.head_keys(), keys_of_now());
    let handovers = changed
        .lines
        .iter()
        .filter(|line| line.starts_with("{\"handover\""))
        .count();
    assert_eq!(handovers, 3 + 4 + 4 + 3, "one for each endorsement");
    let refused = |lines: &[String], keys: &[NoteKey]| {
        let error = changed.verify(lines, keys).unwrap_err();
        (error.code(), error.to_string())
    };

    // Those who come next alone, and fewer than a quorum of those before: the third endorsement admitted epsilon. (Where a quorum of the founders signed a later
    // head, it vouches for all before it.)
    for signers in [
        &[("epsilon", "head epsilon")][..],
        &[("alpha", "head alpha"), ("gamma", "head gamma")],
        &[
            ("alpha", "a forged key"),
            ("beta", "a forged key"),
            ("gamma", "a forged key"),
            ("delta", "a forged key"),
        ],
    ] {
        let forged = changed.with_notes("handover", |at, note| {
            if at >= 3 {
                signed_by(note.text(), signers)
            } else {
                note.to_string()
            }
        });
        let (code, said) = refused(&forged, &founders);
        assert_eq!(code, "export-signatures");
        assert!(said.contains("changed with block 3"), "{said}");
    }
    // A signature in a founder's name and with its key's number that is not its own.
    let broken = changed.with_notes("handover", |at, note| {
        let text = note.to_string();
        if at != 3 {
            return text;
        }
        let (head, signatures) = text.rsplit_once("\n\n").unwrap();
        let first = signatures.lines().next().unwrap();
        let other = SignedNote::sign("something else\n", "alpha", &key("head alpha")).unwrap();
        let other = other.to_string();
        let other = other.lines().last().unwrap();
        assert!(first.contains("alpha"));
        format!("{head}\n\n{}", signatures.replace(first, other))
    });
    assert_eq!(refused(&broken, &founders).0, "export-line");

    // The head of another block, none at all, and one too many.
    let at: Vec<usize> = (0..changed.lines.len())
        .filter(|at| changed.lines[*at].starts_with("{\"handover\""))
        .collect();
    let mut swapped = changed.lines.clone();
    swapped.swap(at[0], at[1]);
    assert_eq!(refused(&swapped, &founders).0, "export-line");
    let mut missing = changed.lines.clone();
    missing.remove(at[2]);
    assert_eq!(refused(&missing, &founders).0, "export-line");
    assert_eq!(refused(&missing, &now).0, "export-line");
    let mut twice = changed.lines.clone();
    twice.insert(at[2], changed.lines[at[2]].clone());
    assert_eq!(refused(&twice, &founders).0, "export-line");

    // The last head signed by those who left, however many they were.
    let by_the_gone = changed.with_notes("signed_head", |_, note| {
        let gone = [
            ("alpha", "head alpha"),
            ("beta", "head beta"),
            ("delta", "head delta"),
            ("gamma", "head gamma"),
        ];
        signed_by(note.text(), &gone)
    });
    assert_eq!(refused(&by_the_gone, &founders).0, "export-signatures");

    // A chain that was cut proves no less to whoever has the keys of now.
    let cut = changed.with_notes("handover", |_, note| {
        signed_by(note.text(), &[("gamma", "head gamma")])
    });
    assert_eq!(refused(&cut, &founders).0, "export-signatures");
    assert!(changed.verify(&cut, &now).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_of_the_format_before_are_read_with_the_keys_of_now() {
    let changed = Changed::new().await;
    let mut lines: Vec<String> = changed
        .lines
        .iter()
        .filter(|line| !line.starts_with("{\"handover\""))
        .cloned()
        .collect();
    lines[0] = lines[0].replace("record-export/2", "record-export/1");
    let verified = changed.verify(&lines, &keys_of_now()).unwrap();
    assert_eq!(verified.report.signed_by.len(), 3);
    let founders = changed.site.founders.head_keys();
    let error = changed.verify(&lines, &founders).unwrap_err();
    assert!(
        error.to_string().contains("changed with block 3"),
        "{error}"
    );
    // With handovers it is the format after.
    let mut mixed = changed.lines.clone();
    mixed[0] = lines[0].clone();
    assert_eq!(
        changed.verify(&mixed, &founders).unwrap_err().code(),
        "export-line"
    );
}

/// An impostor's record: the founders' names and head keys, and operators of his own, who hand all over to heads of his own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_of_somebody_elses_making_endorse_nothing() {
    let mut founders = Founders::four();
    let real = founders.head_keys();
    for organisation in &mut founders.genesis.organisations {
        organisation.operator_key = public(&format!("impostor {}", organisation.name));
    }
    let folder = tempfile::tempdir().unwrap();
    let now_ms = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(GENESIS_MS + 1000));
    let genesis = founders.genesis.clone();
    let open = Solo::open(folder.path(), genesis, founders.peers(), options(&now_ms)).await;
    let record = open.unwrap();
    let authority = Authority::new("impostor");
    let admit = OrganisationChange::Admit(organisation("impostor", &authority));
    for name in ["alpha", "beta", "gamma"] {
        let change = admit.clone();
        let endorse = Transaction::OrganisationEndorse(OrganisationEndorse { change });
        let content = signed(&record.ledger(), name, endorse, GENESIS_MS + 1000);
        let content = content.content().clone();
        let signed = content.sign(&key(&format!("impostor {name}")));
        record.submit(signed).await.unwrap();
    }
    let export = folder.path().join("export.jsonl");
    record.export(&export).await.unwrap();
    record.close().await;
    // He has none of the founders' head keys: what is signed is signed by his own.
    let forged = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| {
            let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
            for kind in ["handover", "signed_head"] {
                if let Some(note) = value[kind].as_str() {
                    let note = SignedNote::parse(note).unwrap();
                    let own = signed_by(note.text(), &[("impostor", "head impostor")]);
                    value = serde_json::json!({ kind: own });
                }
            }
            // serde_json sorts members as an export has them only where there is one.
            if value.as_object().unwrap().len() == 1 {
                value.to_string()
            } else {
                line.to_owned()
            }
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    std::fs::write(&export, forged(&export)).unwrap();
    let error = verify_export(&export, &real).unwrap_err();
    assert_eq!(error.code(), "export-signatures", "{error}");
}

const VECTOR: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/record-handovers.jsonl"
);

#[test]
fn a_record_of_old_with_handovers_is_still_true() {
    let founders = ORGANISATIONS.map(|name| head_key(name, &format!("head {name}")));
    let report = verify_export(Path::new(VECTOR), &founders).unwrap().report;
    assert_eq!(report.signed_by, ["alpha", "epsilon", "gamma"]);
    let blocks: Vec<u64> = report.handovers.iter().map(|it| it.block).collect();
    assert_eq!(blocks, [3, 7, 11, 14]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes the vector anew, after a deliberate change of the format"]
async fn make_the_vector_of_handovers() {
    let changed = Changed::new().await;
    std::fs::copy(&changed.export, VECTOR).unwrap();
}
