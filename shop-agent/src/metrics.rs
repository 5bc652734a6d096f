//! Figures for Prometheus. They are read when they are asked for; only calls are counted as they happen.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::backend::Backend;
use crate::health::Health;
use crate::server::monitor::Watched;

type Labels = Vec<(&'static str, String)>;

/// How often each method was called, how often it failed, and how long it took in all.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    of: Mutex<BTreeMap<&'static str, Tally>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    done: u64,
    failed: u64,
    seconds: f64,
}

impl Calls {
    /// Counts one.
    pub(crate) fn count(&self, method: &'static str, is_done: bool, elapsed: Duration) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = of.entry(method).or_default();
        if is_done {
            tally.done += 1;
        } else {
            tally.failed += 1;
        }
        tally.seconds += elapsed.as_secs_f64();
    }

    fn tallies(&self) -> BTreeMap<&'static str, Tally> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<B: Backend> Watched for Health<B> {
    fn alive(&self) -> Result<(), String> {
        Self::alive(self)
    }

    async fn ready(&self) -> Result<(), String> {
        Self::ready(self).await
    }

    async fn metrics(&self) -> String {
        let mut page = Page::default();
        let agent = self.agent();
        page.set(
            "shop_agent_info",
            "Version, branch and policy",
            [(
                vec![
                    ("version", env!("CARGO_PKG_VERSION").to_owned()),
                    ("branch", agent.branch().to_owned()),
                    ("policy", agent.policy().to_owned()),
                ],
                1.0,
            )],
        );
        page.one("shop_agent_alive", "1 when the process is well", flag(self.alive().is_ok()));
        if let Some(bytes) = self.disk_free_bytes() {
            page.one("shop_agent_disk_free_bytes", "Room left where sessions and frozen diffs are kept", bytes as f64);
        }
        let vitals = agent.backend().vitals().await;
        page.one("shop_agent_ready", "1 when a call of the office would be carried out", flag(vitals.is_ok()));
        if let Ok(vitals) = vitals {
            page.one("shop_agent_change_log_bytes", "Size of the change logs", vitals.change_log_bytes as f64);
            page.one("shop_agent_database_bytes", "Size of the database", vitals.database_bytes as f64);
            page.one("shop_agent_quarantined_rows", "Rows of the office that wait", vitals.quarantined_rows as f64);
            page.one(
                "shop_agent_capture_gaps",
                "Tables of which changes may have been missed, until an office has compared them",
                vitals.capture_gaps.len() as f64,
            );
            let of = |office: &str| vec![("office", office.to_owned())];
            let asked = vitals.offices.iter().filter_map(|seen| Some((of(&seen.office), epoch(seen.asked_at?))));
            page.set("shop_agent_office_contact_seconds", "When an office last asked for changes", asked);
            let acknowledged =
                vitals.offices.iter().filter_map(|seen| Some((of(&seen.office), epoch(seen.acknowledged_up_to?))));
            page.set("shop_agent_office_acknowledged_seconds", "Up to when changes are acknowledged", acknowledged);
        }
        if let Ok(sessions) = agent.sessions().list().await {
            page.one("shop_agent_sessions_open", "Sessions that take chunks", sessions.len() as f64);
            let bytes: i64 = sessions.iter().map(|session| session.bytes).sum();
            page.one("shop_agent_sessions_bytes", "Bytes received in open sessions", bytes as f64);
        }
        page.calls(agent.calls());
        page.text()
    }
}

/// One answer to a scraper.
#[derive(Default)]
struct Page {
    registry: Registry,
}

impl Page {
    fn one(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        self.registry.register(name, help, gauge);
    }

    fn set(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        self.registry.register(name, help, family);
    }

    fn calls(&mut self, calls: &Calls) {
        let counted = Family::<Labels, Counter>::default();
        let seconds = Family::<Labels, Counter<f64, AtomicU64>>::default();
        for (method, tally) in calls.tallies() {
            let label = |result: &str| vec![("method", method.to_owned()), ("result", result.to_owned())];
            counted.get_or_create(&label("done")).inc_by(tally.done);
            counted.get_or_create(&label("fault")).inc_by(tally.failed);
            seconds.get_or_create(&vec![("method", method.to_owned())]).inc_by(tally.seconds);
        }
        self.registry.register("shop_agent_calls", "Calls by method and result", counted);
        self.registry.register("shop_agent_call_seconds", "Time spent in calls", seconds);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // writing to a string cannot fail
        let _ = encode_registry(&mut text, &self.registry);
        text
    }
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

fn epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_result() {
        let calls = Calls::default();
        calls.count("diff", true, Duration::from_millis(1500));
        calls.count("diff", false, Duration::from_millis(500));
        let mut page = Page::default();
        page.calls(&calls);
        let text = page.text();
        assert!(text.contains(r#"shop_agent_calls_total{method="diff",result="done"} 1"#), "{text}");
        assert!(text.contains(r#"shop_agent_calls_total{method="diff",result="fault"} 1"#), "{text}");
        assert!(text.contains(r#"shop_agent_call_seconds_total{method="diff"} 2.0"#), "{text}");
    }
}
