//! Where the memory is, as the allocator and the kernel count it. Nothing is estimated: the parts add up to what is resident.

/// Bytes by part.
pub(super) struct Memory {
    /// They add up to the resident memory of the process.
    pub(super) parts: Vec<(&'static str, u64)>,
    /// Live allocations by the size the allocator rounds them up to, in bytes.
    pub(super) allocations: Vec<(u64, u64)>,
}

/// As of now; `None` without jemalloc.
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
pub(super) fn memory() -> Option<Memory> {
    use tikv_jemalloc_ctl::{epoch, stats};

    // The figures are those of the last advance.
    epoch::advance().ok()?;
    let bytes = |read: Result<usize, tikv_jemalloc_ctl::Error>| read.ok().map(|bytes| bytes as u64);
    let (allocated, active) = (bytes(stats::allocated::read())?, bytes(stats::active::read())?);
    let (metadata, resident) = (bytes(stats::metadata::read())?, bytes(stats::resident::read())?);
    // Of the allocator's own tables it knows only how much is reserved, so they count among the rest.
    let unused = resident.saturating_sub(active + metadata);
    let parts = vec![
        ("allocated", allocated),
        // Free places between allocations.
        ("gaps", active.saturating_sub(allocated)),
        // Free pages that the allocator has not given back yet.
        ("unused", unused),
        // The program itself, stacks, mapped files, the allocator's tables.
        ("other", resident_of_process().saturating_sub(active + unused)),
    ];
    Some(Memory { parts, allocations: allocations().unwrap_or_default() })
}

/// As of now; `None` without jemalloc.
#[cfg(not(all(feature = "jemalloc", target_os = "linux")))]
pub(super) fn memory() -> Option<Memory> {
    None
}

/// `VmRSS`, in bytes.
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
fn resident_of_process() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// The only way to these figures is jemalloc's report as JSON.
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
fn allocations() -> Option<Vec<(u64, u64)>> {
    use serde_json::Value;
    use tikv_jemalloc_ctl::stats_print::{Options, stats_print};

    let mut options = Options::default();
    (options.json_format, options.skip_per_arena, options.skip_mutex_statistics) = (true, true, true);
    let mut report = Vec::new();
    stats_print(&mut report, options).ok()?;
    let report: Value = serde_json::from_slice(&report).ok()?;
    let (sizes, counts) = (&report["jemalloc"]["arenas"], &report["jemalloc"]["stats.arenas"]["merged"]);
    let live = |kinds: &str, figures: &str, count: &str| {
        let (kinds, figures) = (sizes[kinds].as_array()?, counts[figures].as_array()?);
        let pairs =
            kinds.iter().zip(figures).map(|(kind, figure)| Some((kind["size"].as_u64()?, figure[count].as_u64()?)));
        pairs.collect::<Option<Vec<_>>>()
    };
    let mut all = live("bin", "bins", "curregs")?;
    all.extend(live("lextent", "lextents", "curlextents")?);
    all.retain(|(_, count)| *count > 0);
    Some(all)
}
