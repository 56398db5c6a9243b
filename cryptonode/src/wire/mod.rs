//! What travels over a connection (protocol section 9): one request and one answer per stream.
//!
//! Each version of the messages is a module of its own and, once released, is never changed: a test holds its bytes.
//! The version is agreed on by ALPN, before any message is sent.

pub mod v1;
