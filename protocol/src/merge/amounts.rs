//! Amounts: columns that both sides add to. They are never in conflict.
//!
//! What travels is the sender's *total*: its value without what it received from the peer. The receiver adds what the
//! total has grown by since the one it stored last, so nothing is added twice, however often a total is repeated.
//!
//! Numbers are texts, as PostgreSQL writes them, and are added exactly.

/// The total to send: the value without what was received from that peer (none: nothing was).
///
/// None when one of them is not a number.
pub fn total(value: &str, received: Option<&str>) -> Option<String> {
    let received = received.map_or_else(|| Some(Number::ZERO), Number::parse)?;
    Some(Number::parse(value)?.minus(received).write())
}

/// The value after a total of the peer has come in, which had sent `received` before (none: nothing).
///
/// None when one of them is not a number.
pub fn receive(value: &str, total: &str, received: Option<&str>) -> Option<String> {
    let received = received.map_or_else(|| Some(Number::ZERO), Number::parse)?;
    let grown = Number::parse(total)?.minus(received);
    Some(Number::parse(value)?.plus(grown).write())
}

/// A decimal number of any length, or what PostgreSQL has besides.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Number {
    /// `digits` (least significant first) times 10 to the power of `-scale`.
    Finite {
        negative: bool,
        digits: Vec<u8>,
        scale: usize,
    },
    Infinite {
        negative: bool,
    },
    /// `NaN`.
    Undefined,
}

/// Most digits before or behind the point: what PostgreSQL's numeric can hold.
const DIGITS_MAX: usize = 131_072;

impl Number {
    const ZERO: Self = Self::Finite { negative: false, digits: Vec::new(), scale: 0 };

    fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        match text {
            "NaN" => return Some(Self::Undefined),
            "Infinity" => return Some(Self::Infinite { negative }),
            _ => {}
        }
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut digits = Vec::with_capacity(whole.len() + fraction.len());
        for byte in whole.bytes().chain(fraction.bytes()).rev() {
            digits.push(byte.is_ascii_digit().then(|| byte - b'0')?);
        }
        let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
        if scale.unsigned_abs() > DIGITS_MAX as u64 || digits.len() > 2 * DIGITS_MAX {
            return None;
        }
        let mut number = Self::Finite { negative, digits, scale: usize::try_from(scale).unwrap_or(0) };
        if let (Ok(missing), Self::Finite { digits, .. }) = (usize::try_from(-scale), &mut number) {
            digits.splice(0..0, std::iter::repeat_n(0, missing));
        }
        Some(number)
    }

    fn minus(self, other: Self) -> Self {
        self.plus(match other {
            Self::Finite { negative, digits, scale } => Self::Finite { negative: !negative, digits, scale },
            Self::Infinite { negative } => Self::Infinite { negative: !negative },
            Self::Undefined => Self::Undefined,
        })
    }

    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::Finite { negative, digits, scale },
                Self::Finite { negative: other_negative, digits: other_digits, scale: other_scale },
            ) => {
                let common = scale.max(other_scale);
                let (left, right) = (shifted(digits, common - scale), shifted(other_digits, common - other_scale));
                let (negative, digits) = if negative == other_negative {
                    (negative, sum(&left, &right))
                } else if less(&left, &right) {
                    (other_negative, difference(&right, &left))
                } else {
                    (negative, difference(&left, &right))
                };
                Self::Finite { negative, digits, scale: common }
            }
            (Self::Undefined, _) | (_, Self::Undefined) => Self::Undefined,
            (Self::Infinite { negative }, Self::Infinite { negative: other }) if negative != other => Self::Undefined,
            (Self::Infinite { negative }, _) | (_, Self::Infinite { negative }) => Self::Infinite { negative },
        }
    }

    fn write(self) -> String {
        let (negative, mut digits, scale) = match self {
            Self::Undefined => return "NaN".into(),
            Self::Infinite { negative: true } => return "-Infinity".into(),
            Self::Infinite { negative: false } => return "Infinity".into(),
            Self::Finite { negative, digits, scale } => (negative, digits, scale),
        };
        while digits.len() > scale + 1 && digits.last() == Some(&0) {
            digits.pop();
        }
        while digits.len() < scale + 1 {
            digits.push(0);
        }
        let mut text = String::with_capacity(digits.len() + 2);
        if negative && digits.iter().any(|digit| *digit != 0) {
            text.push('-');
        }
        for (place, digit) in digits.iter().enumerate().rev() {
            text.push(char::from(b'0' + digit));
            if place == scale && scale > 0 {
                text.push('.');
            }
        }
        text
    }
}

fn shifted(mut digits: Vec<u8>, places: usize) -> Vec<u8> {
    digits.splice(0..0, std::iter::repeat_n(0, places));
    digits
}

fn at(digits: &[u8], place: usize) -> u8 {
    digits.get(place).copied().unwrap_or(0)
}

fn sum(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut digits: Vec<u8> = (0..left.len().max(right.len()))
        .map(|place| {
            let digit = at(left, place) + at(right, place) + carry;
            carry = digit / 10;
            digit % 10
        })
        .collect();
    digits.push(carry);
    digits
}

/// `left` is not less than `right`.
fn difference(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    (0..left.len().max(right.len()))
        .map(|place| {
            let taken = at(right, place) + borrow;
            let digit = at(left, place);
            borrow = u8::from(digit < taken);
            digit + 10 * borrow - taken
        })
        .collect()
}

fn less(left: &[u8], right: &[u8]) -> bool {
    (0..left.len().max(right.len()))
        .rev()
        .find_map(|place| {
            let (left, right) = (at(left, place), at(right, place));
            (left != right).then_some(left < right)
        })
        .unwrap_or(false)
}
