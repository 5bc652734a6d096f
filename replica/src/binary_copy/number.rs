//! Integers, floating point, `numeric`.

use std::str::FromStr;

use super::{Unfit, put};

/// Most characters of a `numeric` that is converted here: its binary format counts digits and scale in 16 bits.
const NUMERIC_CHARS_MAX: usize = 1000;

/// Decimals in a digit of the server's.
const DECIMALS: usize = 4;

/// What a digit with so many decimals less is multiplied by.
const TENS: [i16; DECIMALS] = [1, 10, 100, 1000];

/// Sign of a negative `numeric`.
const NEGATIVE: i16 = 0x4000;

/// An integer as it is printed: digits, perhaps behind a minus.
pub(super) fn integer(text: &[u8]) -> Result<i64, Unfit> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(Unfit);
    }
    let mut value: i64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Unfit);
        }
        let digit = i64::from(digit - b'0');
        // downwards: there is one more negative number
        value = value.checked_mul(10).and_then(|value| value.checked_sub(digit)).ok_or(Unfit)?;
    }
    if negative { Ok(value) } else { value.checked_neg().ok_or(Unfit) }
}

/// A floating point number; both ends round to the nearest.
pub(super) fn float<F: FromStr + Into<f64> + Copy>(text: &[u8]) -> Result<F, Unfit> {
    let plain = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e');
    if !text.iter().all(plain) || text.first() == Some(&b'+') {
        return Err(Unfit);
    }
    let number: F = std::str::from_utf8(text).map_err(|_| Unfit)?.parse().map_err(|_| Unfit)?;
    let value: f64 = number.into();
    // what does not fit the type is an error of the server's
    let zero = !text.split(|byte| *byte == b'e').next().unwrap_or(text).iter().any(|byte| matches!(byte, b'1'..=b'9'));
    if value.is_finite() && (value != 0.0 || zero) { Ok(number) } else { Err(Unfit) }
}

/// Digits of four decimals each, from the point outwards; none at either end is zero.
pub(super) fn numeric(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(point) if point + 1 == digits.len() => return Err(Unfit),
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &[] as &[u8]),
    };
    let mut decimals = whole.iter().chain(fraction);
    if whole.is_empty() || text.len() > NUMERIC_CHARS_MAX || !decimals.all(u8::is_ascii_digit) {
        return Err(Unfit);
    }
    let head = out.len();
    put(out, [0; 8]);
    let mut weight = i16::try_from(whole.len().div_ceil(DECIMALS)).map_err(|_| Unfit)? - 1;
    let (short, groups) = whole.split_at(whole.len() % DECIMALS);
    let short = (!short.is_empty()).then_some(short);
    let before = short.into_iter().chain(groups.chunks(DECIMALS)).map(value);
    let behind = fraction.chunks(DECIMALS).map(|group| value(group) * TENS[DECIMALS - group.len()]);
    let mut end = out.len();
    for digit in before.chain(behind) {
        if digit == 0 && out.len() == head + 8 {
            weight -= 1;
            continue;
        }
        put(out, digit.to_be_bytes());
        if digit != 0 {
            end = out.len();
        }
    }
    out.truncate(end);
    let count = i16::try_from((end - head - 8) / 2).map_err(|_| Unfit)?;
    let (weight, sign) = if count == 0 { (0, 0) } else { (weight, if negative { NEGATIVE } else { 0 }) };
    let scale = i16::try_from(fraction.len()).map_err(|_| Unfit)?;
    for (place, field) in [count, weight, sign, scale].into_iter().enumerate() {
        out[head + 2 * place..head + 2 * place + 2].copy_from_slice(&field.to_be_bytes());
    }
    Ok(())
}

fn value(decimals: &[u8]) -> i16 {
    decimals.iter().fold(0, |value, decimal| value * 10 + i16::from(decimal - b'0'))
}
