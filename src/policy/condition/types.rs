//! The types of expressions, and what may be done with values of them.

use std::fmt;

use super::table::Kind;

/// The type of an expression, as far as it is known before a request comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    UInt,
    Double,
    Text,
    Bytes,
    Null,
    Address,
    List(Box<Self>),
    /// By text.
    Map(Box<Self>),
    /// Only the request tells: a claim, a part of the body.
    Any,
    /// The members of `[]`: there are none, so they are of every type.
    Nothing,
}

impl Type {
    pub(super) fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    pub(super) fn map(of: Self) -> Self {
        Self::Map(Box::new(of))
    }

    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Integer => Self::Int,
            Kind::Texts => Self::list(Self::Text),
            Kind::Claims => Self::map(Self::Any),
            Kind::Headers => Self::map(Self::Text),
            Kind::Body => Self::Any,
            Kind::Address => Self::Address,
        }
    }

    /// True when only the request tells.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Any | Self::Nothing)
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::UInt | Self::Double)
    }

    pub(super) fn may_be(&self, wanted: &Self) -> bool {
        self.is_open() || self == wanted
    }

    /// Whether values of both can be equal at all.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any | Self::Nothing, _) | (_, Self::Any | Self::Nothing) => true,
            (Self::List(left), Self::List(right)) | (Self::Map(left), Self::Map(right)) => {
                left.meets(right)
            }
            (left, right) => left == right || (left.is_number() && right.is_number()),
        }
    }

    /// Whether one value can stand before another: numbers among themselves, and texts.
    pub(super) fn has_order_with(&self, other: &Self) -> bool {
        let number = |side: &Self| side.is_open() || side.is_number();
        let text = |side: &Self| side.is_open() || *side == Self::Text;
        (number(self) && number(other)) || (text(self) && text(other))
    }

    /// The type that holds the values of both.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::List(left), Self::List(right)) => Self::list(left.join(*right)),
            (Self::Map(left), Self::Map(right)) => Self::map(left.join(*right)),
            (left, right) if left == right => left,
            _ => Self::Any,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("a boolean"),
            Self::Int => f.write_str("an int"),
            Self::UInt => f.write_str("a uint"),
            Self::Double => f.write_str("a double"),
            Self::Text => f.write_str("a string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Null => f.write_str("null"),
            Self::Address => f.write_str("an address"),
            Self::List(of) if **of == Self::Text => f.write_str("a list of strings"),
            Self::List(of) if **of == Self::Bool => f.write_str("a list of booleans"),
            Self::List(of) if of.is_number() => f.write_str("a list of numbers"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a map"),
            Self::Any | Self::Nothing => f.write_str("of any type"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_meet_numbers_and_anything_meets_all() {
        let texts = || Type::list(Type::Text);
        for (left, right, meet) in [
            (Type::Int, Type::Double, true),
            (Type::Int, Type::Text, false),
            (Type::Bool, Type::Int, false),
            (Type::Any, Type::Text, true),
            (texts(), Type::list(Type::Nothing), true),
            (texts(), Type::list(Type::Int), false),
            (Type::map(Type::Any), Type::map(Type::Int), true),
            (texts(), Type::map(Type::Text), false),
            (Type::Null, Type::Text, false),
        ] {
            assert_eq!(left.meets(&right), meet, "{left} and {right}");
            assert_eq!(right.meets(&left), meet, "{right} and {left}");
        }
        assert!(Type::Int.has_order_with(&Type::UInt) && Type::Any.has_order_with(&Type::Text));
        for (left, right) in [(Type::Bool, Type::Bool), (Type::Text, Type::Int), (texts(), texts())]
        {
            assert!(!left.has_order_with(&right), "{left} and {right}");
        }
        assert_eq!(Type::list(Type::Nothing).join(texts()), texts());
        assert_eq!(Type::Text.join(Type::Int), Type::Any);
    }
}
