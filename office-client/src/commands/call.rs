//! `office-client call URL METHOD [ARG...]`

use protocol::xmlrpc::{DateTime, Value};

use super::{Outcome, password};
use crate::cli::CallArgs;
use crate::error::CommandError;
use crate::link::{Client, LinkSettings, Patience};
use crate::output::{self, Printer};
use crate::settings::Settings;

/// Makes one call, once, and prints the answer as JSON.
pub(crate) async fn run(args: CallArgs, settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let params = args.args.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    let credentials = password::credentials(args.user.as_deref(), args.password_file.as_deref())?;
    let mut client = Client::new(LinkSettings {
        address: args.url.parse()?,
        trust: args.trust.into(),
        credentials,
        silence_max: settings.timeout,
        rate_limit: None,
        temporary_dir: std::env::temp_dir(),
    })?;
    let value = client.call_value(&args.method, &params, Patience::Work).await?;
    let json = output::json_value(&value);
    if printer.is_json() {
        printer.object(&json);
    } else {
        let text = serde_json::to_string_pretty(&json).unwrap_or_else(|_| json.to_string());
        printer.line(&text);
    }
    Ok(Outcome::Done)
}

/// Reads one argument: a type, a colon and the value; without a type it is a string.
fn parse(text: &str) -> Result<Value, CommandError> {
    let wrong = |what: &str| CommandError::usage(format!("argument `{text}` is no {what}"));
    if text == "nil" {
        return Ok(Value::Nil);
    }
    let Some((kind, rest)) = text.split_once(':') else { return Ok(Value::from(text)) };
    Ok(match kind {
        "i" => Value::Int(rest.parse().map_err(|_| wrong("integer of 32 bits; longer ones begin with l:"))?),
        "l" => Value::Long(rest.parse().map_err(|_| wrong("integer of 64 bits"))?),
        "s" => Value::from(rest),
        "d" => {
            Value::Double(rest.parse().ok().filter(|double: &f64| double.is_finite()).ok_or_else(|| wrong("number"))?)
        }
        "bool" => Value::Bool(match rest {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(wrong("boolean; write bool:true or bool:false")),
        }),
        "t" => Value::DateTime(DateTime::parse(rest).ok_or_else(|| wrong("date and time like 2006-01-02T03:04:05Z"))?),
        "b64" => match rest.strip_prefix('@') {
            Some(path) => {
                let read = std::fs::read(path);
                Value::from(read.map_err(|error| CommandError::usage(format!("{path} cannot be read: {error}")))?)
            }
            None => Value::from(rest.as_bytes()),
        },
        // a URL or a sentence with a colon
        _ => Value::from(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_typed_by_their_beginning() {
        assert_eq!(parse("i:5").unwrap(), Value::Int(5));
        assert_eq!(parse("l:1000000000000").unwrap(), Value::Long(1_000_000_000_000));
        assert_eq!(parse("d:1.5").unwrap(), Value::Double(1.5));
        assert_eq!(parse("bool:true").unwrap(), Value::Bool(true));
        assert_eq!(parse("s:i:5").unwrap(), Value::from("i:5"));
        assert_eq!(parse("nil").unwrap(), Value::Nil);
        assert_eq!(parse("b64:abc").unwrap(), Value::from(b"abc".to_vec()));
        assert_eq!(parse("plain").unwrap(), Value::from("plain"));
        assert_eq!(parse("note: x").unwrap(), Value::from("note: x"));
        assert!(matches!(parse("t:2006-01-02T03:04:05Z").unwrap(), Value::DateTime(_)));
        for bad in ["i:x", "i:5000000000", "bool:yes", "d:nan", "t:yesterday", "b64:@/does/not/exist"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
