//! Key generation among the members of a cluster, as machines without I/O.
