//! Decides by the compiler that a type cannot be printed, serialized or compared in variable time.

/// Fails to compile when the type implements any of the traits: the call would then be ambiguous.
macro_rules! implements_none {
    ($type:ty: $($trait:path),+) => {
        const _: fn() = || {
            trait Ambiguous<A> {
                fn decide() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            $({
                #[allow(dead_code, reason = "only a mark for the trait at hand")]
                struct Mark;
                impl<T: ?Sized + $trait> Ambiguous<Mark> for T {}
            })+
            let _ = <$type as Ambiguous<_>>::decide;
        };
    };
}

macro_rules! secret {
    ($also:path; $($type:ty),+ $(,)?) => {$(
        implements_none!(
            $type: std::fmt::Debug, std::fmt::Display, std::fmt::LowerHex, serde::Serialize, $also, PartialEq, std::hash::Hash
        );
    )+};
}

pub(crate) use {implements_none, secret};
