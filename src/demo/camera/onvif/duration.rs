//! Spans of time as XML writes them (XML Schema part 2, xs:duration), within what ONVIF uses.

use std::time::Duration;

/// Longest that is understood: nobody waits longer for a camera, and sums with it never overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads `PT1M30.5S` and the like. `None` for what is none, is negative or has years or months, whose length is not fixed.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let seconds = part(days, &[('D', 86_400.0)])? + part(time, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)])?;
    Duration::try_from_secs_f64(seconds.min(LONGEST.as_secs_f64())).ok()
}

/// Sums up numbers with units, which stand in this order, each once at most.
fn part(mut text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut sum = 0.0;
    for (unit, seconds) in units {
        let Some((number, rest)) = text.split_once(*unit) else { continue };
        let plain = !number.is_empty() && number.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
        sum += plain.then(|| number.parse::<f64>().ok()).flatten()? * seconds;
        text = rest;
    }
    text.is_empty().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_hours_minutes_and_seconds_are_read() {
        for (text, seconds) in [
            ("PT60S", 60.0),
            ("PT1M", 60.0),
            ("PT0S", 0.0),
            ("P1DT2H3M4.5S", 93_784.5),
            ("P1D", 86_400.0),
            ("PT99999999999999999999H", LONGEST.as_secs_f64()),
        ] {
            assert_eq!(parse(text).map(|span| span.as_secs_f64()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "P", "PT", "60", "PT60", "-PT60S", "P1Y", "P1M", "PTS", "PT1S1M", "PT1.1.1S", "PTxS", "PT-1S"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
