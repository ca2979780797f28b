//! The table of `refwatch_core::push::ledger`, put to the Git that is installed: shell hooks record what they are told,
//! and the ledger is asked what became of each update.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use refwatch_core::journal::{Outcome, Update, Value};
use refwatch_core::push::{Ledger, Refused, Said};
use refwatch_core::{InvalidObjectId, ObjectId, RefName, Target};

use crate::given::name;
use crate::push_given::{close, process, said, transaction};

/// Every hook: a header, the input indented by a space, and at last how it exits. `more` makes it refuse.
const HOOK: &str = r#"#!/bin/sh
hook=${0##*/}
{ echo "$hook $PPID $*"; [ "$hook" = update ] || sed 's/^/ /'; } >>"$LOG"
(. "$MORE")
status=$?
[ $status = 0 ] || echo "exit $PPID $status" >>"$LOG"
exit $status
"#;

struct Scene {
    title: &'static str,
    /// A shell script in the repository pushed to, where main, x and y are at $A. The client has $B and $C after it.
    given: &'static str,
    /// A shell script that each hook runs; $hook is its name.
    hook: &'static str,
    push: &'static str,
    /// For each ref `accepted`, or stage and reason.
    told: &'static [(&'static str, &'static str)],
}

const ACCEPTED: &str = "accepted";
/// Nothing is told of it: carried out, and no post-receive tells.
const DOUBTED: &str = "doubted";
const PRE_RECEIVE: &str = "PRE_RECEIVE HOOK_DECLINED";
const UPDATE: &str = "UPDATE HOOK_DECLINED";
const TRANSACTION: &str = "REFERENCE_TRANSACTION HOOK_DECLINED";
const STALE: &str = "STALE_OLD_VALUE STALE_OLD_VALUE";
const BY_GIT: &str = "RECEIVE_PACK DECLINED_BY_GIT";
const ATOMIC: &str = "RECEIVE_PACK ATOMIC_PUSH_FAILED";
const ABORTED: &str = "RECEIVE_PACK PUSH_ABORTED";

/// Somebody else's update during a push.
const MOVE_X: &str =
    "[ $hook = pre-receive ] || exit 0; unset GIT_QUARANTINE_PATH; git update-ref refs/heads/x $B $A";

const SCENES: &[Scene] = &[
    Scene {
        title: "all accepted",
        given: "",
        hook: "",
        push: "$B:x :y $B:z",
        told: &[("x", ACCEPTED), ("y", ACCEPTED), ("z", ACCEPTED)],
    },
    Scene {
        title: "packed refs",
        given: "git pack-refs --all",
        hook: "",
        push: "$B:x :y",
        told: &[("x", ACCEPTED), ("y", ACCEPTED)],
    },
    Scene {
        title: "pre-receive refuses",
        given: "",
        hook: "[ $hook != pre-receive ]",
        push: "$B:x :y",
        told: &[("x", PRE_RECEIVE), ("y", PRE_RECEIVE)],
    },
    Scene {
        title: "update refuses",
        given: "",
        hook: "[ $hook != update ] || [ \"$1\" != refs/heads/x ]",
        push: "$B:main $B:x $B:y",
        told: &[("main", ACCEPTED), ("x", UPDATE), ("y", ACCEPTED)],
    },
    Scene {
        title: "update refuses in an atomic push",
        given: "",
        hook: "[ $hook != update ] || [ \"$1\" != refs/heads/x ]",
        push: "--atomic $B:main $B:x $B:y",
        told: &[("main", ATOMIC), ("x", UPDATE), ("y", ATOMIC)],
    },
    Scene {
        title: "update refuses one, a setting the other: recorded as an atomic push is",
        given: "git config receive.denyDeletes true",
        hook: "[ $hook != update ]",
        push: "$B:x :y",
        told: &[("x", UPDATE), ("y", BY_GIT)],
    },
    Scene {
        title: "receive.denyDeletes",
        given: "git config receive.denyDeletes true",
        hook: "",
        push: "$B:x :y",
        told: &[("x", ACCEPTED), ("y", BY_GIT)],
    },
    Scene {
        title: "receive.denyDeletes, nothing else asked for",
        given: "git config receive.denyDeletes true",
        hook: "",
        push: ":y",
        told: &[("y", BY_GIT)],
    },
    Scene {
        title: "receive.denyNonFastForwards",
        given: "git config receive.denyNonFastForwards true; git update-ref refs/heads/x $C",
        hook: "",
        push: "+$B:x $B:y",
        told: &[("x", BY_GIT), ("y", ACCEPTED)],
    },
    Scene {
        title: "receive.denyCurrentBranch",
        given: "git config core.bare false; git config receive.denyCurrentBranch refuse; git config core.worktree .",
        hook: "",
        push: "$B:main $B:x",
        told: &[("main", BY_GIT), ("x", ACCEPTED)],
    },
    Scene {
        title: "receive.denyDeleteCurrent",
        given: "",
        hook: "",
        push: ":main $B:x",
        told: &[("main", BY_GIT), ("x", ACCEPTED)],
    },
    Scene {
        title: "receive.hideRefs in an atomic push",
        given: "git config receive.hideRefs refs/heads/hidden",
        hook: "",
        push: "--atomic $B:hidden/a $B:x",
        told: &[("hidden/a", BY_GIT), ("x", ACCEPTED)],
    },
    Scene {
        title: "another old value",
        given: "",
        hook: MOVE_X,
        push: "$C:x $C:y",
        told: &[("x", STALE), ("y", ACCEPTED)],
    },
    Scene {
        title: "another old value, of a deletion",
        given: "",
        hook: MOVE_X,
        push: ":x $C:y",
        told: &[("x", STALE), ("y", ACCEPTED)],
    },
    Scene {
        title: "another old value in an atomic push",
        given: "",
        hook: MOVE_X,
        push: "--atomic $C:x $C:y",
        told: &[("x", STALE), ("y", ATOMIC)],
    },
    Scene {
        title: "somebody else brings the same value",
        given: "",
        hook: MOVE_X,
        push: "$B:x $C:y",
        told: &[("x", STALE), ("y", ACCEPTED)],
    },
    Scene {
        title: "a directory in the way",
        given: "",
        hook: "",
        push: "$B:x/deep $B:y",
        told: &[("x/deep", BY_GIT), ("y", ACCEPTED)],
    },
    Scene {
        title: "a symbolic ref and its target alike",
        given: "git symbolic-ref refs/heads/alias refs/heads/x",
        hook: "",
        push: "$B:x $B:alias",
        told: &[("x", ACCEPTED), ("alias", ACCEPTED)],
    },
    Scene {
        title: "a symbolic ref and its target at odds",
        given: "git symbolic-ref refs/heads/alias refs/heads/x",
        hook: "",
        push: "$B:x $C:alias $C:y",
        told: &[("x", BY_GIT), ("alias", BY_GIT), ("y", ACCEPTED)],
    },
    Scene {
        title: "reference-transaction refuses in an atomic push",
        given: "",
        hook: "[ $hook != reference-transaction ] || [ \"$1\" != prepared ]",
        push: "--atomic $B:main $B:x",
        told: &[("main", TRANSACTION), ("x", TRANSACTION)],
    },
    Scene {
        title: "receive-pack is killed",
        given: "",
        hook: "[ $hook != pre-receive ] || kill -9 $PPID",
        push: "$B:x :y",
        told: &[("x", BY_GIT), ("y", BY_GIT)],
    },
];

/// For Git that carries out one update after the other, as 2.47 does; 2.55 does all at once.
const ONE_BY_ONE: &[Scene] = &[
    Scene {
        title: "reference-transaction refuses the second of three",
        given: "",
        hook: "[ $hook$1 != reference-transactionprepared ] || ! tail -n 1 $LOG | grep -q refs/heads/x",
        push: "$B:main $B:x $B:y",
        told: &[("main", DOUBTED), ("x", TRANSACTION), ("y", ABORTED)],
    },
    Scene {
        title: "receive-pack is killed in the middle",
        given: "",
        hook: "[ \"$hook $1\" != 'update refs/heads/x' ] || kill -9 $PPID",
        push: "$B:main $B:x $B:y",
        told: &[("main", DOUBTED), ("x", BY_GIT), ("y", BY_GIT)],
    },
];

/// Locks are files of this backend.
const FILES: &[Scene] = &[
    Scene {
        title: "a lock",
        given: ": >refs/heads/x.lock",
        hook: "",
        push: "$B:x $B:y",
        told: &[("x", BY_GIT), ("y", ACCEPTED)],
    },
    Scene {
        title: "packed-refs locked for a deletion",
        given: "git pack-refs --all; git config core.packedRefsTimeout 0; : >packed-refs.lock",
        hook: "",
        push: ":x $B:y",
        told: &[("x", BY_GIT), ("y", ACCEPTED)],
    },
];

/// A repository to push to, and one to push from.
struct Place {
    home: PathBuf,
    server: PathBuf,
    commits: [String; 3],
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.home));
    }
}

/// Runs a shell script; what it prints.
fn sh(directory: &Path, script: &str, vars: &[(&str, &str)]) -> Option<String> {
    let mut shell = Command::new("sh");
    for who in ["GIT_AUTHOR", "GIT_COMMITTER"] {
        shell.env(format!("{who}_NAME"), "a").env(format!("{who}_EMAIL"), "a@example.org");
    }
    let shell = shell
        .args(["-c", script])
        .current_dir(directory)
        .envs(vars.iter().copied())
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")]);
    let output = shell.output().expect("there is a shell");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Place {
    /// `None` where the installed Git knows no such ref format.
    fn new(format: &str) -> Option<Self> {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("refwatch-push-{}-{number}", std::process::id()));
        fs::create_dir_all(&home).expect("a temporary directory");
        let mut place = Self { server: home.join("server.git"), home, commits: Default::default() };
        sh(&place.home, &format!("git init -q --bare --ref-format={format} -b main server.git"), &[])?;
        let script = "git init -q client && cd client && for i in A B C; do
            git commit -q --allow-empty -m $i && git rev-parse HEAD || exit; done";
        let commits = sh(&place.home, script, &[]).expect("a client");
        for (commit, line) in place.commits.iter_mut().zip(commits.lines()) {
            line.clone_into(commit);
        }
        // All objects are there, so that somebody else can use them.
        let script = "cd client && git push -q ../server.git $C:refs/keep/c $A:refs/heads/main $A:refs/heads/x $A:refs/heads/y";
        place.sh("..", script, "").expect("a first push");
        Some(place)
    }

    fn sh(&self, directory: &str, script: &str, more: &str) -> Option<String> {
        let [a, b, c] = &self.commits;
        let (log, script_of_hooks) = (self.home.join("log"), self.home.join("more"));
        fs::write(&script_of_hooks, more).expect("written");
        let vars = [
            ("A", &**a),
            ("B", b),
            ("C", c),
            ("LOG", log.to_str().expect("UTF-8")),
            ("MORE", script_of_hooks.to_str().expect("UTF-8")),
        ];
        sh(&self.server.join(directory), script, &vars)
    }

    fn install_hooks(&self) {
        let hooks = self.server.join("hooks");
        fs::create_dir_all(&hooks).expect("made");
        for hook in ["pre-receive", "update", "post-receive", "reference-transaction"] {
            let path = hooks.join(hook);
            fs::write(&path, HOOK).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        }
    }

    fn now(&self) -> BTreeMap<RefName, Target> {
        let script = "git for-each-ref --format='%(refname) %(objectname) %(symref)'";
        let refs = self.sh(".", script, "").expect("refs");
        let entry = |line: &str| {
            let mut words = line.split(' ');
            let (of, oid) = (words.next().expect("a name"), words.next().expect("an id"));
            let target = match words.next().filter(|link| !link.is_empty()) {
                Some(link) => Target::Symbolic(name(link)),
                None => Target::Direct(ObjectId::from_hex(oid.as_bytes()).expect("an id")),
            };
            (name(of), target)
        };
        refs.lines().map(entry).collect()
    }

    /// What the hooks recorded, as the journal would give it.
    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        let log = fs::read_to_string(self.home.join("log")).expect("a hook ran");
        let lines: Vec<&str> = log.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with(' ')) {
            let words: Vec<&str> = line.split(' ').collect();
            let pid: u32 = words[1].parse().expect("a process");
            let id = u64::try_from(at).expect("few") + 1;
            let input = lines[at + 1..].iter().map_while(|line| line.strip_prefix(' '));
            let updates: Vec<Update> = input.filter_map(update).collect();
            // A hook's exit is the next of its receive-pack's lines but those of its input.
            let exit = lines[at + 1..]
                .iter()
                .find(|line| line.split(' ').nth(1) == Some(words[1]) && !line.starts_with(' '))
                .and_then(|line| line.strip_prefix("exit ")?.split(' ').nth(1))
                .map(|status| Refused { status: status.parse().expect("a status"), by: "former".to_owned() });
            match words[0] {
                "pre-receive" => {
                    ledger.record(said(pid, id, Said::Attempted { updates, refused: exit }));
                }
                "update" => {
                    let asked = update(&[words[3], words[4], words[2]].join(" ")).expect("an update");
                    if let Some(refused) = exit {
                        ledger.record(said(pid, id, Said::UpdateRefused { update: asked, refused }));
                    }
                }
                "post-receive" => ledger.record(said(pid, id, Said::Accepted { updates })),
                "reference-transaction" => {
                    let outcome = match words[2] {
                        "committed" => Outcome::Committed,
                        "aborted" => Outcome::Aborted,
                        _ => continue,
                    };
                    ledger.explain(process(pid), &mut transaction(id, outcome, updates));
                }
                _ => {}
            }
        }
        ledger
    }
}

fn update(line: &str) -> Option<Update> {
    let words: Vec<&str> = line.split(' ').collect();
    let value = |hex: &str| match ObjectId::from_hex(hex.as_bytes()) {
        Ok(oid) => Some(Value::Oid(oid)),
        Err(InvalidObjectId::Zero) => Some(Value::Zero),
        Err(InvalidObjectId::Length { .. } | InvalidObjectId::Digit { .. }) => None,
    };
    Some(Update { name: name(words[2]), old: value(words[0])?, new: value(words[1])? })
}

fn play(place: &Place, scene: &Scene) -> BTreeMap<String, String> {
    place.sh(".", scene.given, "").unwrap_or_else(|| panic!("{}: cannot be set up", scene.title));
    place.install_hooks();
    // Names of branches are short here, and what is pushed are ids.
    let specs: Vec<String> = scene
        .push
        .split(' ')
        .map(|word| {
            word.split_once(':').map_or(word.to_owned(), |(from, to)| format!("{from}:refs/heads/{to}"))
        })
        .collect();
    // What refuses makes it fail.
    let _ = place.sh("../client", &format!("git push -q ../server.git {}", specs.join(" ")), scene.hook);
    fs::remove_dir_all(place.server.join("hooks")).expect("hooks were installed");
    let now = place.now();
    let mut ledger = place.ledger();
    let all = close(&mut ledger, &|_| true, &|of| now.get(of).cloned());
    let [closed] = &all[..] else { panic!("{}: {} pushes", scene.title, all.len()) };
    let short = |of: &RefName| of.to_text().trim_start_matches("refs/heads/").to_owned();
    let mut told: BTreeMap<String, String> =
        closed.accepted.iter().map(|update| (short(&update.name), ACCEPTED.to_owned())).collect();
    for rejected in &closed.rejected {
        let why = format!("{} {}", rejected.stage.as_str(), rejected.reason);
        let before = told.insert(short(&rejected.update.name), why);
        assert_eq!(before, None, "{}: told twice: {closed:#?}", scene.title);
    }
    for update in &closed.doubted {
        let before = told.insert(short(&update.name), DOUBTED.to_owned());
        assert_eq!(before, None, "{}: told and doubted: {closed:#?}", scene.title);
    }
    told
}

/// The version of the installed Git; `None` where there is none, which only a developer's machine may do.
#[expect(clippy::print_stderr, reason = "says that nothing was tested")]
fn git_version() -> Option<(u32, u32)> {
    let version = sh(Path::new("."), "git version", &[]);
    if version.is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no git");
        eprintln!("there is no git: nothing was tested");
    }
    let version = version?;
    let mut numbers = version.split(' ').nth(2)?.split('.').map_while(|number| number.trim().parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

fn each_scene(format: &str, scenes: &[&[Scene]]) {
    let mut wrong = Vec::new();
    for scene in scenes.iter().copied().flatten() {
        let Some(place) = Place::new(format) else { return };
        let expected: BTreeMap<String, String> =
            scene.told.iter().map(|(of, why)| ((*of).to_owned(), (*why).to_owned())).collect();
        let found = play(&place, scene);
        if found != expected {
            let log = fs::read_to_string(place.home.join("log")).unwrap_or_default();
            wrong.push(format!("{}: {found:#?} instead of {expected:#?}\n{log}", scene.title));
        }
    }
    assert!(wrong.is_empty(), "{format}: {}", wrong.join("\n"));
}

fn one_by_one(version: (u32, u32)) -> &'static [Scene] {
    // Between the two it is not known.
    if version <= (2, 47) { ONE_BY_ONE } else { &[] }
}

#[test]
fn git_with_files_refuses_as_the_table_says() {
    let Some(version) = git_version() else { return };
    each_scene("files", &[SCENES, FILES, one_by_one(version)]);
}

#[test]
fn git_with_reftable_refuses_as_the_table_says() {
    let Some(version) = git_version() else { return };
    each_scene("reftable", &[SCENES, one_by_one(version)]);
}

#[test]
fn a_packed_ref_whose_deletion_a_hook_refuses_is_not_told_from_others() {
    let Some(_) = git_version() else { return };
    let scene = Scene {
        title: "reference-transaction refuses the deletion of a packed ref",
        given: "git pack-refs --all",
        hook: "[ $hook != reference-transaction ] || [ \"$1\" != prepared ]",
        push: ":x",
        told: &[("x", BY_GIT)],
    };
    each_scene("files", &[&[scene]]);
}
