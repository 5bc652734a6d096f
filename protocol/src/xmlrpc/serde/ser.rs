//! Rust types to values.

use serde::ser::{self, Serialize};

use super::error::SerdeError;
use crate::xmlrpc::{Struct, Value};

/// Turns a Rust value into an XML-RPC value.
///
/// Whole numbers become `int` when they fit it and `i8` otherwise; an option that is `None` is left out of a
/// struct and nil elsewhere; an enum is its variant's name, or a struct of one member.
///
/// # Errors
/// Numbers beyond 64 bits, and map keys that are no strings.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, SerdeError> {
    value.serialize(ValueSerializer)
}

struct ValueSerializer;

type Outcome = Result<Value, SerdeError>;

impl ser::Serializer for ValueSerializer {
    type Ok = Value;
    type Error = SerdeError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Members;
    type SerializeStruct = Members;
    type SerializeStructVariant = Members;

    fn serialize_bool(self, v: bool) -> Outcome {
        Ok(Value::Bool(v))
    }
    fn serialize_i8(self, v: i8) -> Outcome {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i16(self, v: i16) -> Outcome {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i32(self, v: i32) -> Outcome {
        Ok(Value::Int(v))
    }
    fn serialize_i64(self, v: i64) -> Outcome {
        Ok(Value::integer(v))
    }
    fn serialize_i128(self, v: i128) -> Outcome {
        i64::try_from(v).map(Value::integer).map_err(|_| SerdeError::Number(v.to_string()))
    }
    fn serialize_u8(self, v: u8) -> Outcome {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u16(self, v: u16) -> Outcome {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u32(self, v: u32) -> Outcome {
        Ok(Value::integer(v.into()))
    }
    fn serialize_u64(self, v: u64) -> Outcome {
        i64::try_from(v).map(Value::integer).map_err(|_| SerdeError::Number(v.to_string()))
    }
    fn serialize_u128(self, v: u128) -> Outcome {
        i64::try_from(v).map(Value::integer).map_err(|_| SerdeError::Number(v.to_string()))
    }
    fn serialize_f32(self, v: f32) -> Outcome {
        Ok(Value::Double(v.into()))
    }
    fn serialize_f64(self, v: f64) -> Outcome {
        Ok(Value::Double(v))
    }
    fn serialize_char(self, v: char) -> Outcome {
        Ok(Value::String(v.to_string()))
    }
    fn serialize_str(self, v: &str) -> Outcome {
        Ok(Value::String(v.to_owned()))
    }
    fn serialize_bytes(self, v: &[u8]) -> Outcome {
        Ok(Value::from(v))
    }
    fn serialize_none(self) -> Outcome {
        Ok(Value::Nil)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Outcome {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Outcome {
        Ok(Value::Nil)
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Outcome {
        Ok(Value::Nil)
    }
    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Outcome {
        Ok(Value::String(variant.to_owned()))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Outcome {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Outcome {
        Ok(wrap(Some(variant), to_value(value)?))
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Items, SerdeError> {
        Ok(Items { variant: None, items: Vec::with_capacity(len.unwrap_or(0)) })
    }
    fn serialize_tuple(self, len: usize) -> Result<Items, SerdeError> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Items, SerdeError> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Items, SerdeError> {
        Ok(Items { variant: Some(variant), items: Vec::with_capacity(len) })
    }
    fn serialize_map(self, _len: Option<usize>) -> Result<Members, SerdeError> {
        Ok(Members::default())
    }
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Members, SerdeError> {
        Ok(Members::default())
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Members, SerdeError> {
        Ok(Members { variant: Some(variant), ..Members::default() })
    }
}

fn wrap(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        Some(variant) => Value::Struct([(variant, value)].into_iter().collect()),
        None => value,
    }
}

struct Items {
    variant: Option<&'static str>,
    items: Vec<Value>,
}

macro_rules! items {
    ($($trait:ident :: $method:ident),+) => {$(
        impl ser::$trait for Items {
            type Ok = Value;
            type Error = SerdeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
                self.items.push(to_value(value)?);
                Ok(())
            }

            fn end(self) -> Outcome {
                Ok(wrap(self.variant, Value::Array(self.items)))
            }
        }
    )+};
}

items!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

#[derive(Default)]
struct Members {
    variant: Option<&'static str>,
    members: Struct,
    key: Option<String>,
}

impl ser::SerializeMap for Members {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), SerdeError> {
        match to_value(key)? {
            Value::String(key) => self.key = Some(key),
            _ => return Err(SerdeError::Key),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        let key = self.key.take().ok_or(SerdeError::Key)?;
        self.members.insert(key, to_value(value)?);
        Ok(())
    }

    fn end(self) -> Outcome {
        Ok(wrap(self.variant, Value::Struct(self.members)))
    }
}

macro_rules! members {
    ($($trait:ident),+) => {$(
        impl ser::$trait for Members {
            type Ok = Value;
            type Error = SerdeError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), SerdeError> {
                match to_value(value)? {
                    Value::Nil => {} // an absent member is understood by everybody, nil is not
                    value => drop(self.members.insert(key, value)),
                }
                Ok(())
            }

            fn end(self) -> Outcome {
                Ok(wrap(self.variant, Value::Struct(self.members)))
            }
        }
    )+};
}

members!(SerializeStruct, SerializeStructVariant);
