//! The values that XML-RPC carries.

use std::collections::BTreeMap;

use super::datetime::DateTime;

/// Whole numbers up to here are exact in a double.
const DOUBLE_EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Up to so many members a plain search for equal names is faster than a map.
const SEARCH_MAX: usize = 16;

/// One XML-RPC value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `nil` (an extension that some clients cannot take, see [`Value::replace_nil`]).
    Nil,
    /// `int`, `i4`.
    Int(i32),
    /// `i8` (an extension).
    Long(i64),
    /// `boolean`.
    Bool(bool),
    /// `double`; finite.
    Double(f64),
    /// `string`, or a value without a type.
    String(String),
    /// `dateTime.iso8601`.
    DateTime(DateTime),
    /// `base64`.
    Base64(Blob),
    /// `array`.
    Array(Vec<Value>),
    /// `struct`.
    Struct(Struct),
}

/// The bytes of a base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blob {
    /// In memory.
    Inline(Vec<u8>),
    /// Handed to the reader's [`BlobSink`](super::BlobSink).
    Spooled {
        /// Its number among the blobs that the sink received, from 0.
        index: usize,
        /// Its length in bytes.
        bytes: u64,
    },
}

impl Blob {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Spooled { bytes, .. } => *bytes,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Value {
    /// A whole number as the plainest type that holds it: every client takes an `int`, some take no `i8`.
    pub fn integer(long: i64) -> Self {
        i32::try_from(long).map_or(Self::Long(long), Self::Int)
    }

    /// The name of its type on the wire, for messages and signatures.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Int(_) => "int",
            Self::Long(_) => "i8",
            Self::Bool(_) => "boolean",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::DateTime(_) => "dateTime.iso8601",
            Self::Base64(_) => "base64",
            Self::Array(_) => "array",
            Self::Struct(_) => "struct",
        }
    }

    /// About how many bytes of memory it takes, with all that is in it; a spooled base64 takes none.
    pub fn bytes(&self) -> usize {
        let held = match self {
            Self::Nil | Self::Int(_) | Self::Long(_) | Self::Bool(_) | Self::Double(_) | Self::DateTime(_) => 0,
            Self::String(text) => text.len(),
            Self::Base64(Blob::Inline(bytes)) => bytes.len(),
            Self::Base64(Blob::Spooled { .. }) => 0,
            Self::Array(values) => values.iter().map(Self::bytes).sum(),
            Self::Struct(members) => members.iter().map(|(name, value)| name.len() + value.bytes()).sum(),
        };
        size_of::<Self>() + held
    }

    /// Whether it is nil.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// Whether it is nil or what stands for nil at clients that cannot take it: an empty string or base64.
    pub fn is_nil_like(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::String(text) => text.is_empty(),
            Self::Base64(blob) => blob.is_empty(),
            _ => false,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number of 32 bits, in any spelling of [`Value::as_long`].
    pub fn as_int(&self) -> Option<i32> {
        self.as_long().and_then(|long| i32::try_from(long).ok())
    }

    /// A whole number, liberally: `int`, `i8`, a decimal string, or a double with an integral value up to 2^53.
    pub fn as_long(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(i64::from(*int)),
            Self::Long(long) => Some(*long),
            Self::String(text) => text.trim_matches(super::is_xml_space).parse().ok(),
            Self::Double(double) if double.fract() == 0.0 && double.abs() <= DOUBLE_EXACT_MAX => Some(*double as i64),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(bool) => Some(*bool),
            _ => None,
        }
    }

    /// A double, or a whole number that a double holds exactly.
    pub fn as_double(&self) -> Option<f64> {
        match self {
            Self::Double(double) => Some(*double),
            Self::Int(int) => Some(f64::from(*int)),
            Self::Long(long) if long.unsigned_abs() <= 1 << 53 => Some(*long as f64),
            _ => None,
        }
    }

    /// A date and time.
    pub fn as_datetime(&self) -> Option<&DateTime> {
        match self {
            Self::DateTime(datetime) => Some(datetime),
            _ => None,
        }
    }

    /// The bytes of an inline base64, or of a string: chunk data is accepted in both.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Base64(Blob::Inline(bytes)) => Some(bytes),
            Self::String(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// A base64, inline or spooled.
    pub fn as_blob(&self) -> Option<&Blob> {
        match self {
            Self::Base64(blob) => Some(blob),
            _ => None,
        }
    }

    /// The items of an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// A struct.
    pub fn as_struct(&self) -> Option<&Struct> {
        match self {
            Self::Struct(members) => Some(members),
            _ => None,
        }
    }

    /// Puts `with` in the place of every nil, for clients that cannot take one (Ruby, Frontier, phpxmlrpc by default).
    pub fn replace_nil(&mut self, with: &Value) {
        let mut open = vec![self];
        while let Some(value) = open.pop() {
            match value {
                Self::Nil => *value = with.clone(),
                Self::Array(items) => open.extend(items),
                Self::Struct(members) => open.extend(members.members.iter_mut().map(|(_, value)| value)),
                _ => {}
            }
        }
    }
}

macro_rules! from {
    ($($type:ty => |$from:ident| $value:expr;)+) => {
        $(impl From<$type> for Value {
            fn from($from: $type) -> Self {
                $value
            }
        })+
    };
}

from! {
    i32 => |int| Self::Int(int);
    i64 => |long| Self::Long(long);
    bool => |bool| Self::Bool(bool);
    f64 => |double| Self::Double(double);
    &str => |text| Self::String(text.to_owned());
    String => |text| Self::String(text);
    DateTime => |datetime| Self::DateTime(datetime);
    Blob => |blob| Self::Base64(blob);
    Vec<u8> => |bytes| Self::Base64(Blob::Inline(bytes));
    &[u8] => |bytes| Self::Base64(Blob::Inline(bytes.to_vec()));
    Vec<Value> => |items| Self::Array(items);
    Struct => |members| Self::Struct(members);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(option: Option<T>) -> Self {
        option.map_or(Self::Nil, Into::into)
    }
}

/// The members of a struct, in the order in which they were added; no name twice.
///
/// Two structs are equal when they have the same members, in whatever order: the order means nothing on the wire.
#[derive(Debug, Clone, Default)]
pub struct Struct {
    members: Vec<(String, Value)>,
}

impl Struct {
    /// Without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Sets a member; returns the value it had.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (name, value) = (name.into(), value.into());
        if let Some((_, old)) = self.members.iter_mut().find(|(key, _)| *key == name) {
            return Some(std::mem::replace(old, value));
        }
        self.members.push((name, value));
        None
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.members.iter().position(|(key, _)| key == name)?;
        Some(self.members.remove(at).1)
    }

    /// The members in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// From members as they were read: of equal names the last wins, in time n log n whatever a stranger sends.
    pub(super) fn from_members(members: Vec<(String, Value)>) -> Self {
        let doubled = |at: usize| members[..at].iter().any(|(name, _)| *name == members[at].0);
        if members.len() <= SEARCH_MAX && !(1..members.len()).any(doubled) {
            return Self { members };
        }
        let mut last = BTreeMap::new();
        for (at, (name, _)) in members.iter().enumerate() {
            last.insert(name.as_str(), at);
        }
        if last.len() == members.len() {
            return Self { members };
        }
        let mut keep = vec![false; members.len()];
        last.into_values().for_each(|at| keep[at] = true);
        Self { members: members.into_iter().zip(keep).filter_map(|(member, keep)| keep.then_some(member)).collect() }
    }
}

impl PartialEq for Struct {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        let by_name: BTreeMap<&str, &Value> = other.iter().collect();
        self.iter().all(|(name, value)| by_name.get(name).is_some_and(|&theirs| theirs == value))
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Struct {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        Self::from_members(members.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl IntoIterator for Struct {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_integers_are_taken_in_every_spelling_and_never_rounded() {
        let check = |value: Value, want: Option<i64>| assert_eq!(value.as_long(), want, "{value:?}");
        check(7.into(), Some(7));
        check(i64::MIN.into(), Some(i64::MIN));
        check("9223372036854775807".into(), Some(i64::MAX));
        check(" 12 ".into(), Some(12));
        check("9223372036854775808".into(), None);
        check("1.0".into(), None);
        check(1e12.into(), Some(1_000_000_000_000));
        check(0.5.into(), None);
        check(1e16.into(), None);
        check(f64::NAN.into(), None);
        check(true.into(), None);
    }

    #[test]
    fn of_members_with_one_name_the_last_wins() {
        let members: Struct = [("a", 1), ("b", 2), ("a", 3)].into_iter().collect();
        assert_eq!(members.get("a"), Some(&Value::Int(3)));
        assert_eq!(members.len(), 2);
    }

    #[test]
    fn the_order_of_members_means_nothing() {
        let one: Struct = [("a", 1), ("b", 2)].into_iter().collect();
        let two: Struct = [("b", 2), ("a", 1)].into_iter().collect();
        let three: Struct = [("b", 2), ("a", 2)].into_iter().collect();
        assert_eq!(one, two);
        assert_ne!(one, three);
    }

    #[test]
    fn nil_is_replaced_at_every_depth() {
        let inner: Struct = [("n", Value::Nil)].into_iter().collect();
        let mut value = Value::Array(vec![Value::Nil, inner.into()]);
        value.replace_nil(&Value::from(""));
        let inner: Struct = [("n", "")].into_iter().collect();
        assert_eq!(value, Value::Array(vec!["".into(), inner.into()]));
    }
}
