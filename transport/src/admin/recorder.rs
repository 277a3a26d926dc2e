//! What keeps the numbers, and writes them as Prometheus reads them. Without it nothing is counted.

use std::time::Duration;

use ::metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tidings::metrics::{self, BUILD_INFO, FAMILIES, Kind, PROBE_AGE, Part};

use super::process;

/// Something else in the process keeps the numbers already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("metrics are counted by something else in this process already")]
pub struct AlreadyInstalled;

/// Begins to count, for the whole process: for a `main.rs` only, before it starts anything that counts. The series of
/// the process's parts exist from now on.
pub fn install(parts: &[Part]) -> Result<Scrape, AlreadyInstalled> {
    let mut builder = PrometheusBuilder::new();
    for (name, kind, _) in FAMILIES {
        if let Kind::Histogram(buckets) = kind {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
                .expect("it is refused only where there are no buckets");
        }
    }
    let recorder = builder.build_recorder();
    let scrape = Scrape(recorder.handle());
    ::metrics::set_global_recorder(recorder).map_err(|_| AlreadyInstalled)?;
    for (name, kind, about) in FAMILIES.into_iter().chain(process::FAMILIES.iter().copied()) {
        match kind {
            Kind::Counter => describe_counter!(name, about),
            Kind::Gauge => describe_gauge!(name, about),
            Kind::Histogram(_) => describe_histogram!(name, about),
        }
    }
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::begin(parts);
    Ok(scrape)
}

/// What has been counted.
#[derive(Debug, Clone)]
pub struct Scrape(PrometheusHandle);

impl Scrape {
    /// Where nothing was installed.
    #[cfg(test)]
    pub(super) fn of_nothing() -> Self {
        Self(PrometheusBuilder::new().build_recorder().handle())
    }

    /// All of it, in Prometheus's text format. `probe_age` is how long ago a probe came back.
    pub fn text(&self, probe_age: Duration) -> String {
        // Values that change by themselves are read when they are asked for.
        gauge!(PROBE_AGE).set(probe_age);
        process::measure();
        self.0.render()
    }

    /// Sorts what was measured into its buckets. Until then each measurement takes space of its own, so this is to be
    /// called about once a second.
    pub fn tidy(&self) {
        self.0.run_upkeep();
    }
}
