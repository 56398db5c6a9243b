//! Nothing is left running, however the demo ends.

use rustix::process::Signal;
use testkit::processes::with_path_in_command_line;

use super::running::{Running, assert_nothing_left, file, place};

#[test]
fn ctrl_c_stops_everything() {
    let (dir, site) = place();
    let letter = file(&dir, "letter.txt", b"Dear all");
    let mut running = Running::start(&[
        "demo".as_ref(),
        letter.as_os_str(),
        "--dir".as_ref(),
        site.as_os_str(),
    ]);
    running.wait_for("REST on http://");
    assert!(
        with_path_in_command_line(&site).len() >= 7,
        "five nodes, the platform and the demo itself"
    );
    running.signal(Signal::INT);
    let (status, said) = running.finish();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(
        said.contains("nothing is left running") && said.contains("interrupted"),
        "{said}"
    );
    assert_nothing_left(&site);
}

#[test]
fn the_children_end_even_when_the_demo_is_killed() {
    let (dir, site) = place();
    let letter = file(&dir, "letter.txt", b"Dear all");
    let mut running = Running::start(&[
        "demo".as_ref(),
        letter.as_os_str(),
        "--dir".as_ref(),
        site.as_os_str(),
    ]);
    running.wait_for("REST on http://");
    running.signal(Signal::KILL);
    let (status, _) = running.finish();
    assert_eq!(status.code(), None, "killed by a signal");
    assert_nothing_left(&site);
}
