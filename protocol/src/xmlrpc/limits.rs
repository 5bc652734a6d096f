//! What a document may cost its reader.

/// The deepest nesting that any configuration allows; dropping, comparing and writing a value recurse this far.
pub const DEPTH_HARD_MAX: usize = 512;

/// Bounds of what a reader accepts; every one is checked while reading, before memory is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Arrays and structs inside each other; never more than [`DEPTH_HARD_MAX`].
    pub depth_max: usize,
    /// Values in the whole document.
    pub elements_max: usize,
    /// Bytes of one string, untyped value or method name, after decoding.
    pub text_bytes_max: usize,
    /// Bytes of one struct member's name.
    pub name_bytes_max: usize,
    /// Bytes of one tag, comment or processing instruction.
    pub markup_bytes_max: usize,
    /// Bytes of one base64, decoded.
    pub blob_bytes_max: u64,
    /// Bytes of a base64, decoded, up to which it stays in memory although there is a sink.
    pub inline_blob_bytes_max: usize,
    /// Bytes of all strings, names and inline base64 together, decoded.
    pub tree_bytes_max: u64,
    /// Bytes of the whole document, after conversion to UTF-8.
    pub total_bytes_max: u64,
    /// Whether a double may be `inf` or `nan`, which XML-RPC has no spelling for.
    pub non_finite_doubles: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth_max: 64,
            elements_max: 1_000_000,
            text_bytes_max: 1 << 20,
            name_bytes_max: 4 << 10,
            markup_bytes_max: 64 << 10,
            blob_bytes_max: 256 << 20,
            inline_blob_bytes_max: 64 << 10,
            tree_bytes_max: 512 << 20,
            total_bytes_max: 1 << 30,
            non_finite_doubles: false,
        }
    }
}
