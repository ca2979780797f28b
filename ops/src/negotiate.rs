//! Choice of a representation by the `Accept` header (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header::ACCEPT};

/// A media type on offer. Of its parameters only the version takes part in the choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    /// Type and subtype, in lower case.
    pub(crate) media: &'static str,
    /// Version that a range with a version must name.
    pub(crate) version: Option<&'static str>,
}

/// Gives the index of the offer that the client likes best; the earlier one of two that it likes the same.
///
/// Where it likes none, or does not say, that is the first: an answer that can be read by eye is worth more than 406.
pub(crate) fn choose(headers: &HeaderMap, offers: &[Offer]) -> usize {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<Range<'_>> = accept.iter().flat_map(|value| value.split(',')).map(Range::parse).collect();
    let mut best = (0, 0);
    for (index, offer) in offers.iter().enumerate() {
        let quality = quality(&ranges, offer);
        if quality > best.1 {
            best = (index, quality);
        }
    }
    best.0
}

/// Quality of an offer in thousandths: that of the most specific range that covers it.
fn quality(ranges: &[Range<'_>], offer: &Offer) -> u16 {
    let covering = ranges.iter().filter_map(|range| Some((range.specificity(offer)?, range.quality)));
    covering.max_by_key(|(specificity, _)| *specificity).map_or(0, |(_, quality)| quality)
}

#[derive(Debug)]
struct Range<'a> {
    media: &'a str,
    version: Option<&'a str>,
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(range: &'a str) -> Self {
        let mut parts = range.split(';').map(str::trim);
        let mut parsed = Self { media: parts.next().unwrap_or_default(), version: None, quality: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => parsed.version = Some(value),
                "q" => parsed.quality = thousandths(value),
                _ => {}
            }
        }
        parsed
    }

    /// How closely this range names the offer, if it covers it.
    fn specificity(&self, offer: &Offer) -> Option<u8> {
        let (kind, _) = offer.media.split_once('/')?;
        let exact = self.media.eq_ignore_ascii_case(offer.media);
        match self.version {
            Some(_) if exact && self.version == offer.version => Some(3),
            Some(_) => None,
            None if exact => Some(2),
            None if self.media.strip_suffix("/*").is_some_and(|of| of.eq_ignore_ascii_case(kind)) => Some(1),
            None if self.media == "*/*" => Some(0),
            None => None,
        }
    }
}

/// Reads a quality between 0 and 1; one that is neither counts as a refusal.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
fn thousandths(quality: &str) -> u16 {
    let quality: f32 = quality.parse().unwrap_or(0.0);
    if (0.0..=1.0).contains(&quality) { (quality * 1000.0).round() as u16 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[Offer] =
        &[Offer { media: "application/json", version: None }, Offer { media: "text/html", version: None }];
    const METRICS: &[Offer] = &[
        Offer { media: "text/plain", version: Some("0.0.4") },
        Offer { media: "application/openmetrics-text", version: Some("1.0.0") },
    ];

    fn chosen(offers: &[Offer], accept: &str) -> &'static str {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        offers[choose(&headers, offers)].media
    }

    #[test]
    fn the_default_serves_who_does_not_say() {
        assert_eq!(choose(&HeaderMap::new(), STATUS), 0);
        for accept in ["*/*", "", "image/png", ";;;,,,=", "text/html;q=0", "text/html;q=7", "text/html;q=NaN"]
        {
            assert_eq!(chosen(STATUS, accept), "application/json", "{accept}");
        }
    }

    #[test]
    fn a_browser_gets_a_page() {
        for accept in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "TEXT/HTML",
            "application/json;q=0.5, text/html;q=0.6",
            "text/*",
        ] {
            assert_eq!(chosen(STATUS, accept), "text/html", "{accept}");
        }
        assert_eq!(chosen(STATUS, "application/json, text/html;q=0.9"), "application/json");
    }

    #[test]
    fn prometheus_gets_the_version_it_asks_for() {
        for (accept, media) in [
            // Prometheus 2.42, then 3.x.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                "application/openmetrics-text",
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,/;q=0.1",
                "application/openmetrics-text",
            ),
            ("application/openmetrics-text", "application/openmetrics-text"),
            ("application/openmetrics-text;version=0.0.1", "text/plain"),
            ("application/openmetrics-text;version=\"1.0.0\"", "application/openmetrics-text"),
            ("text/plain;version=0.0.4,application/openmetrics-text;q=0.9", "text/plain"),
            ("text/plain", "text/plain"),
        ] {
            assert_eq!(chosen(METRICS, accept), media, "{accept}");
        }
    }
}
