//! What tests that cross crates share.
//!
//! [`secrets`] searches files for secrets in whatever form a log could show them; [`processes`] waits for processes to
//! end, by the event and not by sleeping, and finds those that a test left behind.

pub mod memory;
pub mod processes;
pub mod secrets;
