//! The two text formats that metrics are served in.

use std::fmt;

use prometheus_client::{encoding::text, registry::Registry};

/// A text format for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// Formats on offer, the default first.
    pub(crate) const OFFERED: [Self; 2] = [Self::Prometheus, Self::OpenMetrics];

    /// Media type, as the `Content-Type` header carries it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

pub(super) fn encode(registry: &Registry, format: Exposition) -> Result<String, fmt::Error> {
    let mut body = String::new();
    text::encode(&mut body, registry)?;
    Ok(match format {
        Exposition::OpenMetrics => body,
        Exposition::Prometheus => downgrade(&body),
    })
}

/// Rewrites OpenMetrics text as Prometheus text.
///
/// Samples are the same in both. The headers differ: the older format names the sample where OpenMetrics names
/// the family (`x_total`, `x_info`), and knows neither `info`, `UNIT` nor `EOF`.
/// Source: the OpenMetrics specification, and Prometheus' "Exposition formats".
fn downgrade(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                same => ("", same),
            };
            text.push_str(&format!("# HELP {family}{suffix} {help}\n# TYPE {family}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::downgrade;

    #[test]
    fn headers_name_the_samples_in_prometheus_text() {
        let openmetrics = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                           a_seconds_sum 1.0\n# HELP b Things.\n# TYPE b counter\nb_total{k=\"# TYPE\"} 2\n\
                           # HELP c Build.\n# TYPE c info\nc_info{version=\"1\"} 1\n# EOF\n";
        let prometheus = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\na_seconds_sum 1.0\n\
                          # HELP b_total Things.\n# TYPE b_total counter\nb_total{k=\"# TYPE\"} 2\n\
                          # HELP c_info Build.\n# TYPE c_info gauge\nc_info{version=\"1\"} 1\n";
        assert_eq!(downgrade(openmetrics), prometheus);
    }
}
