//! A number of bytes as people write it.

use serde::Deserialize;

/// `"512MiB"`, `"2GiB"`; empty is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ByteSize(pub u64);

impl TryFrom<String> for ByteSize {
    type Error = &'static str;

    fn try_from(text: String) -> Result<ByteSize, &'static str> {
        if text.is_empty() || text == "0" {
            return Ok(ByteSize(0));
        }
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1_u64 << 30)];
        let read = |(unit, bytes): &(&str, u64)| {
            text.strip_suffix(unit)?.trim_end().parse::<u32>().ok().map(|number| ByteSize(u64::from(number) * bytes))
        };
        units.iter().find_map(read).ok_or("expected a size as \"512MiB\" or \"2GiB\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit() {
        let size = |text: &str| ByteSize::try_from(text.to_owned()).ok().map(|size| size.0);
        for (text, bytes) in [("", 0), ("0", 0), ("64KiB", 65_536), ("512MiB", 536_870_912), ("2 GiB", 2_147_483_648)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["2", "2GB", "GiB", "-1GiB", "1.5GiB", "2gib", "4294967296GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
