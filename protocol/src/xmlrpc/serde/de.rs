//! Values to Rust types, as liberal as the protocol: long integers in every spelling, an absent member for a nil.

use serde::de::value::StringDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserializer as _, forward_to_deserialize_any};

use super::error::SerdeError;
use crate::xmlrpc::{Blob, Struct, Value};

/// Turns an XML-RPC value into a Rust type.
///
/// Whole numbers are taken from `int`, `i8`, decimal strings and integral doubles; a missing member of an option is `None`,
/// and so is nil; unknown members are ignored unless the type denies them.
///
/// # Errors
/// What does not fit.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, SerdeError> {
    T::deserialize(ValueDeserializer(value))
}

/// A value as a source of serde; [`from_value`] is the usual way to it.
#[derive(Debug)]
pub struct ValueDeserializer(Value);

impl ValueDeserializer {
    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0.as_long() {
            Some(long) => visitor.visit_i64(long),
            None => self.deserialize_any(visitor),
        }
    }
}

macro_rules! integers {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
            self.integer(visitor)
        }
    )+};
}

impl<'de> de::Deserializer<'de> for ValueDeserializer {
    type Error = SerdeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Nil => visitor.visit_unit(),
            Value::Int(int) => visitor.visit_i32(int),
            Value::Long(long) => visitor.visit_i64(long),
            Value::Bool(bool) => visitor.visit_bool(bool),
            Value::Double(double) => visitor.visit_f64(double),
            Value::String(text) => visitor.visit_string(text),
            Value::DateTime(datetime) => visitor.visit_string(
                datetime.to_wire().ok_or_else(|| SerdeError::Custom("a date that does not exist".into()))?,
            ),
            Value::Base64(Blob::Inline(bytes)) => visitor.visit_byte_buf(bytes),
            Value::Base64(Blob::Spooled { .. }) => Err(SerdeError::Spooled),
            Value::Array(items) => {
                let mut items = de::value::SeqDeserializer::new(items.into_iter());
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Struct(members) => visitor.visit_map(Members::new(members)),
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0.as_double() {
            Some(double) => visitor.visit_f64(double),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0.is_nil_like() {
            true => visitor.visit_unit(),
            false => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        let (variant, content) = match self.0 {
            Value::String(variant) => (variant, None),
            Value::Struct(members) if members.len() == 1 => match members.into_iter().next() {
                Some((variant, content)) => (variant, Some(content)),
                None => return Err(SerdeError::Key),
            },
            other => {
                return Err(de::Error::invalid_type(Unexpected::Other(other.type_name()), &"the name of a variant"));
            }
        };
        visitor.visit_enum(Variant { variant, content })
    }

    forward_to_deserialize_any! {
        bool char str string bytes byte_buf unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, SerdeError> for Value {
    type Deserializer = ValueDeserializer;

    fn into_deserializer(self) -> ValueDeserializer {
        ValueDeserializer(self)
    }
}

struct Members {
    members: <Struct as IntoIterator>::IntoIter,
    value: Option<(String, Value)>,
}

impl Members {
    fn new(members: Struct) -> Self {
        Self { members: members.into_iter(), value: None }
    }
}

impl<'de> de::MapAccess<'de> for Members {
    type Error = SerdeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, SerdeError> {
        let Some((name, value)) = self.members.next() else {
            return Ok(None);
        };
        let key: StringDeserializer<SerdeError> = name.clone().into_deserializer();
        self.value = Some((name, value));
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, SerdeError> {
        let (name, value) = self.value.take().ok_or(SerdeError::Key)?;
        seed.deserialize(ValueDeserializer(value)).map_err(|error| match error {
            SerdeError::Custom(what) => SerdeError::Custom(format!("{name}: {what}")),
            other => other,
        })
    }
}

struct Variant {
    variant: String,
    content: Option<Value>,
}

impl<'de> de::EnumAccess<'de> for Variant {
    type Error = SerdeError;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content), SerdeError> {
        let variant: StringDeserializer<SerdeError> = self.variant.into_deserializer();
        Ok((seed.deserialize(variant)?, Content(self.content)))
    }
}

struct Content(Option<Value>);

impl<'de> de::VariantAccess<'de> for Content {
    type Error = SerdeError;

    fn unit_variant(self) -> Result<(), SerdeError> {
        match self.0 {
            None | Some(Value::Nil) => Ok(()),
            Some(other) => Err(de::Error::invalid_type(Unexpected::Other(other.type_name()), &"nothing")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, SerdeError> {
        seed.deserialize(ValueDeserializer(self.0.unwrap_or(Value::Nil)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, SerdeError> {
        ValueDeserializer(self.0.unwrap_or(Value::Nil)).deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        ValueDeserializer(self.0.unwrap_or(Value::Nil)).deserialize_any(visitor)
    }
}
