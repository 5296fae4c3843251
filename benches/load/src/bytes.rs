//! Where the bytes of an idle client are: what the server says of its memory before and after they came.

use std::collections::BTreeMap;

use crate::server::Server;

/// Allocations that this part of the clients has, at least, are listed; what is rarer is shared or grows in steps.
const OFTEN: f64 = 0.05;

/// Of `/metrics`: bytes by part, allocations by size.
pub(crate) struct Bytes {
    parts: BTreeMap<String, f64>,
    allocations: BTreeMap<u64, f64>,
}

impl Bytes {
    pub(crate) fn of(server: &Server) -> Bytes {
        let (mut parts, mut allocations) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in server.figures() {
            let label = |metric: &str| Some(name.strip_prefix(metric)?.strip_suffix("\"}")?.to_owned());
            if let Some(part) = label("rollcall_memory_bytes{part=\"") {
                parts.insert(part, value);
            } else if let Some(size) = label("rollcall_allocations{bytes=\"") {
                allocations.insert(size.parse().unwrap_or_default(), value);
            }
        }
        Bytes { parts, allocations }
    }

    /// For each of so many clients that came since: the parts, which add up to what is resident, and the allocations.
    pub(crate) fn since(&self, before: &Bytes, clients: f64) -> Vec<String> {
        let change = |part: &String| (self.parts[part] - before.parts.get(part).copied().unwrap_or(0.0)) / clients;
        let parts: Vec<_> = self.parts.keys().map(|part| format!("{part} {:.0}", change(part))).collect();
        let total: f64 = self.parts.keys().map(change).sum();
        let (mut often, mut rest) = (Vec::new(), 0.0);
        for (size, count) in &self.allocations {
            let each = (count - before.allocations.get(size).copied().unwrap_or(0.0)) / clients;
            if each >= OFTEN && *size < 16_384 {
                often.push(format!("{each:.2} × {size}"));
            } else {
                rest += each * *size as f64;
            }
        }
        vec![
            format!("bytes of an idle client: {total:.0} = {}", parts.join(" + ")),
            format!("its allocations: {}, and {rest:.0} bytes of tables and of what is shared", often.join(", ")),
        ]
    }
}
