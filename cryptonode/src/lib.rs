//! The crypto node: QUIC server, sealed store, audit log, ceremonies, and the client of the cluster.
