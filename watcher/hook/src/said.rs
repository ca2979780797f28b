//! What the environment says about a push.

use std::env;
use std::ffi::OsString;

use refwatch_hook::record::PUSH_OPTIONS_MAX;

/// Who may be named by whom: whoever runs refwatch, Gitolite and GitLab, an HTTP server.
const ACTORS: [&str; 3] = ["REFWATCH_ACTOR", "GL_ID", "REMOTE_USER"];

/// Who pushes: the first variable of [`ACTORS`] that says something.
pub(crate) fn actor() -> OsString {
    ACTORS.iter().filter_map(env::var_os).find(|actor| !actor.is_empty()).unwrap_or_default()
}

/// The options of a push (githooks(5), pre-receive), and whether there are more than are kept.
pub(crate) fn push_options() -> (Vec<OsString>, bool) {
    let count =
        env::var("GIT_PUSH_OPTION_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(0_usize);
    let options = (0..count.min(PUSH_OPTIONS_MAX))
        .map_while(|index| env::var_os(format!("GIT_PUSH_OPTION_{index}")))
        .collect();
    (options, count > PUSH_OPTIONS_MAX)
}
