//! The whole idea on one machine: `demo` shows it on files of your own, `up` starts it and stays.
//!
//! The binary holds both command lines, `cryptonode` and `coordinator`, as libraries and re-executes itself for the
//! child processes, so that `cargo run` builds all that it needs. [`site`] builds, breaks and mends a site of real
//! processes with the commands that an operator would type; [`demo`] and [`up`] tell its story.

// Keys and nonces leave no copy in a generator of the process (`cryptonode::randomness`).
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod cli;
pub mod demo;
pub mod site;
pub mod up;
