//! Threshold re-encryption on ristretto255: wrapped keys, ephemeral keys, shares, combination.
