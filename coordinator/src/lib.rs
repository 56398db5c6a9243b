//! The platform: golden record, envelope encryption, storage, permissions, API and command line.
