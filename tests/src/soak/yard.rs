//! The repositories of a soak, and what only git wrote to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::git::Flavour;
use crate::library::Library;
use crate::random::Random;
use crate::source::Source;
use crate::world::{Repo, World};

use super::Plan;
use super::diary::Diary;

/// Commits that refs are set to.
const COMMITS: usize = 24;

/// Between two looks at how far writers are.
const POLL: Duration = Duration::from_millis(2);

/// Object and ref formats, in all combinations.
const FLAVOURS: [Flavour; 4] = [
    Flavour::PLAIN,
    Flavour::SHA256,
    Flavour::REFTABLE,
    Flavour { ref_format: "reftable", ..Flavour::SHA256 },
];

/// Who writes to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Git alone, with hooks: every committed value is told.
    Recorded,
    /// Anyone, with hooks that come and go.
    Hooked,
    /// Anyone, without hooks.
    Plain,
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// At its path.
    There,
    /// Outside the root, for a while.
    Hidden(PathBuf),
    /// Nowhere.
    Gone,
}

/// A repository that may be there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) repo: Repo,
    pub(super) kind: Kind,
    pub(super) is_hooked: bool,
    pub(super) whereabouts: Whereabouts,
}

/// A ref that one writer alone writes to, by git alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    /// Values since the last judgement, zeroes for a deletion.
    pub(super) values: Vec<String>,
    /// Present value; zeroes when there is none, empty when it was never set.
    pub(super) now: String,
    /// Its last value that was an object. A deletion that states it and a creation with it, between two looks, read
    /// like packing and are silent: so the next value is another.
    pub(super) last: String,
}

impl Lane {
    /// It has this value now.
    pub(super) fn set(&mut self, value: &str, zero: &str) {
        value.clone_into(&mut self.now);
        if value != zero {
            value.clone_into(&mut self.last);
        }
    }
}

/// What is known of a repository's lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    pub(super) by_name: BTreeMap<String, Lane>,
    /// Something happened since the last judgement that makes values uncertain: what was recorded before a repository
    /// was known is history.
    pub(super) is_uncertain: bool,
}

#[derive(Debug)]
pub(super) struct Slot {
    place: RwLock<Place>,
    lanes: Mutex<Lanes>,
}

impl Slot {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Place> {
        self.place.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Place> {
        self.place.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All repositories.
#[derive(Debug)]
pub(super) struct Yard {
    pub(super) world: World,
    pub(super) slots: Vec<Slot>,
    pub(super) diary: Diary,
    /// Libraries that are there.
    pub(super) libraries: Vec<Library>,
    sources: BTreeMap<&'static str, (Source, Vec<String>)>,
    steps: AtomicUsize,
    steps_max: AtomicUsize,
    serial: AtomicUsize,
    has_failed: AtomicBool,
}

/// Tells who waits for steps when a writer panics.
#[derive(Debug)]
pub(super) struct Alarm<'a>(pub(super) &'a Yard);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
    }
}

impl Yard {
    pub(super) fn new(plan: &Plan, random: &mut Random) -> Self {
        let world = World::new();
        let sources = [Flavour::PLAIN, Flavour::SHA256].map(|flavour| {
            let source = world.source(flavour);
            let commits = commits(&source.0);
            // Those that are symbolic elsewhere are there too: a mirrored deletion of one would delete what it leads to.
            let names =
                ["heads/main", "heads/mirrored", "tags/mirrored", "heads/alias", "remotes/origin/HEAD"];
            let lines = names.iter().zip(&commits[1..]);
            source.0.update(
                &lines.map(|(name, commit)| format!("create refs/{name} {commit}\n")).collect::<String>(),
            );
            (flavour.object_format, (source, commits))
        });
        let diary = Diary::new(&world.beside("diary.log"));
        let is_there = |library: &Library| {
            let is_there = library.program().is_some();
            diary.note(&format!("{library:?} is {}there", if is_there { "" } else { "not " }));
            is_there
        };
        let libraries = Library::ALL.into_iter().filter(is_there).collect();
        let slots = (0..plan.repositories).map(|number| {
            let kind = [Kind::Recorded, Kind::Hooked, Kind::Plain][number / FLAVOURS.len() % 3];
            let flavour = FLAVOURS[number % FLAVOURS.len()];
            let path = format!("g{}/s{number}.git", number % 3);
            let repo = Repo::at(world.root.join(&path), &path, flavour);
            let place = Place { repo, kind, is_hooked: false, whereabouts: Whereabouts::Gone };
            Slot { place: RwLock::new(place), lanes: Mutex::default() }
        });
        let slots: Vec<Slot> = slots.collect();
        let yard = Self {
            slots,
            diary,
            libraries,
            sources: sources.into(),
            steps: AtomicUsize::new(0),
            steps_max: AtomicUsize::new(0),
            serial: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
            world,
        };
        for slot in &yard.slots {
            let mut place = slot.write();
            let flavour = place.repo.flavour;
            yard.create(&mut place, flavour, random);
        }
        yard
    }

    /// The repository that pushes come from.
    pub(super) fn source(&self, repo: &Repo) -> &Source {
        &self.sources[repo.flavour.object_format].0
    }

    /// Commits that any repository of its object format has.
    pub(super) fn commits(&self, repo: &Repo) -> &[String] {
        &self.sources[repo.flavour.object_format].1
    }

    /// A number that was not given before.
    pub(super) fn serial(&self) -> usize {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn flavour(random: &mut Random) -> Flavour {
        *random.of(&FLAVOURS)
    }

    /// Makes a repository where there is none.
    pub(super) fn create(&self, place: &mut Place, flavour: Flavour, random: &mut Random) {
        place.repo = self.world.repo_exactly(&place.repo.path, flavour);
        self.furnish(place, random);
        let main = random.of(self.commits(&place.repo)).clone();
        place.repo.update(&format!("create refs/heads/main {main}\n"));
    }

    /// Gives a new repository the objects, and hooks where it is to have them.
    pub(super) fn furnish(&self, place: &mut Place, random: &mut Random) {
        let objects = self.source(&place.repo).0.git_dir.join("objects");
        place.repo.write("objects/info/alternates", format!("{}\n", objects.display()));
        let mut settings = vec![("receive.autogc", "false")];
        if random.below(3) == 0 {
            settings.push(("receive.denyDeletes", "true"));
        }
        if random.below(3) == 0 {
            settings.push(("receive.denyNonFastForwards", "true"));
        }
        if random.below(3) == 0 {
            settings.push(("core.logAllRefUpdates", "always"));
        }
        for (key, value) in settings {
            place.repo.git(&["config", key, value]);
        }
        place.whereabouts = Whereabouts::There;
        place.is_hooked = false;
        if place.kind != Kind::Plain {
            self.hook(place, true);
        }
    }

    /// Installs hooks, or removes them.
    pub(super) fn hook(&self, place: &mut Place, install: bool) {
        if install {
            place.repo.install_hooks();
        } else {
            place.repo.remove_hooks();
        }
        place.is_hooked = install;
    }

    pub(super) fn begin_round(&self, steps_max: usize) {
        self.steps.store(0, Ordering::Relaxed);
        self.steps_max.store(steps_max, Ordering::Relaxed);
    }

    pub(super) fn step_is_done(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until this many steps more were made, or all of the round.
    pub(super) fn wait_steps(&self, more: usize) {
        let most = self.steps_max.load(Ordering::Relaxed);
        let until = (self.steps.load(Ordering::Relaxed) + more).min(most);
        while self.steps.load(Ordering::Relaxed) < until && !self.has_failed.load(Ordering::Relaxed) {
            std::thread::sleep(POLL);
        }
    }

    /// Repositories that are at their paths, none of which changes while they are held.
    pub(super) fn there(&self) -> Vec<RwLockReadGuard<'_, Place>> {
        let places = self.slots.iter().map(Slot::read);
        places.filter(|place| place.whereabouts == Whereabouts::There).collect()
    }
}

/// A history with branches.
fn commits(repo: &Repo) -> Vec<String> {
    let mut commits: Vec<String> = Vec::new();
    for number in 0..COMMITS {
        let parents: Vec<String> = match number % 8 {
            0 => Vec::new(),
            5 => vec![commits[number - 3].clone()],
            7 => vec![commits[number - 1].clone(), commits[number - 3].clone()],
            _ => vec![commits[number - 1].clone()],
        };
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        commits.push(repo.commit(&format!("commit {number}"), &parents));
    }
    commits
}
