//! Bad input gets one clear sentence and a status that is not 0, and loses nothing.

use super::running::{document, file, place, run};

fn refusal(arguments: &[&std::ffi::OsStr]) -> (Option<i32>, String) {
    let output = run(arguments);
    assert!(
        output.stdout.is_empty(),
        "{:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_missing_file_is_named() {
    let (dir, site) = place();
    let missing = dir.path().join("missing.pdf");
    let (status, sentence) = refusal(&[
        "demo".as_ref(),
        missing.as_ref(),
        "--dir".as_ref(),
        site.as_ref(),
    ]);
    assert_eq!(status, Some(2));
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    assert!(
        sentence.contains("missing.pdf") && sentence.contains("name a file that exists"),
        "{sentence}"
    );
    assert!(!site.exists());
}

#[test]
fn a_folder_in_the_place_of_a_file_is_named() {
    let (dir, _) = place();
    let (status, sentence) = refusal(&["demo".as_ref(), dir.path().as_ref()]);
    assert_eq!(status, Some(2));
    assert!(sentence.contains("is not a regular file"), "{sentence}");
}

#[test]
fn a_folder_in_use_is_left_as_it_is() {
    let (dir, site) = place();
    let letter = file(&dir, "letter.txt", b"Dear all");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("thesis.txt"), b"the only copy").unwrap();
    let (status, sentence) = refusal(&[
        "demo".as_ref(),
        letter.as_ref(),
        "--dir".as_ref(),
        site.as_ref(),
    ]);
    assert_eq!(status, Some(2));
    assert!(
        sentence.contains("is not empty") && sentence.contains("--dir"),
        "{sentence}"
    );
    assert_eq!(
        std::fs::read(site.join("thesis.txt")).unwrap(),
        b"the only copy"
    );
    assert_eq!(std::fs::read_dir(&site).unwrap().count(), 1);
}

#[test]
fn with_json_a_refusal_is_a_document_too() {
    let (dir, _) = place();
    let missing = dir.path().join("missing.pdf");
    let output = run(&["demo".as_ref(), "--json".as_ref(), missing.as_os_str()]);
    assert_eq!(output.status.code(), Some(2));
    let told = document(&output);
    assert_eq!(
        (&told["ok"], &told["error"]["code"]),
        (&false.into(), &"file".into())
    );
}

#[test]
fn without_a_file_the_usage_is_shown() {
    let (status, usage) = refusal(&["demo".as_ref()]);
    assert_eq!(status, Some(2));
    assert!(
        usage.contains("<FILE>") && usage.contains("--help"),
        "{usage}"
    );
}

#[test]
fn both_command_lines_are_in_the_one_binary() {
    for (tool, command) in [("cryptonode", "ceremony"), ("coordinator", "dataset")] {
        let output = run(&[tool, "--help"]);
        let help = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(help.contains(command), "{help}");
    }
}
