//! Harness for tests that cross crates: real clusters on loopback, and the vocabulary of misbehaviour.
