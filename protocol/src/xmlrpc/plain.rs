//! The short way through a document: values in the spelling that nearly every peer writes, read straight from the bytes
//! at hand.
//!
//! It takes what needs no thought: the tags of XML-RPC without attributes, in the usual order, around text without
//! comments, CDATA sections and carriage returns. Where anything else comes, or the bytes at hand end, nothing counts as
//! read, and the reader goes on through `quick-xml`, which knows all of XML. So whatever is taken here would be taken there,
//! as the same value, and whatever is wrong is found there. (The tests read every document both ways.)

use super::limits::{DEPTH_HARD_MAX, Limits};
use super::message::MethodCall;
use super::scalar::{SHORT_TEXT_MAX, Scalar};
use super::text::{forbidden_char, resolve_reference};
use super::value::{Struct, Value};

/// Arrays and structs inside each other that are read here; each costs stack.
const NESTED_MAX: usize = 16;
/// The longest type name with its slash.
const TYPE_BYTES_MAX: usize = 20;
/// The longest reference, `&#1114111;` with some zeros before it.
const REFERENCE_BYTES_MAX: usize = 16;

/// What a byte is in the text of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A character that stands for itself.
    Itself,
    /// Part of a character beyond ASCII.
    High,
    /// `>`, which may end a `]]>`.
    Greater,
    /// `&`
    Reference,
    /// `<`
    Markup,
    /// For others to judge.
    Other,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Itself; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'\t' | b'\n' => Class::Itself,
            b'<' => Class::Markup,
            b'>' => Class::Greater,
            b'&' => Class::Reference,
            0..0x20 => Class::Other,
            0x80..=0xff => Class::High,
            _ => Class::Itself,
        };
        byte += 1;
    }
    classes
};

/// What a document has spent of its bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    /// Values in the document.
    pub(super) values: usize,
    /// Bytes of all texts.
    pub(super) tree_bytes: u64,
}

/// Bytes of a call that is tried as a whole; longer ones go through `quick-xml` from parameter to parameter.
const WHOLE_BYTES_MAX: usize = 8 << 10;
/// Declarations that nearly every peer writes, if any. What they say is what is assumed without them.
const DECLARATIONS: [&[u8]; 5] = [
    b"<?xml version=\"1.0\"?>",
    b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
    b"<?xml version=\"1.0\" encoding=\"utf-8\"?>",
    b"<?xml version='1.0'?>",
    b"<?xml version='1.0' encoding='UTF-8'?>",
];

/// A short call, whole.
pub(super) fn call(document: &[u8], limits: &Limits) -> Option<MethodCall> {
    if document.len() > WHOLE_BYTES_MAX || document.len() as u64 > limits.total_bytes_max {
        return None;
    }
    let mut plain = Plain::new(document, limits, Spent { values: 0, tree_bytes: 0 });
    let call = plain.call()?;
    (plain.at == document.len()).then_some(call)
}

/// Reads from the bytes at hand. Every function returns `None` where the plain spelling ends; [`Plain::at`] then says how
/// far it went, and what was read since the last whole value is void.
pub(super) struct Plain<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: &'a Limits,
    spent: Spent,
}

impl<'a> Plain<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: &'a Limits, spent: Spent) -> Self {
        Self { bytes, at: 0, limits, spent }
    }

    /// How far it has come.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What the document has spent of its bounds.
    pub(super) fn spent(&self) -> Spent {
        self.spent
    }

    /// A `<value>` whole, inside of `depth` arrays and structs.
    pub(super) fn value(&mut self, depth: usize) -> Option<Value> {
        self.nested_value(depth, 0)
    }

    /// A `<member>` whole, its name first.
    pub(super) fn member(&mut self, depth: usize) -> Option<(String, Value)> {
        self.nested_member(depth, 0)
    }

    /// A `<param>` whole.
    pub(super) fn param(&mut self) -> Option<Value> {
        self.blank()?;
        self.tag(b"<param>")?;
        let value = self.nested_value(0, 0)?;
        self.blank()?;
        self.tag(b"</param>")?;
        Some(value)
    }

    /// A `<methodCall>` with all around it.
    fn call(&mut self) -> Option<MethodCall> {
        let _ = DECLARATIONS.iter().find_map(|declaration| self.tag(declaration));
        self.blank()?;
        self.tag(b"<methodCall>")?;
        self.blank()?;
        self.tag(b"<methodName>")?;
        let method = self.text(self.limits.name_bytes_max)?.trim_matches(super::is_xml_space).to_owned();
        self.tag(b"</methodName>")?;
        self.blank()?;
        let mut params = Vec::new();
        if self.tag(b"<params>").is_some() {
            loop {
                self.blank()?;
                if self.tag(b"</params>").is_some() {
                    break;
                }
                params.push(self.param()?);
            }
            self.blank()?;
        }
        self.tag(b"</methodCall>")?;
        self.blank()?;
        (!method.is_empty()).then_some(MethodCall { method, params })
    }

    fn nested_value(&mut self, depth: usize, nested: usize) -> Option<Value> {
        self.blank()?;
        self.tag(b"<value>")?;
        self.spent.values += 1;
        if self.spent.values > self.limits.elements_max {
            return None;
        }
        let start = self.at;
        self.blank()?;
        let is_typed = self.rest().starts_with(b"<") && !self.rest().starts_with(b"</");
        if !is_typed {
            self.at = start;
            let text = self.string(b"</value>")?;
            return Some(Value::String(text));
        }
        let value = self.typed(depth, nested)?;
        self.blank()?;
        self.tag(b"</value>")?;
        Some(value)
    }

    fn nested_member(&mut self, depth: usize, nested: usize) -> Option<(String, Value)> {
        self.blank()?;
        self.tag(b"<member>")?;
        self.blank()?;
        self.tag(b"<name>")?;
        let name = self.text(self.limits.name_bytes_max)?;
        self.charge(name.len())?;
        self.tag(b"</name>")?;
        let value = self.nested_value(depth, nested)?;
        self.blank()?;
        self.tag(b"</member>")?;
        Some((name, value))
    }

    /// An element of a type, whole.
    fn typed(&mut self, depth: usize, nested: usize) -> Option<Value> {
        let start = self.at + 1;
        let head = &self.bytes[start..self.bytes.len().min(start + TYPE_BYTES_MAX)];
        let name = &self.bytes[start..start + head.iter().position(|&byte| byte == b'>')?];
        let inside = start + name.len() + 1;
        match name {
            b"string" => {
                self.at = inside;
                self.string(b"</string>").map(Value::String)
            }
            b"nil/" => {
                self.at = inside;
                Some(Value::Nil)
            }
            b"array" | b"struct" => {
                if depth >= self.limits.depth_max.min(DEPTH_HARD_MAX) || nested >= NESTED_MAX {
                    return None;
                }
                self.at = inside;
                if name == b"array" { self.array(depth + 1, nested + 1) } else { self.members(depth + 1, nested + 1) }
            }
            // those with a prefix need a second look
            _ if name.contains(&b':') => None,
            _ => {
                let scalar = Scalar::from_name(std::str::from_utf8(name).ok()?)?;
                self.at = inside;
                let value = self.scalar(scalar)?;
                self.tag(b"</")?;
                self.tag(name)?;
                self.tag(b">")?;
                Some(value)
            }
        }
    }

    fn array(&mut self, depth: usize, nested: usize) -> Option<Value> {
        self.blank()?;
        self.tag(b"<data>")?;
        let mut items = Vec::new();
        loop {
            self.blank()?;
            if self.tag(b"</data>").is_some() {
                break;
            }
            items.push(self.nested_value(depth, nested)?);
        }
        self.blank()?;
        self.tag(b"</array>")?;
        Some(Value::Array(items))
    }

    fn members(&mut self, depth: usize, nested: usize) -> Option<Value> {
        let mut members = Vec::new();
        loop {
            self.blank()?;
            if self.tag(b"</struct>").is_some() {
                return Some(Value::Struct(Struct::from_members(members)));
            }
            members.push(self.nested_member(depth, nested)?);
        }
    }

    /// The text of a number, boolean or date.
    fn scalar(&mut self, scalar: Scalar) -> Option<Value> {
        let rest = self.rest();
        let text = &rest[..rest.iter().take(SHORT_TEXT_MAX).position(|&byte| byte == b'<')?];
        let is_plain = |&byte: &u8| (b' '..=b'~').contains(&byte) && byte != b'&' || byte == b'\n' || byte == b'\t';
        if !text.iter().all(is_plain) {
            return None;
        }
        let value = scalar.parse(std::str::from_utf8(text).ok()?, self.limits.non_finite_doubles).ok()?;
        self.at += text.len();
        Some(value)
    }

    /// A text that is a value, with the tag behind it.
    fn string(&mut self, end: &[u8]) -> Option<String> {
        let text = self.text(self.limits.text_bytes_max)?;
        self.charge(text.len())?;
        self.tag(end)?;
        Some(text)
    }

    /// Text up to the next tag.
    fn text(&mut self, bytes_max: usize) -> Option<String> {
        let (text, is_all) = self.run()?;
        let mut text = text.to_owned();
        if !is_all {
            self.referenced(&mut text)?;
        }
        (text.len() <= bytes_max).then_some(text)
    }

    /// Text with references, from the first of them.
    fn referenced(&mut self, text: &mut String) -> Option<()> {
        loop {
            let name = self.rest().get(1..)?;
            let end = name.iter().take(REFERENCE_BYTES_MAX).position(|&byte| byte == b';')?;
            text.push(resolve_reference(std::str::from_utf8(&name[..end]).ok()?)?);
            self.at += end + 2;
            let (run, is_all) = self.run()?;
            text.push_str(run);
            if is_all {
                return Some(());
            }
        }
    }

    /// Characters that stand for themselves, and whether a tag follows and not a reference.
    fn run(&mut self) -> Option<(&'a str, bool)> {
        let rest = &self.bytes[self.at..];
        let mut is_ascii = true;
        let mut len = 0;
        let is_all = loop {
            match CLASSES[usize::from(*rest.get(len)?)] {
                Class::Itself => {}
                Class::High => is_ascii = false,
                Class::Greater if rest[..len].ends_with(b"]]") => return None,
                Class::Greater => {}
                Class::Markup => break true,
                Class::Reference => break false,
                Class::Other => return None,
            }
            len += 1;
        };
        let text = std::str::from_utf8(&rest[..len]).ok()?;
        if !is_ascii && forbidden_char(text).is_some() {
            return None;
        }
        self.at += len;
        Some((text, is_all))
    }

    /// White space, if there is any.
    fn blank(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        (self.at - start <= self.limits.text_bytes_max).then_some(())
    }

    fn tag(&mut self, tag: &[u8]) -> Option<()> {
        self.rest().starts_with(tag).then(|| self.at += tag.len())
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn charge(&mut self, bytes: usize) -> Option<()> {
        self.spent.tree_bytes = self.spent.tree_bytes.saturating_add(bytes as u64);
        (self.spent.tree_bytes <= self.limits.tree_bytes_max).then_some(())
    }
}
