//! Where messages of HTTP/1.1 begin and end in a stream of bytes that is only looked at.

/// A place in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// After its first byte.
    FirstByte,
    /// After its head.
    HeadEnd,
    /// In the middle of its body.
    MiddleOfBody,
    /// One byte before its end.
    BeforeEnd,
    /// After its last byte.
    End,
}

impl Place {
    /// All places, in their order.
    pub const ALL: [Self; 5] = [Self::FirstByte, Self::HeadEnd, Self::MiddleOfBody, Self::BeforeEnd, Self::End];
}

/// Follows the messages of one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    head: Vec<u8>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    /// A body of known length.
    Body { length: u64, left: u64 },
    /// A chunked body: the line with the size of the next chunk.
    SizeLine { line: Vec<u8>, chunks: u64 },
    /// Inside a chunk and its line end.
    Chunk { left: u64, chunks: u64 },
    /// The empty line after the last chunk.
    LastLine { left: u64 },
}

impl Framing {
    /// Whether the next byte belongs to a body of more than 1 KiB, or of unknown length.
    pub(super) fn is_in_large_body(&self) -> bool {
        match self.state {
            State::Head => false,
            State::Body { length, .. } => length > 1024,
            State::SizeLine { .. } | State::Chunk { .. } | State::LastLine { .. } => true,
        }
    }

    /// Takes in one byte; the places reached by it, in their order.
    pub(super) fn byte(&mut self, byte: u8) -> Vec<Place> {
        let mut places = Vec::new();
        match &mut self.state {
            State::Head => {
                self.head.push(byte);
                if self.head.len() == 1 {
                    places.push(Place::FirstByte);
                }
                if self.head.ends_with(b"\r\n\r\n") {
                    places.push(Place::HeadEnd);
                    self.state = body_after(&self.head);
                    self.head.clear();
                    if matches!(self.state, State::Head) {
                        places.push(Place::End);
                    }
                }
            }
            State::Body { length, left } => {
                *left -= 1;
                if *left == *length / 2 {
                    places.push(Place::MiddleOfBody);
                }
                match *left {
                    1 => places.push(Place::BeforeEnd),
                    0 => {
                        places.push(Place::End);
                        self.state = State::Head;
                    }
                    _ => {}
                }
            }
            State::SizeLine { line, chunks } => {
                line.push(byte);
                if line.ends_with(b"\r\n") {
                    let digits = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
                    let size = u64::from_str_radix(digits.split(';').next().unwrap_or("").trim(), 16).unwrap_or(0);
                    self.state = match size {
                        0 => State::LastLine { left: 2 },
                        size => State::Chunk { left: size + 2, chunks: *chunks + 1 },
                    };
                }
            }
            State::Chunk { left, chunks } => {
                *left -= 1;
                if *left == 0 {
                    if *chunks == 1 {
                        places.push(Place::MiddleOfBody);
                    }
                    self.state = State::SizeLine { line: Vec::new(), chunks: *chunks };
                }
            }
            State::LastLine { left } => {
                *left -= 1;
                if *left == 1 {
                    places.push(Place::BeforeEnd);
                } else {
                    places.push(Place::End);
                    self.state = State::Head;
                }
            }
        }
        places
    }
}

fn body_after(head: &[u8]) -> State {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    if value("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        return State::SizeLine { line: Vec::new(), chunks: 0 };
    }
    match value("content-length").and_then(|length| length.parse().ok()) {
        None | Some(0) => State::Head,
        Some(length) => State::Body { length, left: length },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<(usize, Place)> {
        let mut framing = Framing::default();
        let found = text.bytes().enumerate().flat_map(|(at, byte)| {
            framing.byte(byte).into_iter().map(move |place| (at + 1, place)).collect::<Vec<_>>()
        });
        found.collect()
    }

    #[test]
    fn messages_of_known_length_follow_each_other() {
        use Place::*;
        let one = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd";
        let head = one.len() - 4;
        let mut expected =
            vec![(1, FirstByte), (head, HeadEnd), (head + 2, MiddleOfBody), (head + 3, BeforeEnd), (head + 4, End)];
        assert_eq!(places(one), expected);
        expected.extend(expected.clone().into_iter().map(|(at, place)| (at + one.len(), place)));
        assert_eq!(places(&format!("{one}{one}")), expected);
    }

    #[test]
    fn a_chunked_body_ends_after_its_empty_line() {
        use Place::*;
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let found: Vec<Place> = places(text).into_iter().map(|(_, place)| place).collect();
        assert_eq!(found, [FirstByte, HeadEnd, MiddleOfBody, BeforeEnd, End]);
        assert_eq!(places(text).last(), Some(&(text.len(), End)));
    }
}
