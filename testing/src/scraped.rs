//! A scrape, read as strictly as Prometheus's text format (version 0.0.4) is written.

use std::collections::{BTreeMap, BTreeSet};

/// What was scraped.
#[derive(Debug)]
pub struct Scraped {
    /// Families with their types.
    pub families: BTreeMap<String, String>,
    /// Series, such as `tidings_streams{mode="live"}`, with their values.
    series: BTreeMap<String, f64>,
}

impl Scraped {
    /// Reads a text; panics where it is not well-formed.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends");
        let mut scraped = Self { families: BTreeMap::new(), series: BTreeMap::new() };
        let (mut helped, mut family) = (BTreeSet::new(), String::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, about) = help.split_once(' ').expect("a text");
                assert!(helped.insert(name.to_owned()) && !about.is_empty(), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(helped.contains(name), "HELP comes first: {line}");
                let again = scraped.families.insert(name.to_owned(), kind.to_owned());
                assert!(again.is_none(), "a family is in one block: {line}");
                family = name.to_owned();
            } else {
                scraped.sample(&family, line);
            }
        }
        scraped.check_histograms();
        scraped
    }

    fn sample(&mut self, family: &str, line: &str) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let kind = self.families.get(family).expect("TYPE comes first");
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("of another family than {family}: {line}"));
        match kind.as_str() {
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
            _ => assert!(suffix.is_empty(), "{line}"),
        }
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
        let labels = labels.strip_suffix('}').expect("the labels end");
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            let value = value.strip_suffix('"').expect("the value ends");
            assert!(!value.contains(['"', '\\']), "none of ours needs escapes: {line}");
        }
        assert!(self.series.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }

    /// Buckets grow, and the last holds as many as were counted.
    fn check_histograms(&self) {
        for family in self.families.iter().filter(|(_, kind)| *kind == "histogram").map(|(family, _)| family) {
            let counts = self.series.iter().filter(|(series, _)| series.starts_with(&format!("{family}_count")));
            for (series, count) in counts {
                let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
                let of_this = |series: &str| {
                    let (name, rest) = series.split_once('{')?;
                    let (before, le) = rest.trim_end_matches("\"}").rsplit_once("le=\"")?;
                    let is_this = name == format!("{family}_bucket") && before.trim_end_matches(',') == labels;
                    is_this.then(|| le.parse::<f64>().expect("a bound"))
                };
                let mut buckets: Vec<(f64, f64)> =
                    self.series.iter().filter_map(|(series, value)| Some((of_this(series)?, *value))).collect();
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{series}: {buckets:?}");
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{series}");
            }
        }
    }

    /// Whether there is a series of this name.
    pub fn has(&self, series: &str) -> bool {
        self.series.contains_key(series)
    }

    /// The value of a series, which must be there.
    pub fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.series))
    }

    /// How many messages were published, or refused, with a status.
    pub fn published(&self, code: &str) -> f64 {
        self.value(&format!("tidings_publish_total{{code=\"{code}\"}}"))
    }

    /// All series.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// How many series there are.
    #[expect(clippy::len_without_is_empty, reason = "a service without series is a failed test")]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// The sum over all series of a name.
    pub fn sum(&self, name: &str) -> f64 {
        let of_this = |series: &str| series.split('{').next() == Some(name);
        self.series.iter().filter(|(series, _)| of_this(series)).map(|(_, value)| value).sum()
    }
}
