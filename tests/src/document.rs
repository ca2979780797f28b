//! The project's documents: what they link to, and the blocks of commands in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What begins the first line of a block of commands that cannot be run anywhere: what it takes follows.
const NEEDS: &str = "# needs ";

/// Folders that hold no documents of ours.
const FOREIGN: [&str; 3] = ["target", ".git", "node_modules"];

/// A Markdown file of the repository.
#[derive(Clone, Debug)]
pub struct Document {
    /// Path from the root of the repository.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What stands behind the fence, such as `sh`.
    pub language: String,
    /// The lines between the fences.
    pub text: String,
    /// Line of the opening fence, from 1.
    pub line: usize,
}

impl Block {
    /// What it takes to run it, where that is not to be had everywhere: `# needs docker`.
    pub fn needs(&self) -> Option<&str> {
        self.text.lines().next()?.strip_prefix(NEEDS)
    }
}

impl Document {
    /// The root of the repository.
    ///
    /// # Panics
    /// When it is not there.
    pub fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
    }

    /// One, by its path from the root.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read(path: &str) -> Self {
        let text =
            fs::read_to_string(Self::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    /// All of them, by path.
    ///
    /// # Panics
    /// When a folder cannot be listed.
    pub fn all() -> Vec<Self> {
        let root = Self::root();
        let mut folders = vec![root.clone()];
        let mut paths = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("listed") {
                let entry = entry.expect("listed");
                let name = entry.file_name();
                if entry.file_type().expect("told").is_dir() {
                    if !FOREIGN.iter().any(|foreign| name == *foreign) {
                        folders.push(entry.path());
                    }
                } else if entry.path().extension().is_some_and(|extension| extension == "md") {
                    let path = entry.path();
                    paths.insert(path.strip_prefix(&root).expect("below it").to_string_lossy().into_owned());
                }
            }
        }
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Its fenced blocks, in order.
    ///
    /// # Panics
    /// When one does not end.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (index, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(language), None) => {
                    open =
                        Some(Block { language: language.to_owned(), text: String::new(), line: index + 1 });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => {
                    block.text += line;
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert_eq!(open, None, "{}: a block does not end", self.path);
        blocks
    }

    /// Its blocks of shell commands.
    pub fn commands(&self) -> Vec<Block> {
        self.blocks().into_iter().filter(|block| block.language == "sh").collect()
    }

    /// Its lines outside of blocks, numbered from 1.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut is_inside = false;
        let mut lines = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            if line.starts_with("```") {
                is_inside = !is_inside;
            } else if !is_inside {
                lines.push((index + 1, line));
            }
        }
        lines
    }

    /// What stands between backticks in its prose, with the line.
    pub fn code(&self) -> Vec<(usize, &str)> {
        let spans = |(line, text): (usize, &'_ str)| {
            let spans: Vec<(usize, usize)> = {
                let ticks: Vec<usize> = text.match_indices('`').map(|(at, _)| at).collect();
                ticks.chunks_exact(2).map(|pair| (pair[0] + 1, pair[1])).collect()
            };
            (line, spans)
        };
        self.prose()
            .into_iter()
            .flat_map(|(line, text)| {
                let (line, found) = spans((line, text));
                found.into_iter().map(move |(from, to)| (line, &text[from..to]))
            })
            .collect()
    }

    /// Where its links lead, with the line.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (line, text) in self.prose() {
            for (at, _) in text.match_indices("](") {
                let rest = &text[at + 2..];
                if let Some(end) = rest.find(')') {
                    links.push((line, rest[..end].to_owned()));
                }
            }
        }
        links
    }

    /// What links can name in it: GitHub's names of its headings.
    pub fn anchors(&self) -> BTreeSet<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut anchors = BTreeSet::new();
        for (_, line) in self.prose() {
            let Some(heading) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#')) else {
                continue;
            };
            let kept = heading.trim().chars().filter_map(|letter| match letter {
                ' ' => Some('-'),
                '-' | '_' => Some(letter),
                _ if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
                _ => None,
            });
            let name: String = kept.collect();
            let count = seen.entry(name.clone()).or_default();
            anchors.insert(if *count == 0 { name } else { format!("{name}-{count}") });
            *count += 1;
        }
        anchors
    }
}
