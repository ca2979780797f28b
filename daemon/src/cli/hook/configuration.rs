//! What Git's configuration says about a repository's hooks: read by gix, with includes and precedence as Git has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gix::config::tree::Core;
use gix::config::{Source, source};

use super::found::Setting;
use super::phase::Phase;
use super::refusal::Refusal;
use super::step;

/// A repository's directory and what its configuration says.
pub(super) struct Configuration {
    /// Canonical; of the repository itself, if a linked worktree's was named.
    pub(super) git_dir: PathBuf,
    pub(super) is_bare: bool,
    pub(super) hooks_path: Option<Setting>,
    /// `core.sharedRepository` as Git encodes it.
    pub(super) shared: i32,
    /// Hooks of ours in the repository's own file, with their commands.
    pub(super) configured: BTreeMap<Phase, String>,
}

/// Opens the repository that a path names: a git directory, or a working tree with one.
///
/// All of the configuration is read that Git started by this user would read. Who pushes may have another
/// `~/.gitconfig`: that cannot be seen from here.
pub(super) fn open(path: &Path) -> Result<Configuration, Refusal> {
    let no_repository = |why: String| Refusal::NoRepository {
        path: path.to_owned(),
        why: format!("not a repository: {why}"),
    };
    let unreadable = |why: String| Refusal::Unreadable { path: path.to_owned(), why };
    // Nothing that the configuration names is run here: it may be another user's.
    let options = gix::open::Options::default().with(gix::sec::Trust::Full).filter_config_section(|_| true);
    let repository = gix::open_opts(path, options).map_err(|error| no_repository(error.to_string()))?;
    let canonical = |path: &Path| path.canonicalize().map_err(|error| unreadable(error.to_string()));
    let git_dir = canonical(repository.common_dir())?;
    if canonical(repository.git_dir())? != git_dir {
        return Err(Refusal::Worktree { path: path.to_owned(), repository: git_dir });
    }
    refwatch_watcher::layout::probe(&git_dir).map_err(|error| no_repository(error.to_string()))?;
    let snapshot = repository.config_snapshot();
    let shared = match last(&snapshot, "sharedRepository") {
        Some((value, _)) => Core::SHARED_REPOSITORY
            .try_into_shared_repository(value.as_deref())
            .map_err(|error| unreadable(format!("core.sharedRepository: {error}")))?,
        None => 0,
    };
    let hooks_path = match last(&snapshot, "hooksPath") {
        Some((_, meta)) => Some(Setting {
            path: snapshot
                .trusted_path("core.hooksPath")
                .map_err(|error| unreadable(format!("core.hooksPath: {error}")))?
                .unwrap_or_default(),
            is_own: meta.source.kind() == source::Kind::Repository,
            source: told(&meta),
        }),
        None => None,
    };
    Ok(Configuration {
        is_bare: repository.is_bare(),
        hooks_path,
        shared,
        configured: configured(&snapshot),
        git_dir,
    })
}

type Found = (Option<gix::bstr::BString>, gix::config::file::Metadata);

/// The value of `core.<key>` that counts, and where it stands.
fn last(snapshot: &gix::config::Snapshot<'_>, key: &str) -> Option<Found> {
    let sections = snapshot.plumbing().sections_by_name("core")?;
    let values = sections.filter(|section| section.header().subsection_name().is_none());
    values.filter_map(|section| Some((section.value_implicit(key)?, section.meta().clone()))).last()
}

fn told(meta: &gix::config::file::Metadata) -> String {
    match (&meta.path, meta.source) {
        (Some(path), Source::GitInstallation | Source::System) => format!("{} (system)", path.display()),
        (Some(path), Source::Git | Source::User) => format!("{} (user)", path.display()),
        (Some(path), _) => path.display().to_string(),
        (None, Source::Env | Source::EnvOverride) => "the environment".to_owned(),
        (None, _) => "Git's configuration".to_owned(),
    }
}

/// Hooks of ours that stand in the repository's own file.
fn configured(snapshot: &gix::config::Snapshot<'_>) -> BTreeMap<Phase, String> {
    let mut found = BTreeMap::new();
    for section in snapshot.plumbing().sections_by_name("hook").into_iter().flatten() {
        let is_own = section.meta().source == Source::Local && section.meta().level == 0;
        let name = section.header().subsection_name();
        let phase = Phase::ALL
            .into_iter()
            .find(|phase| name.is_some_and(|name| *name == *step::friendly(*phase).as_bytes()));
        if let (true, Some(phase)) = (is_own, phase) {
            let command = section.value("command").unwrap_or_default();
            found.insert(phase, command.to_string());
        }
    }
    found
}
