#![no_main]

#[path = "../../tests/src/fuzz/targets.rs"]
#[allow(dead_code, reason = "each target uses its own part")]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (targets::find("sql").expect("a target").run)(bytes);
});
