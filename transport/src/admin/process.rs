//! What the system knows of the process, by the names that Prometheus's own libraries give it. It is read from Linux's
//! `/proc` when it is asked for, which takes well under a millisecond; other systems have none of these metrics.

#[cfg(target_os = "linux")]
pub(super) use linux::{FAMILIES, measure};

/// None of them.
#[cfg(not(target_os = "linux"))]
pub(super) const FAMILIES: &[tidings::metrics::Family] = &[];

#[cfg(not(target_os = "linux"))]
pub(super) fn measure() {}

#[cfg(target_os = "linux")]
mod linux {
    use ::metrics::{counter, gauge};
    use procfs::{
        ProcResult, WithCurrentSystemInfo as _, boot_time_secs,
        process::{LimitValue, Process},
        ticks_per_second,
    };

    use tidings::metrics::{Family, Kind};

    const CPU_SECONDS: &str = "process_cpu_seconds_total";
    const START_TIME: &str = "process_start_time_seconds";
    const THREADS: &str = "process_threads";
    const RESIDENT: &str = "process_resident_memory_bytes";
    const VIRTUAL: &str = "process_virtual_memory_bytes";
    const OPEN_FDS: &str = "process_open_fds";
    const MAX_FDS: &str = "process_max_fds";

    /// All of them.
    pub(crate) const FAMILIES: &[Family] = &[
        (CPU_SECONDS, Kind::Counter, "Processor time used by the process and for it, in whole seconds."),
        (START_TIME, Kind::Gauge, "When the process was started, in seconds since 1970."),
        (THREADS, Kind::Gauge, "Threads of the process."),
        (RESIDENT, Kind::Gauge, "Memory that the process takes up, in bytes."),
        (VIRTUAL, Kind::Gauge, "Addresses that the process has reserved, in bytes."),
        (OPEN_FDS, Kind::Gauge, "Open file descriptors: files and connections."),
        (MAX_FDS, Kind::Gauge, "File descriptors that the process may have."),
    ];

    /// Measures. What can't be read, as where `/proc` is not mounted, stays as it was.
    pub(crate) fn measure() {
        if let Err(error) = Process::myself().and_then(|process| read(&process)) {
            tracing::debug!(%error, "the process can't be measured");
        }
    }

    fn read(process: &Process) -> ProcResult<()> {
        let (stat, per_second) = (process.stat()?, ticks_per_second());
        counter!(CPU_SECONDS).absolute((stat.utime + stat.stime) / per_second);
        gauge!(THREADS).set(stat.num_threads as f64);
        gauge!(RESIDENT).set(stat.rss_bytes().get() as f64);
        gauge!(VIRTUAL).set(stat.vsize as f64);
        gauge!(START_TIME).set(boot_time_secs()? as f64 + stat.starttime as f64 / per_second as f64);
        gauge!(OPEN_FDS).set(process.fd_count()? as f64);
        gauge!(MAX_FDS).set(match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(limit) => limit as f64,
            LimitValue::Unlimited => f64::INFINITY,
        });
        Ok(())
    }
}
