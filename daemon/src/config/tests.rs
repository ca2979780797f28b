use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

/// A folder with a root `git` and a settings file.
struct Place {
    directory: tempfile::TempDir,
    around: Surroundings,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("git")).expect("made");
        let home = directory.path().join("home");
        let around = Surroundings {
            variables: BTreeMap::from([("HOME".into(), home.into())]),
            directory: directory.path().to_owned(),
            privileged: false,
        };
        Self { directory, around }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.around.variables.insert(name.into(), value.into());
        self
    }

    fn file(self, text: &str) -> Self {
        let folder = self.path().join("etc");
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("refwatch.toml"), text).expect("written");
        self.variable(CONFIG_VARIABLE, "etc/refwatch.toml")
    }

    fn load(&self, flags: &[(&str, &'static str, &str)]) -> Loaded {
        let flags = flags.iter().map(|(key, flag, value)| FlagGiven {
            key: (*key).to_owned(),
            flag,
            value: FlagValue::Text((*value).to_owned()),
        });
        load(&Given { file: None, flags: flags.collect() }, &self.around)
    }
}

fn texts(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_root_is_enough() {
    let place = Place::new();
    let loaded = place.load(&[("roots", "--root", "git")]);
    assert_eq!(texts(&loaded), [""; 0]);
    let settings = &loaded.config.settings;
    assert_eq!(settings.roots, [place.path().join("git")]);
    assert_eq!(settings.store.path, place.path().join("home/.local/state/refwatch/refwatch.db"));
    assert_eq!(format!("{:?}", settings.grpc), format!("{:?}", Settings::default().grpc));
}

#[test]
fn flags_are_stronger_than_variables_and_those_than_the_file() {
    let text = "roots = [\"../git\"]\n[watch]\nworkers = 1\ndepth_max = 1\npoll_interval_ms = 100\n";
    let place = Place::new()
        .file(text)
        .variable("REFWATCH_WATCH__WORKERS", "2")
        .variable("REFWATCH_WATCH__DEPTH_MAX", "2");
    let loaded = place.load(&[("watch.workers", "--set", "3")]);
    assert_eq!(texts(&loaded), [""; 0]);
    let watch = &loaded.config.settings.watch;
    assert_eq!((watch.workers, watch.depth_max, watch.poll_interval.as_millis()), (3, 2, 100));
    let file = Source::File(place.path().join("etc/refwatch.toml"));
    assert_eq!(loaded.source("watch.workers"), &Source::Flag("--set".to_owned()));
    assert_eq!(loaded.source("watch.depth_max"), &Source::Variable("REFWATCH_WATCH__DEPTH_MAX".to_owned()));
    assert_eq!(loaded.source("watch.poll_interval_ms"), &file);
    assert_eq!(loaded.source("watch.mode"), &Source::Default);
}

#[test]
fn everything_wrong_is_told_at_once_with_place_key_and_remedy() {
    let text = r#"
        poll_interval_ms = 5
        watch = { worker = 3, workers = "3", poll_interval_ms = 5, depth_max = 3.5, mode = true, sweep_interval_s = -1 }
        grcp.address = "127.0.0.1:1"
        http = 3
        [store]
        synchronous = "ful"
        retention_age_s = []
        [classify]
        release_patterns = ["ok", "v[", 3]
        "#;
    let place = Place::new()
        .file(text)
        .variable("REFWATCH_GRPC_ADDRESS", "127.0.0.1:1")
        .variable("REFWATCH_GRPC__SUBSCRIBERS_MAX", "many")
        .variable("REFWATCH_SERVICE_PORT", "tcp://10.0.0.1:50052")
        .variable("REFWATCH_GRPC__SOCKET", "");
    let loaded = place.load(&[
        ("grpc.address", "--grpc", "localhost"),
        ("log.levle", "--set", "info"),
        ("grpc.allow_plaintext", "--set", "yes"),
    ]);
    let file = place.path().join("etc/refwatch.toml").display().to_string();
    let number = |from: &str, to: &str| format!("expected a whole number from {from} to {to}, found");
    let expected = [
        format!("{file}: grcp.address: no such setting; did you mean grpc.address?"),
        format!("{file}: http: is a section: write [http] and its settings below"),
        format!("{file}: poll_interval_ms: no such setting; did you mean watch.poll_interval_ms?"),
        format!("{file}: watch.worker: no such setting; did you mean watch.workers?"),
        "REFWATCH_GRPC_ADDRESS: no setting has this variable; did you mean REFWATCH_GRPC__ADDRESS?"
            .to_owned(),
        "--set: log.levle: no such setting; did you mean log.level?".to_owned(),
        format!("{file}: store.synchronous: expected full or normal, found \"ful\""),
        format!("{file}: store.retention_age_s: {} a list", number("0", "3153600000")),
        format!("{file}: watch.mode: expected auto or poll, found true"),
        format!("{file}: watch.poll_interval_ms: {} 5", number("10", "3600000")),
        format!("{file}: watch.sweep_interval_s: {} -1", number("1", "86400")),
        format!("{file}: watch.depth_max: {} 3.5", number("1", "64")),
        format!("{file}: watch.workers: {} \"3\"", number("1", "64")),
        format!("{file}: classify.release_patterns: expected a list of globs, found 3"),
        "--grpc: grpc.address: expected an address and port such as 127.0.0.1:50052 or [::1]:50052, \
         found \"localhost\""
            .to_owned(),
        "--set: grpc.allow_plaintext: expected true or false, found \"yes\"".to_owned(),
        format!("REFWATCH_GRPC__SUBSCRIBERS_MAX: grpc.subscribers_max: {} \"many\"", number("1", "100000")),
        "settings: roots: no folder is named; give --root DIR, or roots = [\"/srv/git\"] in the settings file"
            .to_owned(),
    ];
    assert_eq!(texts(&loaded), expected);
}

#[test]
fn roots_that_cannot_serve_are_told_by_name() {
    let place = Place::new();
    let directory = place.path();
    fs::create_dir(directory.join("git/inner")).expect("made");
    fs::write(directory.join("file"), "").expect("written");
    std::os::unix::fs::symlink(directory.join("git"), directory.join("link")).expect("made");
    let roots = ["git", "missing", "file", "git/inner", "link", "git"];
    let flag = FlagGiven {
        key: "roots".to_owned(),
        flag: "--root",
        value: FlagValue::List(roots.map(str::to_owned).to_vec()),
    };
    let loaded = load(&Given { file: None, flags: vec![flag] }, &place.around);
    let at = |name: &str| directory.join(name).display().to_string();
    assert_eq!(
        texts(&loaded),
        [
            format!("--root: roots: {}: No such file or directory (os error 2)", at("missing")),
            format!("--root: roots: {}: is not a folder", at("file")),
            format!("--root: roots: {} is inside {}; leave it out", at("git/inner"), at("git")),
            format!("--root: roots: {} and {} are the same folder; name it once", at("git"), at("link")),
            format!("--root: roots: {} is inside {}; leave it out", at("git/inner"), at("link")),
            format!("--root: roots: {} and {} are the same folder; name it once", at("git"), at("git")),
            format!("--root: roots: {} is inside {}; leave it out", at("git/inner"), at("git")),
            format!("--root: roots: {} and {} are the same folder; name it once", at("link"), at("git")),
        ]
    );
}

#[test]
fn what_does_not_go_together_is_told() {
    let place = Place::new()
        .file("roots = [\"../git\"]\n[grpc]\ntls_key = \"missing.key\"\naddress = \"0.0.0.0:50052\"\n");
    fs::create_dir(place.path().join("db")).expect("made");
    let loaded = place.load(&[("http.address", "--http", "0.0.0.0:50052"), ("store.path", "--db", "db")]);
    let told = texts(&loaded).join("\n");
    for part in [
        "db is a folder; name a file in it",
        "etc/missing.key: No such file",
        "grpc.tls_key: needs grpc.tls_certificate as well",
        "0.0.0.0:50052 is not a loopback address, so it needs TLS",
        "--http: http.address: 0.0.0.0:50052 is grpc.address too",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    assert_eq!(loaded.problems.len(), 5);
    let loaded = place.load(&[("grpc.allow_plaintext", "--set", "true"), ("http.address", "--http", "off")]);
    assert!(!texts(&loaded).join("\n").contains("loopback"));
    assert_eq!(loaded.config.settings.http.address, None);
}

#[test]
fn paths_are_relative_to_where_they_are_written() {
    let place = Place::new().file("roots = [\"../git/.\"]\n[store]\npath = \"log.db\"\n");
    let of_file = place.load(&[]).config.settings;
    assert_eq!(of_file.store.path, place.path().join("etc/log.db"));
    assert_eq!(of_file.roots, [place.path().join("etc/../git")]);
    let of_flag = place.load(&[("store.path", "--db", "log.db")]).config.settings;
    assert_eq!(of_flag.store.path, place.path().join("log.db"));
}

#[test]
fn lists_in_variables_are_spelt_as_in_path_or_as_in_toml() {
    let roots = |text: &str| Place::new().variable("REFWATCH_ROOTS", text).load(&[]).config.settings.roots;
    assert_eq!(roots("/a:/b"), [Path::new("/a"), Path::new("/b")]);
    assert_eq!(roots("[\"/a:b\", \"/c\"]"), [Path::new("/a:b"), Path::new("/c")]);
    let place = Place::new().variable("REFWATCH_CLASSIFY__RELEASE_PATTERNS", "[0-9]*");
    assert_eq!(place.load(&[]).config.settings.classify.release_patterns, ["[0-9]*"]);
}

#[test]
fn a_file_that_cannot_be_used_is_told_and_the_rest_is_checked_all_the_same() {
    let place = Place::new().file("roots = [\n").variable("REFWATCH_WATCH__WORKERS", "0");
    let told = texts(&place.load(&[]));
    assert!(told[0].contains("refwatch.toml: is not TOML: TOML parse error at line"), "{told:?}");
    assert!(told[1].starts_with("REFWATCH_WATCH__WORKERS: watch.workers: expected"), "{told:?}");
    let place = Place::new().variable(CONFIG_VARIABLE, "/no/such/file.toml");
    assert!(texts(&place.load(&[]))[0].starts_with("/no/such/file.toml: cannot be read"));
}

#[test]
fn the_database_goes_where_the_platform_keeps_state() {
    let path = |around: &Surroundings| place::database(around);
    let mut around = Surroundings { variables: BTreeMap::new(), directory: "/".into(), privileged: false };
    assert_eq!(path(&around), None);
    let mut set = |name: &str, value: &str, expected: &str| {
        around.variables.insert(name.into(), value.into());
        assert_eq!(place::database(&around), Some(PathBuf::from(expected)));
    };
    set("HOME", "/home/a", "/home/a/.local/state/refwatch/refwatch.db");
    set("XDG_STATE_HOME", "relative", "/home/a/.local/state/refwatch/refwatch.db");
    set("XDG_STATE_HOME", "/state", "/state/refwatch/refwatch.db");
    set("STATE_DIRECTORY", "/var/lib/private/refwatch:/other", "/var/lib/private/refwatch/refwatch.db");
    around.variables.remove(std::ffi::OsStr::new("STATE_DIRECTORY"));
    around.privileged = true;
    assert_eq!(path(&around), Some(PathBuf::from("/var/lib/refwatch/refwatch.db")));
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    let place = Place::new();
    let defaults = place.load(&[("roots", "--root", "git")]);
    let place = place.file(&reference());
    let printed = place.load(&[("roots", "--root", "git")]);
    assert_eq!(texts(&printed), [""; 0]);
    assert_eq!(format!("{:?}", printed.config), format!("{:?}", defaults.config));
    let with_a_value = SETTINGS.iter().filter(|setting| setting.example.is_none()).count();
    assert_eq!(printed.sources.len(), with_a_value + 1);
}

#[test]
fn the_printed_settings_are_the_settings() {
    let place = Place::new().file("roots = [\"../git\"]\nbaseline = \"emit\"\n[log]\nformat = \"json\"\n");
    let loaded =
        place.load(&[("grpc.socket", "--set", "/run/a \"b\".sock"), ("http.address", "--http", "off")]);
    let text = effective(&loaded);
    assert!(text.contains("baseline = \"emit\" # ") && text.contains("address = \"off\" # --http"), "{text}");
    let printed = Place::new().file(&text).load(&[]);
    assert_eq!(texts(&printed), [""; 0]);
    assert_eq!(format!("{:?}", printed.config), format!("{:?}", loaded.config));
}

#[test]
fn every_setting_can_be_set_and_read_back() {
    for setting in SETTINGS {
        let section = setting.key.split_once('.').map(|(section, _)| section);
        assert!(
            section.is_none_or(|section| table::known(section) == table::Known::Section),
            "{}",
            setting.key
        );
        let Some(value) = setting.kind.print(&Draft::default()) else { continue };
        let mut draft = Draft::default();
        let value: figment::value::Value = figment::value::Value::serialize(&value).expect("a value");
        let context = Context { syntax: Syntax::Typed, base: Path::new("/") };
        assert_eq!(setting.kind.apply(&mut draft, &value, &context), Ok(()), "{}", setting.key);
    }
    assert!(markdown().lines().count() == SETTINGS.len() + 2);
}

#[test]
fn kubernetes_service_links_are_no_settings() {
    let mut place = Place::new();
    for name in [
        "REFWATCH_SERVICE_HOST",
        "REFWATCH_SERVICE_PORT",
        "REFWATCH_SERVICE_PORT_GRPC",
        "REFWATCH_PORT",
        "REFWATCH_PORT_50052_TCP",
        "REFWATCH_PORT_50052_TCP_ADDR",
        "REFWATCH_HEADLESS_SERVICE_HOST",
    ] {
        place = place.variable(name, "x");
    }
    assert_eq!(texts(&place.load(&[("roots", "--root", "git")])), [""; 0]);
}

#[test]
fn secrets_that_every_user_of_the_machine_may_open_are_warned_of() {
    let hash = format!("sha256:{} scope=watch\n", "0".repeat(64));
    let both = format!("{hash}a-token-as-it-is\n");
    let table = [
        ("grpc.tls_key", "a key", 0o600, None),
        ("grpc.tls_key", "a key", 0o640, None),
        ("grpc.tls_key", "a key", 0o644, Some("may read it")),
        ("grpc.shared_secret_file", "the-secret-of-the-host", 0o644, Some("may read it")),
        ("grpc.shared_secret_file", "the-secret-of-the-host", 0o602, Some("may change it")),
        ("grpc.token_file", &both, 0o660, None),
        ("grpc.token_file", &both, 0o644, Some("or put hashes into it")),
        ("grpc.token_file", &hash, 0o644, None),
        ("grpc.token_file", &hash, 0o646, Some("may change it")),
    ];
    for (key, content, mode, said) in table {
        let place = Place::new();
        let path = place.path().join("file");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        let loaded = place.load(&[("roots", "--root", "git"), (key, "--set", path.to_str().expect("text"))]);
        let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), usize::from(said.is_some()), "{key} {mode:o}: {warnings:?}");
        for (warning, said) in warnings.iter().zip(said) {
            let shown = path.display();
            let begin = format!("--set: {key}: {shown} has mode {mode:04o}: every user of this machine ");
            let remedy = format!("run `chmod o= {shown}`");
            let holds = warning.starts_with(&begin) && warning.contains(said) && warning.contains(&remedy);
            assert!(holds, "{warning}");
        }
    }
}
