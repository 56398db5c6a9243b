//! The demo does what it says, on files of any size.

use super::running::{assert_nothing_left, document, file, place, run, step};

#[test]
fn the_demo_plays_to_its_end_and_tells_it_as_json() {
    let (dir, site) = place();
    let large: Vec<u8> = (0..3_000_001_u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect();
    let files = [
        file(&dir, "empty", b""),
        file(&dir, "a letter.txt", b"Dear all"),
        file(&dir, "large.bin", &large),
    ];
    let mut arguments = vec!["demo".into(), "--json".into(), "--dir".into(), site.clone()];
    arguments.extend(files.clone());
    let output = run(&arguments);
    let told = document(&output);
    assert_eq!(told["ok"], true, "{told:#}");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        told["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["outcome"] == "ok" && step["milliseconds"].is_f64())
    );

    // What was read back is what was written.
    for (file, name) in files
        .iter()
        .zip(["1-empty", "2-a-letter.txt", "3-large.bin"])
    {
        assert!(
            std::fs::read(site.join("read").join(name)).unwrap() == std::fs::read(file).unwrap(),
            "{name}"
        );
    }
    // The key is the cluster's, and the cluster's description agrees.
    let cluster: serde_json::Value =
        serde_json::from_slice(&std::fs::read(site.join("cluster.json")).unwrap()).unwrap();
    assert_eq!(
        step(&told, "key-generation")["public_key"],
        cluster["public_key"]
    );
    assert_eq!(
        (
            &cluster["threshold"],
            cluster["members"].as_array().unwrap().len()
        ),
        (&3.into(), 5)
    );
    // The refusals are those that should come, with their reasons.
    assert_eq!(step(&told, "stranger-refused")["code"], "not-permitted");
    let too_few = step(&told, "too-few-nodes-refused");
    assert_eq!(too_few["code"], "too-few-answers");
    assert!(
        too_few["message"]
            .as_str()
            .unwrap()
            .contains("2 of 5 nodes answered, 3 are needed"),
        "{too_few}"
    );
    // Every answered read cost at least three shares, and each share is in a log and has its read on the record.
    let reads = told["reads"].as_array().unwrap();
    assert_eq!(reads.len(), 5);
    let shares = step(&told, "reconcile")["shares"].as_u64().unwrap();
    assert!(shares >= 15, "{shares}");
    // Each read has the approvals of three organisations at least.
    let approvals = step(&told, "reconcile")["approvals"].as_u64().unwrap();
    assert!(approvals >= 15, "{approvals}");
    assert_eq!(
        step(&told, "verify-node-audits")["shares"].as_u64(),
        Some(shares)
    );
    for read in reads {
        assert!(read["phases"]["total_ms"].as_f64().unwrap() > 0.0);
        assert!(
            read["organisations"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|o| o["approved"] == true)
                .count()
                >= 3
        );
        assert!(
            read["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|n| n["outcome"] == "answered")
                .count()
                >= 3
        );
    }
    assert_nothing_left(&site);
}

/// The same story, with every organisation's peer a process of its own: order, approvals, exported record and its verification.
#[test]
fn the_demo_plays_over_organisations_peers_of_their_own() {
    let (dir, site) = place();
    let letter = file(&dir, "letter.txt", b"Dear all");
    let mut arguments = vec!["demo".into(), "--json".into(), "--engine".into()];
    arguments.extend(["simplex".into(), "--dir".into(), site.clone(), letter]);
    let output = run(&arguments);
    let told = document(&output);
    assert_eq!(told["ok"], true, "{told:#}");
    for organisation in ["alder", "birch", "cedar", "dogwood"] {
        let record = site.join("peers").join(organisation).join("record");
        assert!(record.join(format!("{organisation}.sqlite")).is_file());
        assert!(record.join("order").is_dir());
        // The platform has none of their keys.
        let sealed = site.join("platform/secrets");
        assert!(!sealed.join(format!("{organisation}.head.sealed")).exists());
    }
    assert_eq!(step(&told, "stranger-refused")["code"], "not-permitted");
    for read in told["reads"].as_array().unwrap() {
        let organisations = read["organisations"].as_array().unwrap();
        let approved = organisations.iter().filter(|o| o["approved"] == true);
        assert!(approved.count() >= 3);
    }
    assert_nothing_left(&site);
}

#[test]
fn the_demo_tells_a_story_and_removes_its_folder() {
    let (dir, _) = place();
    let letter = file(&dir, "letter.txt", b"Dear all");
    let output = run(&["demo".as_ref(), letter.as_os_str()]);
    let story = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{story}");
    for sentence in [
        "nobody holds it",
        "refused, as it should be",
        "2 of 5 nodes answered, 3 are needed",
        "nothing is left running",
    ] {
        assert!(story.contains(sentence), "{sentence:?} is not in:\n{story}");
    }
    // Not on a terminal: no colours, no cursor movements.
    assert!(!story.contains('\u{1b}'), "{story:?}");
    let folder = story
        .lines()
        .next()
        .unwrap()
        .trim_start_matches("Everything happens in ")
        .trim_end_matches('.');
    assert!(
        folder.contains("threshold-exchange-") && !std::path::Path::new(folder).exists(),
        "{folder}"
    );
}
