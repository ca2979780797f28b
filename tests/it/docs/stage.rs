//! Where the commands of documents are run: the real programs, in a place of their own.
//!
//! Addresses and folders that documents name are replaced by those of a daemon that runs here. Programs that would not
//! end, or that CI lacks, have stand-ins in front of them on PATH.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use refwatch_tests::{Block, Daemon, Document, Options, Repo, World, binary, tools};

/// `tail` ends after one event of the past. `serve` is the daemon itself, ended once it listens; where it would listen
/// is left to chance, unless its flags say it.
const REFWATCH: &str = r#"#!/bin/bash
set -euo pipefail
case ${1-} in
tail)
    case " $* " in *" --since "* | *" --snapshot "*) ;; *) set -- "$@" --since earliest ;; esac
    case " $* " in *" --limit "*) ;; *) set -- "$@" --limit 1 ;; esac
    ;;
serve)
    export REFWATCH_GRPC__ADDRESS=127.0.0.1:0 REFWATCH_HTTP__ADDRESS=127.0.0.1:0
    export REFWATCH_STORE__PATH=$PWD/served.db
    "$DOCS_PROGRAM" "$@" --log-format json 2>served.log &
    until grep -q '"message":"listening"' served.log; do
        kill -0 $! 2>/dev/null || { cat served.log >&2; exit 1; }
        sleep 0.05
    done
    kill -TERM $!
    wait $!
    exit
    ;;
esac
exec "$DOCS_PROGRAM" "$@"
"#;

/// What Cargo would run runs; what it would build is built. Names of packages are held against the workspace.
const CARGO: &str = r#"#!/bin/bash
set -euo pipefail
command=$1
shift
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    if [ "$1" = -p ]; then
        case " $DOCS_PACKAGES " in *" $2 "*) ;; *) echo "no package $2" >&2; exit 101 ;; esac
    fi
    shift
done
if [ "$command" = run ]; then shift; exec refwatch "$@"; fi
"#;

/// buf asks the same of the server. Of a stream that does not end the first message is enough.
const GRPCURL: &str = r#"#!/bin/bash
set -euo pipefail
options=(--http2-prior-knowledge --protocol grpc)
is_unix=
while [[ ${1-} == -* ]]; do
    case $1 in
    -plaintext) shift ;;
    -unix) is_unix=1; shift ;;
    -d) options+=(-d "$2"); shift 2 ;;
    -H) options+=(-H "$2"); shift 2 ;;
    *) echo "grpcurl: $1 is not known here" >&2; exit 64 ;;
    esac
done
address=$1
if [ -n "$is_unix" ]; then options+=(--unix-socket "$address"); address=localhost; fi
case $2 in
describe) buf curl "${options[@]}" --list-methods "http://$address" | grep -F "$3" ;;
*/WatchEvents) buf curl "${options[@]}" "http://$address/$2" | head -n 1 | grep . || true ;;
*) buf curl "${options[@]}" "http://$address/$2" ;;
esac
"#;

pub(crate) struct Stage {
    pub(crate) daemon: Daemon,
    pub(crate) repo: Repo,
    pub(crate) world: World,
    programs: PathBuf,
}

impl Stage {
    /// A daemon over two repositories, with a history that documents can show.
    pub(crate) fn new() -> Self {
        let world = World::new();
        let repo = world.repo("app.git");
        let socket = world.beside("grpc.sock");
        let daemon = Options::new(&world).set("grpc.socket", socket.to_str().expect("text")).start();
        let [one, two] = repo.history();
        repo.update(&format!("create refs/heads/main {one}\n"));
        repo.update(&format!("update refs/heads/main {two}\n"));
        daemon.client().sync();
        let programs = world.beside("programs");
        fs::create_dir(&programs).expect("made");
        for (name, script) in [("refwatch", REFWATCH), ("cargo", CARGO), ("grpcurl", GRPCURL)] {
            executable(&programs.join(name), script);
        }
        fs::create_dir(world.beside("here")).expect("made");
        std::os::unix::fs::symlink(binary::refwatch_hook(), programs.join("refwatch-hook")).expect("linked");
        Self { daemon, repo, world, programs }
    }

    /// Commands as they would be typed here.
    pub(crate) fn adapted(&self, commands: &str) -> String {
        let root = self.world.root.to_str().expect("text").to_owned();
        let beside = |name: &str| self.world.beside(name).to_str().expect("text").to_owned();
        let replaced = [
            ("127.0.0.1:50052", self.daemon.grpc().to_string()),
            ("127.0.0.1:5002", self.daemon.http().to_string()),
            ("/run/refwatch/grpc.sock", beside("grpc.sock")),
            ("/var/spool/refwatch", beside("spool")),
            ("/path/to/repositories", root.clone()),
            ("/srv/git", root.clone()),
            ("/data/repos", root),
        ];
        replaced.into_iter().fold(commands.to_owned(), |text, (from, to)| text.replace(from, &to))
    }

    /// Runs a block.
    pub(crate) fn run(&self, block: &Block) -> Output {
        let mut command = bash(&self.adapted(&block.text));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path));
        command
            .env_clear()
            .env("PATH", std::env::join_paths(path).expect("no colon in it"))
            .env("HOME", self.world.beside("here"))
            .env("DOCS_PROGRAM", binary::refwatch())
            .env("REFWATCH_SERVER", self.daemon.grpc().to_string())
            .env("REFWATCH_ROOTS", &self.world.root)
            .env("REFWATCH_STORE__PATH", self.world.database())
            .env("DOCS_PACKAGES", packages().join(" "))
            .current_dir(self.world.beside("here"));
        command.stdin(Stdio::null()).output().expect("bash runs")
    }
}

/// Whether the tools of other projects that blocks use are there.
pub(crate) fn has_tools(block: &Block) -> bool {
    !(block.text.contains("grpcurl") || block.text.contains("buf ")) || tools::buf().is_some()
}

/// Strictly, as in a script.
pub(crate) fn bash(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]);
    command
}

pub(crate) fn executable(path: &Path, script: &str) {
    fs::write(path, script).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable");
}

/// The packages of the workspace.
fn packages() -> Vec<String> {
    let folders = ["proto", "daemon", "watcher", "watcher/core", "watcher/hook", "store", "ops", "tests"];
    let name = |folder: &str| {
        let manifest = fs::read_to_string(Document::root().join(folder).join("Cargo.toml")).expect("read");
        let line = manifest.lines().find_map(|line| line.strip_prefix("name = ")).expect("a name");
        line.trim_matches('"').to_owned()
    };
    folders.into_iter().map(name).collect()
}
