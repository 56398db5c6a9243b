//! Where something that was computed from secrets may be known: a verdict that everybody hears, a point that is published.
//!
//! These functions do nothing. They say where the program of `tests/constant_time`, which follows what depends on a secret, is to stop
//! following it; with the feature `constant-time` they tell it so. Whatever else branches on a secret is a leak.

/// This value, which may be known.
#[inline]
pub(crate) fn known<T: Copy>(value: T) -> T {
    #[cfg(feature = "constant-time")]
    let value = crate::constant_time::made_known(value);
    value
}

/// What lies there may be known.
#[inline]
pub(crate) fn known_in_place<T: ?Sized>(value: &T) {
    #[cfg(feature = "constant-time")]
    crate::constant_time::known_in_place(value);
    #[cfg(not(feature = "constant-time"))]
    let _ = value;
}
