//! Taking parameters apart: count, types and ranges, with faults that name the parameter.

use jiff::tz::TimeZone;
use protocol::fault::Fault;
use protocol::watermark::Since;
use protocol::xmlrpc::{Value, from_value};
use serde::de::DeserializeOwned;

use super::fault::wrong_parameters;

/// The parameters of one call, taken from the front.
pub(crate) struct Parameters {
    method: String,
    count: usize,
    left: std::vec::IntoIter<Value>,
}

impl Parameters {
    /// Parameters of a call of `method`, at least `least` and at most `most` of them.
    pub(crate) fn new(method: &str, params: Vec<Value>, least: usize, most: usize) -> Result<Self, Fault> {
        if params.len() >= least && params.len() <= most {
            return Ok(Self { method: method.to_owned(), count: params.len(), left: params.into_iter() });
        }
        let wanted = match (least, most) {
            (0, 0) => "no parameters".to_owned(),
            (1, 1) => "one parameter".to_owned(),
            (least, most) if least == most => format!("{least} parameters"),
            (least, most) => format!("{least} to {most} parameters"),
        };
        Err(wrong_parameters(format!("{method} takes {wanted}, not {}", params.len())))
    }

    /// The next one.
    pub(crate) fn value(&mut self) -> Result<Value, Fault> {
        self.left.next().ok_or_else(|| wrong_parameters(format!("{} has only {} parameters", self.method, self.count)))
    }

    /// The next one that is there and not nil.
    pub(crate) fn optional(&mut self) -> Option<Value> {
        self.left.next().filter(|value| !matches!(value, Value::Nil))
    }

    /// A long integer in any spelling.
    pub(crate) fn long(&mut self, name: &str) -> Result<i64, Fault> {
        let value = self.value()?;
        value.as_long().ok_or_else(|| self.wrong(name, "an integer", &value))
    }

    /// A session's number.
    pub(crate) fn sid(&mut self) -> Result<i32, Fault> {
        let sid = self.long("sid")?;
        i32::try_from(sid)
            .ok()
            .filter(|&sid| sid > 0)
            .ok_or_else(|| wrong_parameters(format!("{}: sid is a number that sql_prepare returned", self.method)))
    }

    /// A string.
    pub(crate) fn text(&mut self, name: &str) -> Result<String, Fault> {
        match self.value()? {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(name, "a string", &other)),
        }
    }

    /// A watermark in any spelling; a time without a zone is of this one.
    pub(crate) fn since(&mut self, zone: &TimeZone) -> Result<Since, Fault> {
        let value = self.value()?;
        Since::from_xmlrpc_in(&value, zone)
            .map_err(|error| wrong_parameters(format!("{}: since: {error}", self.method)))
    }

    /// A struct, or defaults where it is missing or nil.
    pub(crate) fn options<T: DeserializeOwned + Default>(&mut self, name: &str) -> Result<T, Fault> {
        match self.optional() {
            None => Ok(T::default()),
            Some(value @ Value::Struct(_)) => {
                from_value(value).map_err(|error| wrong_parameters(format!("{}: {name}: {error}", self.method)))
            }
            Some(other) => Err(self.wrong(name, "a struct", &other)),
        }
    }

    /// The fault for a parameter of the wrong type.
    pub(crate) fn wrong(&self, name: &str, wanted: &str, found: &Value) -> Fault {
        wrong_parameters(format!("{}: {name} must be {wanted}, not {}", self.method, found.type_name()))
    }
}
