//! Names of enum values without their prefix, as people and `ErrorInfo.reason` use them.

use crate::v1;

macro_rules! short_names {
    ($($name:ident: $prefix:literal;)*) => {$(
        impl v1::$name {
            /// The value's name without its prefix, in upper snake case.
            pub fn short_name(&self) -> &'static str {
                let name = self.as_str_name();
                name.strip_prefix($prefix).unwrap_or(name)
            }

            /// The value of a name without its prefix. `None` for unknown names, and for `UNSPECIFIED`.
            pub fn from_short_name(name: &str) -> Option<Self> {
                Self::from_str_name(&[$prefix, name].concat()).filter(|value| *value != Self::Unspecified)
            }
        }

        #[cfg(test)]
        impl ShortNames for v1::$name {
            const PREFIX: &str = $prefix;
            const FULL_NAME: &str = concat!("refwatch.v1.", stringify!($name));
        }
    )*

    #[cfg(test)]
    fn prefixes() -> Vec<(&'static str, &'static str)> {
        vec![$((<v1::$name as ShortNames>::FULL_NAME, <v1::$name as ShortNames>::PREFIX)),*]
    }
    };
}

#[cfg(test)]
trait ShortNames {
    const PREFIX: &str;
    const FULL_NAME: &str;
}

short_names! {
    ErrorReason: "ERROR_REASON_";
    Forward: "FORWARD_";
    GitEventType: "GIT_EVENT_TYPE_";
    ObjectFormat: "OBJECT_FORMAT_";
    OnGap: "ON_GAP_";
    Origin: "ORIGIN_";
    RefChange: "REF_CHANGE_";
    RefFormat: "REF_FORMAT_";
    RefNamespace: "REF_NAMESPACE_";
    RejectionStage: "REJECTION_STAGE_";
    RepositoryState: "REPOSITORY_STATE_";
    ResetReason: "RESET_REASON_";
    SummaryCause: "SUMMARY_CAUSE_";
    WatchMode: "WATCH_MODE_";
}

#[cfg(test)]
mod tests {
    use super::prefixes;
    use crate::v1::{ErrorReason, GitEventType};

    #[test]
    fn every_enum_has_short_names_and_its_own_prefix() {
        let pool = crate::json::descriptor_pool();
        let mut names = prefixes();
        names.sort_unstable();
        let mut enums: Vec<_> = pool.all_enums().map(|item| item.full_name().to_owned()).collect();
        enums.sort_unstable();
        assert_eq!(enums, names.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
        for (name, prefix) in names {
            let item = pool.get_enum_by_name(name).expect("listed above");
            for value in item.values() {
                assert!(value.name().starts_with(prefix), "{}", value.name());
            }
        }
    }

    #[test]
    fn a_short_name_leads_back_to_its_value() {
        assert_eq!(GitEventType::BranchForcePushed.short_name(), "BRANCH_FORCE_PUSHED");
        assert_eq!(ErrorReason::CursorForeignEpoch.short_name(), "CURSOR_FOREIGN_EPOCH");
        assert_eq!(GitEventType::from_short_name("REF_UPDATED"), Some(GitEventType::RefUpdated));
        assert_eq!(GitEventType::from_short_name("UNSPECIFIED"), None);
        assert_eq!(GitEventType::from_short_name("GIT_EVENT_TYPE_TAG_CREATED"), None);
    }
}
