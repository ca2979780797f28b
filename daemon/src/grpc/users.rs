//! Which users of this machine may connect to the Unix socket.

use std::collections::HashSet;
use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::BindError;
use super::peer::Credentials;
use crate::settings::GrpcSettings;

/// Users and groups that may connect, by number.
#[derive(Debug)]
pub(super) struct Allowed {
    users: HashSet<u32>,
    groups: HashSet<u32>,
}

impl Allowed {
    /// Looks names up; `None` where the settings name nobody, so that the socket's permissions decide alone.
    ///
    /// # Errors
    /// [`BindError::Nobody`] for a name that the system does not know.
    pub(super) fn of(settings: &GrpcSettings) -> Result<Option<Self>, BindError> {
        if settings.socket_users.is_empty() && settings.socket_groups.is_empty() {
            return Ok(None);
        }
        let user = |name: &str| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
        let group = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
        Ok(Some(Self {
            users: numbers("grpc.socket_users", &settings.socket_users, user)?,
            groups: numbers("grpc.socket_groups", &settings.socket_groups, group)?,
        }))
    }

    /// True for a process whose user may connect, or is in a group that may. Asks the system for the user's groups,
    /// which blocks.
    pub(super) fn admits(&self, credentials: Credentials) -> bool {
        self.users.contains(&credentials.uid)
            || self.groups.contains(&credentials.gid)
            || !self.groups.is_empty()
                && groups_of(credentials).iter().any(|group| self.groups.contains(&group.as_raw()))
    }
}

fn numbers(
    setting: &'static str,
    names: &[String],
    look_up: impl Fn(&str) -> Option<u32>,
) -> Result<HashSet<u32>, BindError> {
    let number = |name: &String| {
        let found = name.parse().ok().or_else(|| look_up(name));
        found.ok_or_else(|| BindError::Nobody { setting, name: name.clone() })
    };
    names.iter().map(number).collect()
}

/// The groups that the system's database puts a user into; none for a user that it does not know.
fn groups_of(credentials: Credentials) -> Vec<Gid> {
    let user = User::from_uid(Uid::from_raw(credentials.uid)).ok().flatten();
    let name = user.and_then(|user| CString::new(user.name).ok());
    let groups = name.and_then(|name| getgrouplist(&name, Gid::from_raw(credentials.gid)).ok());
    groups.unwrap_or_default()
}
