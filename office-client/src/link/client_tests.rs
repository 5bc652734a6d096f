//! The client by itself: what it compresses, what it takes of an answer, and for how long it waits.

use super::*;

#[test]
fn compression_takes_back_what_base64_costs() {
    // a xorshift sequence stands for a gzip payload: nothing in it repeats
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let payload: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(256 * 1024)
    .collect();
    let envelope = || xmlrpc::call_envelope("sql_create", &[Value::Int(7)], &[Value::Int(3)]).unwrap();
    let packed = packed_chunk(&envelope(), &payload).bytes;
    assert!(packed.len() * 1000 < payload.len() * 1005, "{} bytes for {}", packed.len(), payload.len());
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain).unwrap();
    assert!(plain == plain_chunk(envelope(), &payload).bytes);
}

#[test]
fn the_charset_of_a_reply_is_found() {
    assert_eq!(charset_of("text/xml; charset=\"ISO-8859-1\""), Some("ISO-8859-1"));
    assert_eq!(charset_of("text/xml"), None);
}

/// Reads a reply that came as these bytes.
fn read(body: Vec<u8>) -> Result<Value, LinkError> {
    Reply { kept: Kept::Memory(body), gzip: false, charset: None }.read("m", None)
}

fn response(value: &str) -> Vec<u8> {
    format!("<methodResponse><params><param>{value}</param></params></methodResponse>").into_bytes()
}

#[test]
fn boundary_of_reply_elements_max() {
    let max = REPLY_ELEMENTS_MAX;
    for (count, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
        // the array is a value, too
        let values = "<value><nil/></value>".repeat(count - 1);
        let reply = response(&format!("<value><array><data>{values}</data></array></value>"));
        assert_eq!(read(reply).is_ok(), taken, "{count}");
    }
}

#[test]
fn boundary_of_reply_tree_bytes_max() {
    let max = REPLY_TREE_BYTES_MAX as usize;
    for (length, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
        let mut reply = b"<methodResponse><params><param><value><base64>".to_vec();
        let mut encoder = Base64Encoder::new();
        encoder.push(&vec![7; length], &mut reply);
        encoder.finish(&mut reply);
        reply.extend_from_slice(b"</base64></value></param></params></methodResponse>");
        assert_eq!(read(reply).is_ok(), taken, "{length}");
    }
}

#[test]
fn boundary_of_reply_value_bytes_max() {
    let max = REPLY_VALUE_BYTES_MAX as usize;
    let whole = response("<value><int>1</int></value>");
    for (length, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
        let (start, end) = whole.split_at(whole.len() - "</methodResponse>".len());
        // in comments, since spaces in one place are a text, which has a bound of its own
        let (comment, missing) = (format!("<!--{}-->", "c".repeat(993)), length - whole.len());
        let filler = comment.repeat(missing / comment.len()) + &" ".repeat(missing % comment.len());
        let reply = [start, filler.as_bytes(), end].concat();
        assert_eq!(read(reply).is_ok(), taken, "{length}");
        assert_eq!(is_too_long(length as u64, REPLY_VALUE_BYTES_MAX), !taken, "{length}");
    }
}

#[test]
fn boundary_of_reply_bytes_max() {
    for (length, taken) in [(REPLY_BYTES_MAX - 1, true), (REPLY_BYTES_MAX, true), (REPLY_BYTES_MAX + 1, false)] {
        assert_eq!(is_too_long(length, REPLY_BYTES_MAX), !taken);
    }
}

#[tokio::test(start_paused = true)]
async fn boundary_of_reply_head_bytes_max() {
    let counters = Arc::new(Counters::default());
    let enough = 4 * REPLY_HEAD_BYTES_MAX as u64;
    for (bytes, flood) in [(enough - 1, false), (enough, true), (enough + 1, true)] {
        let watched = Arc::clone(&counters);
        let mut flooded = std::pin::pin!(flooded(&watched));
        // it has looked once when the bytes come
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut flooded).await.is_err());
        counters.add_received(bytes);
        let noticed = tokio::time::timeout(Duration::from_secs(10), &mut flooded).await.is_ok();
        assert_eq!(noticed, flood, "{bytes}");
    }
}

async fn gives_up_after(silence_max: Duration) {
    let began = tokio::time::Instant::now();
    silent(&Counters::default(), silence_max).await;
    let elapsed = began.elapsed();
    assert!(elapsed >= silence_max && elapsed <= silence_max + Duration::from_secs(10), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn boundary_of_silence_duration_max() {
    gives_up_after(crate::limits::SILENCE_DURATION_MAX).await;
}

#[tokio::test(start_paused = true)]
async fn boundary_of_work_duration_max() {
    gives_up_after(WORK_DURATION_MAX).await;
}

/// Whoever accepts a connection and then says nothing, as TLS, holds nobody for longer.
#[tokio::test(start_paused = true)]
async fn boundary_of_connect_duration_max() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    let trust = TrustSettings { fingerprint: Some("00".repeat(32)), ..TrustSettings::default() };
    let caller = trust.caller(&address).unwrap();
    let began = tokio::time::Instant::now();
    let Err(error) = dial(&address, caller.as_deref(), &Arc::default()).await else { panic!("nobody answered") };
    assert!(matches!(error, LinkError::Failed { .. }), "{error}");
    let (elapsed, max) = (began.elapsed(), crate::limits::CONNECT_DURATION_MAX);
    assert!(elapsed >= max && elapsed < max + Duration::from_secs(1), "{elapsed:?}");
}
