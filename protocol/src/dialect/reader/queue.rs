//! Events recognised and not yet handed out.

use super::super::Event;
use super::window::Flaw;

/// One waiting event; places are in the queue's own bytes, except for [`Item::Line`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    /// A slot that was kept for a statement event and is not needed.
    Nothing,
    Statement,
    Row {
        start: usize,
        end: usize,
    },
    /// A data line, which lies in the window.
    Line {
        start: usize,
        end: usize,
    },
    Note {
        start: usize,
        name: usize,
        json: usize,
        end: usize,
    },
    Watermark {
        start: usize,
        end: usize,
    },
    SetVal,
}

/// A queue whose memory is used again and again.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: Vec<Item>,
    next: usize,
    bytes: Vec<u8>,
}

/// Memory of an unusually long row is given back beyond this.
const BYTES_KEPT: usize = 1 << 20;

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.next == self.items.len()
    }

    /// Bytes of waiting rows and notes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Memory held by what waits.
    #[inline]
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.items.len() * size_of::<Item>()
    }

    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(super) fn push(&mut self, item: Item) {
        self.items.push(item);
    }

    /// Keeps a slot for a statement event ahead of rows; [`Self::announce`] fills it.
    pub(super) fn reserve(&mut self) -> usize {
        self.items.push(Item::Nothing);
        self.items.len() - 1
    }

    pub(super) fn announce(&mut self, slot: usize) {
        if let Some(item) = self.items.get_mut(slot) {
            *item = Item::Statement;
        }
    }

    /// The next item. Its bytes stay until the call after it.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Item> {
        while let Some(item) = self.items.get(self.next) {
            self.next += 1;
            if !matches!(item, Item::Nothing) {
                return Some(*item);
            }
        }
        self.items.clear();
        self.next = 0;
        self.bytes.clear();
        if self.bytes.capacity() > BYTES_KEPT {
            self.bytes.shrink_to(BYTES_KEPT);
        }
        None
    }

    /// Splits the note whose text begins at `start` into name and JSON.
    pub(super) fn push_note(&mut self, start: usize) -> Result<(), Flaw> {
        let text = &self.bytes[start..];
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let lead = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let name = text[lead..].iter().take_while(|byte| is_name(byte)).count();
        let after = &text[lead + name..];
        if name == 0 || after.first().is_some_and(|byte| !matches!(byte, b' ' | b'\t')) {
            return Err(Flaw::syntax("a structured comment has no proper name"));
        }
        let gap = after.len() - after.trim_ascii_start().len();
        let json = after.trim_ascii().len();
        let json_start = start + lead + name + gap;
        self.push(Item::Note {
            start: start + lead,
            name: start + lead + name,
            json: json_start,
            end: json_start + json,
        });
        Ok(())
    }

    /// A watermark whose text begins at `start`; an empty one is an ordinary comment.
    pub(super) fn push_watermark(&mut self, start: usize) {
        let text = &self.bytes[start..];
        let trimmed = text.trim_ascii().len();
        if trimmed > 0 {
            let start = start + text.len() - text.trim_ascii_start().len();
            self.push(Item::Watermark { start, end: start + trimmed });
        }
    }

    /// An item of this queue as an event.
    #[inline]
    pub(super) fn event(&self, item: Item) -> Event<'_> {
        match item {
            Item::Note { start, name, json, end } => {
                Event::Note { name: self.text(start, name), json: self.text(json, end) }
            }
            Item::Watermark { start, end } => Event::Watermark(self.text(start, end)),
            Item::Row { start, end } => Event::Row(&self.bytes[start..end]),
            Item::Nothing | Item::Statement | Item::SetVal | Item::Line { .. } => Event::Row(&[]),
        }
    }

    /// Comments are checked to be UTF-8 when they are taken, so that nothing is lost here.
    fn text(&self, start: usize, end: usize) -> &str {
        std::str::from_utf8(&self.bytes[start..end]).unwrap_or_default()
    }
}
