//! The prose card of CONTRIBUTING.md, counted over the comments of the product's crates.

use super::product;

/// A comment that opens with one of these has no subject.
const NO_SUBJECT: [&str; 39] = [
    "what", "who", "whoever", "whose", "whether", "which", "it", "its", "they", "their", "those", "these",
    "that", "this", "of", "as", "for", "with", "without", "in", "on", "at", "by", "from", "to", "where",
    "when", "how", "why", "he", "his", "and", "or", "but", "so", "also", "else", "then", "not",
];
/// A sentence that opens with one of these asks for a second reading.
const ASKS: [&str; 6] = ["what", "who", "whoever", "whose", "whether", "how"];

/// Counts of what breaks the card.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    comments: usize,
    sentences: usize,
    words: usize,
    without_subject: usize,
    asking: usize,
    colons: usize,
    of_three_words: usize,
    at_once: usize,
    too_wide: usize,
}

impl Counts {
    /// Adds a file's comments.
    fn add(&mut self, text: &str) {
        let mut comment = String::new();
        for line in text.lines().chain([""]) {
            let trimmed = line.trim_start();
            let body = ["///", "//!", "--", "//"].iter().find_map(|mark| trimmed.strip_prefix(mark));
            match body.map(str::trim).filter(|body| !body.is_empty() && !body.starts_with(['`', '#', '|'])) {
                Some(body) => {
                    self.too_wide += usize::from(line.chars().count() > 110);
                    comment = format!("{comment} {body}");
                }
                None if comment.is_empty() => {}
                None => self.close(&std::mem::take(&mut comment)),
            }
        }
    }

    fn close(&mut self, comment: &str) {
        let words: Vec<&str> = comment.split_whitespace().collect();
        let opens_with = |text: &str, list: &[&str]| {
            let first = text.split(|char: char| !char.is_alphanumeric()).find(|word| !word.is_empty());
            first.is_some_and(|word| list.contains(&word.to_lowercase().as_str()))
        };
        self.comments += 1;
        self.words += words.len();
        self.of_three_words += usize::from(words.len() <= 3);
        self.without_subject += usize::from(opens_with(comment, &NO_SUBJECT));
        for sentence in comment.split(['.', '!', '?']).filter(|sentence| sentence.starts_with(' ')) {
            self.sentences += 1;
            self.asking += usize::from(opens_with(sentence, &ASKS));
        }
        let pairs = words.windows(2);
        self.colons += pairs.filter(|pair| is_conjunction(pair[0], pair[1])).count();
        self.at_once += comment.matches("at once").count();
    }

    fn per_cent(part: usize, whole: usize) -> f64 {
        100.0 * part as f64 / whole.max(1) as f64
    }
}

/// A colon between a word and a word in lower case stands for "because", "so" or "that is".
fn is_conjunction(before: &str, after: &str) -> bool {
    before.ends_with(':')
        && before.trim_end_matches(':').ends_with(|char: char| char.is_alphanumeric() || char == '_')
        && after.starts_with(|char: char| char.is_ascii_lowercase())
}

#[test]
fn comments_keep_to_the_card() {
    let mut counts = Counts::default();
    for file in product(&[".rs", ".sql"]) {
        counts.add(&std::fs::read_to_string(file).unwrap());
    }
    let measured = [
        ("comments without a subject, %", Counts::per_cent(counts.without_subject, counts.comments), 0.8),
        ("sentences that ask, %", Counts::per_cent(counts.asking, counts.sentences), 0.0),
        (
            "colons for a conjunction, per 1,000 words",
            1_000.0 * counts.colons as f64 / counts.words as f64,
            1.1,
        ),
        ("comments of at most 3 words, %", Counts::per_cent(counts.of_three_words, counts.comments), 0.3),
        ("\"at once\"", counts.at_once as f64, 0.0),
        ("lines beyond 110 columns", counts.too_wide as f64, 0.0),
    ];
    let over: Vec<String> = measured
        .iter()
        .filter(|(_, found, budget)| found > budget)
        .map(|(what, found, budget)| format!("{what}: {found:.1}, and the budget is {budget}"))
        .collect();
    assert!(over.is_empty(), "{}\n{counts:?}", over.join("\n"));
}

#[test]
fn what_breaks_the_card_is_counted() {
    let mut counts = Counts::default();
    counts.add("/// What it is: a thing. How odd.\nfn x() {}\n// Its id.\n");
    let expected = Counts {
        comments: 2,
        sentences: 3,
        words: 9,
        without_subject: 2,
        asking: 2,
        colons: 1,
        of_three_words: 1,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    counts.add(&format!("-- Both run at once {}\n", "x".repeat(100)));
    assert_eq!((counts.at_once, counts.too_wide), (1, 1));
}
