//! Load generator and experiments for the latency of threshold re-encryption.
