//! The classes of requests that two programs could read differently.

/// A class with a code, a count and a switch of its own (`normalisation` of the MeshPolicy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ambiguity {
    /// `encodedSlashes`.
    EncodedSlash,
    /// `dotSegments`.
    DotSegment,
    /// `emptySegments`.
    EmptySegment,
    /// `backslashes`.
    Backslash,
    /// `semicolons`.
    Semicolon,
    /// `doubleEncoding`.
    DoubleEncoding,
    /// `controlCharacters`.
    ControlCharacter,
    /// `nonUtf8`.
    NonUtf8,
    /// `duplicateHeaders`.
    DuplicateHeader,
    /// `mixedAuthority`.
    MixedAuthority,
    /// `lowerCaseMethods`.
    LowerCaseMethod,
    /// `overrideHeaders`.
    OverrideHeader,
    /// `underscoreHeaders`.
    UnderscoreHeader,
}

impl Ambiguity {
    /// Every class.
    pub const ALL: [Self; 13] = [
        Self::EncodedSlash,
        Self::DotSegment,
        Self::EmptySegment,
        Self::Backslash,
        Self::Semicolon,
        Self::DoubleEncoding,
        Self::ControlCharacter,
        Self::NonUtf8,
        Self::DuplicateHeader,
        Self::MixedAuthority,
        Self::LowerCaseMethod,
        Self::OverrideHeader,
        Self::UnderscoreHeader,
    ];

    /// The name of its switch in a MeshPolicy, which is also its label in metrics.
    #[must_use]
    pub fn switch(self) -> &'static str {
        match self {
            Self::EncodedSlash => "encodedSlashes",
            Self::DotSegment => "dotSegments",
            Self::EmptySegment => "emptySegments",
            Self::Backslash => "backslashes",
            Self::Semicolon => "semicolons",
            Self::DoubleEncoding => "doubleEncoding",
            Self::ControlCharacter => "controlCharacters",
            Self::NonUtf8 => "nonUtf8",
            Self::DuplicateHeader => "duplicateHeaders",
            Self::MixedAuthority => "mixedAuthority",
            Self::LowerCaseMethod => "lowerCaseMethods",
            Self::OverrideHeader => "overrideHeaders",
            Self::UnderscoreHeader => "underscoreHeaders",
        }
    }
}
