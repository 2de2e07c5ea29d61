//! The words the matcher knows: medical concepts with their synonyms, and function words with their roles.
//!
//! Both tables are data files compiled in; `synonyms.toml` is versioned and names the source of each group.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::normalise::normalise;
use super::words::{raw_words, word_key};

const SYNONYMS: &str = include_str!("../../data/synonyms.toml");
const FUNCTION_WORDS: &str = include_str!("../../data/function_words.toml");

/// Index of a concept in [`Lexicon::concepts`].
pub type ConceptId = u16;

/// What a token does in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Role {
    /// A word that carries meaning: a concept of the table or a word outside it.
    Content,
    /// A number, in digits or in words.
    Number,
    /// The answer "yes".
    Yes,
    /// The answer "no"; a negation where a phrase follows directly.
    No,
    /// Negates what follows: "not", "without", "未见".
    Negation,
    /// Negates what precedes: "absent", "ruled out".
    NegationBack,
    /// States presence and nothing else: "present", "seen", "存在".
    Affirm,
    /// Leaves the answer open: "possibly", "might".
    Hedge,
    /// Declines to answer: "cannot determine", "I'm sorry".
    Refusal,
    /// "Determine", "conclude": declines to answer where it is denied or called difficult.
    Epistemic,
    /// "Difficult", "impossible".
    Difficult,
    /// "If", "whether": opens what is not claimed.
    Condition,
    /// Joins alternatives.
    Or,
    /// Joins items.
    And,
    /// Opens the other side of a comparison: "than", "compared to".
    Than,
    /// Opens what is not meant: "rather than", "instead of".
    Instead,
    /// Opens a contrasting clause: "but", "however".
    Contrast,
    /// Opens a clause that only explains: "because".
    Relative,
    /// A verb without medical meaning; makes a segment a clause.
    Verb,
    /// "The", "this", "it": may follow an answering "no" directly.
    Determiner,
    /// "In", "of", "at".
    Preposition,
    /// "Which", "where": opens a clause that only explains where a comma stands before it.
    Pronoun,
    /// Opens a closer description of what was just said: "specifically".
    Detail,
    /// Opens a list: "such as", "including".
    List,
    /// "Near", "adjacent to": opens a landmark.
    Near,
    /// "Certainly", "of course": a yes where nothing else is said.
    Assent,
    /// "Correction", "wait": takes back what was said before.
    Retract,
    /// "At first glance", "I thought": opens what is not claimed in the end.
    Concede,
    /// "Therefore", "the answer": opens the conclusion.
    Conclude,
    /// Any other word that carries no answer.
    Filler,
}

/// What kind of thing a concept is; values of an exclusive kind contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Category {
    /// A word outside the table.
    Unknown,
    /// Imaging plane or projection.
    Plane,
    /// Imaging modality.
    Modality,
    /// MR weighting or sequence.
    Sequence,
    /// Left, right, both.
    Side,
    /// Upper, lower, anterior and so on.
    Direction,
    /// Organ, structure or region.
    Organ,
    /// Disease or finding.
    Finding,
    /// Normal or abnormal.
    Normality,
    /// Colour or grey level.
    Color,
    /// Any other described property.
    Attribute,
    /// Everything else with synonyms.
    Other,
    /// A vertebra or another numbered level: "L4", "Th12".
    Level,
    /// A value on a named scale: "stage II", "grade 3".
    Scale,
}

/// One group of synonyms.
#[derive(Debug)]
pub struct Concept {
    /// Stable name, such as `organ.lung`.
    pub id: String,
    /// Kind of thing.
    pub category: Category,
    /// The spellings, as the file gives them.
    pub terms: Vec<String>,
    /// Where the group comes from.
    pub source: String,
    /// Concepts that a reader may also name without contradicting this one, and that this one entails.
    pub broader: Vec<ConceptId>,
    /// Concepts that spell this one out when named together ("heart", "enlarged"); broader as well.
    pub parts: Vec<ConceptId>,
    /// Concepts that contradict this one.
    pub opposites: Vec<ConceptId>,
}

/// What a spelling stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// One or several concepts ("CXR" is chest and X-ray).
    Concepts(Means),
    /// A function word.
    Function(Role),
    /// A number word.
    Number(f64),
    /// An ordinal word.
    Ordinal(u32),
}

/// The concepts that a spelling names: one to [`MOST_MEANS`], held in place, as most words are looked up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Means {
    count: u8,
    concepts: [ConceptId; MOST_MEANS],
}

/// Concepts that one spelling names at most.
const MOST_MEANS: usize = 5;

impl Means {
    fn new(named: &[ConceptId]) -> Result<Self, String> {
        if named.is_empty() || named.len() > MOST_MEANS {
            return Err(format!(
                "a term means {} concepts, not 1 to {MOST_MEANS}",
                named.len()
            ));
        }
        let mut concepts = [0; MOST_MEANS];
        concepts[..named.len()].copy_from_slice(named);
        Ok(Self {
            count: named.len() as u8,
            concepts,
        })
    }
}

impl std::ops::Deref for Means {
    type Target = [ConceptId];

    fn deref(&self) -> &[ConceptId] {
        &self.concepts[..usize::from(self.count)]
    }
}

/// Both tables, ready to look up.
#[derive(Debug)]
pub struct Lexicon {
    /// Version of `synonyms.toml`.
    pub version: String,
    /// All groups of synonyms.
    pub concepts: Vec<Concept>,
    /// Kind of each concept, close together.
    pub categories: Vec<Category>,
    by_id: FxHashMap<String, ConceptId>,
    edges: FxHashMap<(u32, u64), u32>,
    /// Keys of "the", "a" and "an".
    articles: [u64; 3],
    entries: Vec<Option<Entry>>,
    /// Whether a longer term begins with what leads to the node.
    goes_on: Vec<bool>,
}

#[derive(Deserialize)]
struct SynonymFile {
    version: String,
    groups: Vec<GroupRow>,
    expansions: Vec<ExpansionRow>,
}

#[derive(Deserialize)]
struct GroupRow {
    id: String,
    terms: Vec<String>,
    source: String,
    #[serde(default)]
    broader: Vec<String>,
    #[serde(default)]
    parts: Vec<String>,
    #[serde(default)]
    opposite: Vec<String>,
}

#[derive(Deserialize)]
struct ExpansionRow {
    terms: Vec<String>,
    means: Vec<String>,
}

#[derive(Deserialize)]
struct FunctionFile {
    roles: Vec<RoleRow>,
    numbers: Vec<NumberRow>,
}

#[derive(Deserialize)]
struct RoleRow {
    role: Role,
    terms: Vec<String>,
}

#[derive(Deserialize)]
struct NumberRow {
    value: u32,
    #[serde(default)]
    words: Vec<String>,
    #[serde(default)]
    ordinals: Vec<String>,
}

/// The concept of the compiled tables that is called so, looked up once.
macro_rules! known {
    ($id:literal) => {{
        static ID: std::sync::OnceLock<Option<$crate::text::lexicon::ConceptId>> =
            std::sync::OnceLock::new();
        *ID.get_or_init(|| $crate::text::lexicon::Lexicon::get().concept($id))
    }};
}
pub(super) use known;

impl Lexicon {
    /// The tables compiled into the crate.
    ///
    /// # Panics
    /// Never for a released build: a test loads the compiled tables.
    pub fn get() -> &'static Self {
        static LEXICON: OnceLock<Lexicon> = OnceLock::new();
        LEXICON.get_or_init(|| {
            Self::load(SYNONYMS, FUNCTION_WORDS).expect("the compiled tables are sound")
        })
    }

    /// Builds a lexicon from the text of both files.
    ///
    /// # Errors
    /// A file is no TOML of the expected shape, or a group names another that does not exist.
    pub fn load(synonyms: &str, function_words: &str) -> Result<Self, String> {
        let file: SynonymFile = toml::from_str(synonyms).map_err(|e| e.to_string())?;
        let functions: FunctionFile = toml::from_str(function_words).map_err(|e| e.to_string())?;
        let by_id: FxHashMap<String, ConceptId> = file
            .groups
            .iter()
            .enumerate()
            .map(|(i, g)| (g.id.clone(), i as ConceptId))
            .collect();
        if by_id.len() != file.groups.len() {
            return Err("two groups share an id".to_string());
        }
        let mut lexicon = Self {
            version: file.version,
            concepts: Vec::with_capacity(file.groups.len()),
            categories: Vec::new(),
            by_id,
            edges: FxHashMap::default(),
            articles: ["the", "a", "an"].map(word_key),
            entries: vec![None],
            goes_on: vec![false],
        };
        for row in &functions.roles {
            for term in &row.terms {
                lexicon.insert(term, Entry::Function(row.role));
            }
        }
        for row in &functions.numbers {
            for term in &row.words {
                lexicon.insert(term, Entry::Number(f64::from(row.value)));
            }
            for term in &row.ordinals {
                lexicon.insert(term, Entry::Ordinal(row.value));
            }
        }
        for (index, row) in file.groups.into_iter().enumerate() {
            let this = Means::new(&[index as ConceptId])?;
            for term in &row.terms {
                lexicon.insert(term, Entry::Concepts(this));
                if let Some((first, second)) = pairs_of(term) {
                    for spelling in [
                        format!("{second} and {first}"),
                        format!("{first} & {second}"),
                        format!("{second} & {first}"),
                    ] {
                        lexicon.insert(&spelling, Entry::Concepts(this));
                    }
                }
            }
            let concept = Concept {
                category: category_of(&row.id)?,
                broader: [lexicon.ids(&row.broader)?, lexicon.ids(&row.parts)?].concat(),
                parts: lexicon.ids(&row.parts)?,
                opposites: lexicon.ids(&row.opposite)?,
                id: row.id,
                terms: row.terms,
                source: row.source,
            };
            lexicon.concepts.push(concept);
        }
        for row in file.expansions {
            let means = Means::new(&lexicon.ids(&row.means)?)?;
            for term in &row.terms {
                lexicon.insert(term, Entry::Concepts(means));
            }
        }
        lexicon.categories = lexicon.concepts.iter().map(|c| c.category).collect();
        lexicon.make_opposites_mutual();
        lexicon.close_broader();
        Ok(lexicon)
    }

    /// The concept called `id`.
    #[must_use]
    pub fn concept(&self, id: &str) -> Option<ConceptId> {
        self.by_id.get(id).copied()
    }

    /// Longest known spelling at the start of `words` (keys of raw words): its entry and number of words.
    ///
    /// An article inside a term is passed over: "the heart and the great vessels".
    #[must_use]
    pub fn longest(&self, mut words: impl Iterator<Item = u64>) -> Option<(&Entry, usize)> {
        let first = *self.edges.get(&(0, words.next()?))?;
        self.longest_from(first, words)
    }

    /// The same where the first word leads to `node`, and `words` follow it.
    pub(super) fn longest_from(
        &self,
        mut node: u32,
        words: impl Iterator<Item = u64>,
    ) -> Option<(&Entry, usize)> {
        let mut best = self.entries[node as usize].as_ref().map(|entry| (entry, 1));
        for (position, key) in words.enumerate() {
            if !self.goes_on[node as usize] {
                break;
            }
            let Some(&next) = self.edges.get(&(node, key)) else {
                if self.articles.contains(&key) {
                    continue;
                }
                break;
            };
            node = next;
            if let Some(entry) = &self.entries[node as usize] {
                best = Some((entry, position + 2));
            }
        }
        best
    }

    /// Keys of the words with which terms begin, and where each leads.
    pub(super) fn first_words(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let first = self.edges.iter().filter(|(edge, _)| edge.0 == 0);
        first.map(|(edge, &node)| (edge.1, node))
    }

    fn ids(&self, names: &[String]) -> Result<Vec<ConceptId>, String> {
        names
            .iter()
            .map(|n| {
                self.concept(n)
                    .ok_or_else(|| format!("no group is called {n:?}"))
            })
            .collect()
    }

    /// A medical meaning replaces a function word of the same spelling only where the file says so by order.
    fn insert(&mut self, term: &str, entry: Entry) {
        let mut text = String::new();
        normalise(term, &mut text);
        let mut node = 0_u32;
        for word in raw_words(&text) {
            let fresh = self.entries.len() as u32;
            self.goes_on[node as usize] = true;
            node = *self
                .edges
                .entry((node, word_key(word.text)))
                .or_insert(fresh);
            if node == fresh {
                self.entries.push(None);
                self.goes_on.push(false);
            }
        }
        if node != 0 {
            self.entries[node as usize] = Some(entry);
        }
    }

    fn make_opposites_mutual(&mut self) {
        for index in 0..self.concepts.len() {
            for other in self.concepts[index].opposites.clone() {
                let back = &mut self.concepts[other as usize].opposites;
                if !back.contains(&(index as ConceptId)) {
                    back.push(index as ConceptId);
                }
            }
        }
    }

    fn close_broader(&mut self) {
        for index in 0..self.concepts.len() {
            let mut all = self.concepts[index].broader.clone();
            let mut at = 0;
            while at < all.len() {
                for &next in &self.concepts[all[at] as usize].broader {
                    if !all.contains(&next) {
                        all.push(next);
                    }
                }
                at += 1;
            }
            self.concepts[index].broader = all;
        }
    }
}

/// The two parts of a term such as "heart and great vessels", which may come in either order.
fn pairs_of(term: &str) -> Option<(&str, &str)> {
    term.split_once(" and ")
}

fn category_of(id: &str) -> Result<Category, String> {
    Ok(match id.split('.').next().unwrap_or_default() {
        "plane" => Category::Plane,
        "modality" => Category::Modality,
        "sequence" => Category::Sequence,
        "side" => Category::Side,
        "direction" => Category::Direction,
        "organ" => Category::Organ,
        "finding" => Category::Finding,
        "normality" => Category::Normality,
        "color" => Category::Color,
        "attribute" => Category::Attribute,
        "other" => Category::Other,
        kind => return Err(format!("group {id:?}: no category is called {kind:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_tables_load() {
        let lexicon = Lexicon::load(SYNONYMS, FUNCTION_WORDS).unwrap();
        assert!(lexicon.concept("modality.ct").is_some());
        assert!(lexicon
            .concepts
            .iter()
            .all(|c| !c.source.is_empty() && !c.terms.is_empty()));
    }
}
