//! Every hash tag and proof purpose of this crate, in one place: no two uses of a hash may share one.

/// Section 1: the input from which RFC 9496 §4.3.4 derives the shadow generator.
pub(crate) const SHADOW_GENERATOR: &str = "cryptonode/v1/shadow-generator";

/// Section 2: the challenge of every equality proof.
pub(crate) const EQUALITY: &str = "cryptonode/v1/dleq";
/// Section 2: the prover's nonce `w`. Local: it never has to be computed by anybody else.
pub(crate) const EQUALITY_NONCE: &str = "cryptonode/v1/dleq-nonce";

/// Section 3: the writer's nonce `r`.
pub(crate) const WRAP_NONCE: &str = "cryptonode/v1/wrap-nonce";
/// Section 3: the salt of HKDF-SHA-512.
pub(crate) const WRAP: &str = "cryptonode/v1/wrap";

/// Purpose of the proof in a wrapped key (section 3).
pub(crate) const PURPOSE_WRAPPED_KEY: &str = "wrapped-key";
/// Purpose of the proof in an ephemeral key (section 4).
pub(crate) const PURPOSE_EPHEMERAL_KEY: &str = "ephemeral-key";
/// Purpose of the proof in a share (section 5).
pub(crate) const PURPOSE_SHARE: &str = "share";

/// What t members sign under Y: the hash of a key's statement.
pub(crate) const KEY_CERTIFICATE: &str = "cryptonode/v1/key-certificate";

/// The point at which the public shares of a package are tested to lie on one polynomial. Local.
pub(crate) const PUBLIC_SHARES_CHECK: &str = "cryptonode/v1/public-shares-check";
