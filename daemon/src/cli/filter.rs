//! Flags that say which events, refs or repositories are wanted.

use refwatch_proto::v1::{EventFilter, GitEventType};

/// Which repositories.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct RepositoryArgs {
    /// Only repositories whose path matches; may be given several times
    #[arg(long = "repo", value_name = "GLOB")]
    pub(super) repositories: Vec<String>,
}

/// Which refs.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct RefArgs {
    /// Only refs whose full name matches, such as 'refs/heads/**'; may be given several times
    #[arg(long = "ref", value_name = "GLOB", value_parser = ref_glob)]
    pub(super) refs: Vec<String>,
    /// Leaves out refs whose full name matches; may be given several times
    #[arg(long = "exclude-ref", value_name = "GLOB", value_parser = ref_glob)]
    pub(super) exclude_refs: Vec<String>,
    /// Takes what Git hosts keep for themselves too, such as refs/keep-around
    #[arg(long)]
    pub(super) include_internal: bool,
}

/// Which events.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Filter")]
pub(super) struct EventArgs {
    #[command(flatten)]
    pub(super) repositories: RepositoryArgs,
    #[command(flatten)]
    pub(super) refs: RefArgs,
    /// Only events of this type, such as branch-created or ref-updated (every change of a ref); several with commas
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type, value_delimiter = ',')]
    pub(super) types: Vec<GitEventType>,
}

impl EventArgs {
    /// As the contract has it.
    pub(super) fn to_filter(&self) -> EventFilter {
        EventFilter {
            repository_globs: self.repositories.repositories.clone(),
            ref_include_globs: self.refs.refs.clone(),
            ref_exclude_globs: self.refs.exclude_refs.clone(),
            types: self.types.iter().map(|kind| i32::from(*kind)).collect(),
            include_internal: self.refs.include_internal,
            ..EventFilter::default()
        }
    }
}

/// A glob over full names. One that can match no ref at all is a name cut short.
fn ref_glob(glob: &str) -> Result<String, String> {
    let wild = glob.starts_with(['*', '?', '[', '{', '\\']);
    let begins = ["refs/", "HEAD", "worktrees/"].iter().any(|start| glob.starts_with(start));
    if wild || begins {
        return Ok(glob.to_owned());
    }
    Err(format!("a ref has a full name: write refs/heads/{glob} or refs/tags/{glob}"))
}

/// A type in any case, with `-` or `_`.
fn event_type(name: &str) -> Result<GitEventType, String> {
    let upper = name.to_ascii_uppercase().replace('-', "_");
    GitEventType::from_short_name(&upper).ok_or_else(|| {
        let known =
            (1..=GitEventType::RefUpdated as i32).filter_map(|number| GitEventType::try_from(number).ok());
        let mut names: Vec<String> =
            known.map(|kind| kind.short_name().to_ascii_lowercase().replace('_', "-")).collect();
        names.sort();
        format!("no such type; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_taken_in_any_spelling() {
        assert_eq!(event_type("branch-created"), Ok(GitEventType::BranchCreated));
        assert_eq!(event_type("REF_UPDATED"), Ok(GitEventType::RefUpdated));
        assert!(event_type("unspecified").is_err());
        assert!(event_type("pushed").expect_err("unknown").contains("push-received"));
    }

    #[test]
    fn a_short_ref_name_is_refused_with_the_full_one() {
        assert_eq!(ref_glob("refs/heads/*"), Ok("refs/heads/*".to_owned()));
        assert!(ref_glob("HEAD").is_ok() && ref_glob("**/main").is_ok());
        assert!(ref_glob("main").expect_err("short").contains("refs/heads/main"));
    }
}
