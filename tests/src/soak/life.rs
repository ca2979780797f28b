//! Acts upon whole repositories: they come, move, go, are hidden, and come anew.

use std::fs;
use std::path::Path;

use crate::git::git_in;
use crate::random::Random;
use crate::world::Repo;

use super::yard::{Kind, Place, Slot, Whereabouts, Yard};

/// One act. Nobody else is at this repository meanwhile.
pub(super) fn step(yard: &Yard, slot: &Slot, random: &mut Random) {
    let mut place = slot.write();
    let path = place.repo.path.clone();
    let choice = random.below(12);
    let act = match (place.whereabouts.clone(), choice) {
        (Whereabouts::There, 0..4) => {
            rename(yard, &mut place, random);
            "Moved"
        }
        (Whereabouts::There, 4) if place.kind == Kind::Hooked => {
            let install = !place.is_hooked;
            yard.hook(&mut place, install);
            "HooksCameOrWent"
        }
        (Whereabouts::There, 4..6) => {
            fs::remove_dir_all(&place.repo.git_dir).expect("removed");
            place.whereabouts = Whereabouts::Gone;
            "Deleted"
        }
        (Whereabouts::There, 6..9) => {
            fs::remove_dir_all(&place.repo.git_dir).expect("removed");
            appear(yard, &mut place, random);
            "MadeAnew"
        }
        (Whereabouts::There, _) => {
            let hidden = yard.world.beside(&format!("hidden-{}", yard.serial()));
            fs::rename(&place.repo.git_dir, &hidden).expect("renamed");
            place.whereabouts = Whereabouts::Hidden(hidden);
            "Hidden"
        }
        (Whereabouts::Hidden(hidden), _) => {
            fs::create_dir_all(parent(&place.repo)).expect("made");
            fs::rename(hidden, &place.repo.git_dir).expect("renamed");
            place.whereabouts = Whereabouts::There;
            "Restored"
        }
        (Whereabouts::Gone, _) => {
            appear(yard, &mut place, random);
            "Made"
        }
    };
    // What moves is the same repository, and no record is lost.
    if act != "Moved" {
        let mut lanes = slot.lanes();
        lanes.is_uncertain = true;
        if !matches!(act, "Hidden" | "Restored" | "HooksCameOrWent") {
            lanes.by_name.clear();
        }
    }
    yard.diary.act(&path, act, &place.repo.path, Ok(()));
}

fn parent(repo: &Repo) -> &Path {
    repo.git_dir.parent().expect("below the root")
}

fn rename(yard: &Yard, place: &mut Place, random: &mut Random) {
    let path = format!("g{}/m{}.git", random.below(4), yard.serial());
    let to = yard.world.root.join(&path);
    fs::create_dir_all(to.parent().expect("below the root")).expect("made");
    fs::rename(&place.repo.git_dir, &to).expect("renamed");
    place.repo = Repo::at(to, &path, place.repo.flavour);
}

/// Comes to its path in one of the ways in which repositories come.
fn appear(yard: &Yard, place: &mut Place, random: &mut Random) {
    let flavour = Yard::flavour(random);
    let way = random.below(5);
    if way < 2 {
        yard.create(place, flavour, random);
        return;
    }
    place.repo = Repo::at(place.repo.git_dir.clone(), &place.repo.path, flavour);
    let from = yard.source(&place.repo).0.git_dir.clone();
    let how = if way == 2 { "--bare" } else { "--mirror" };
    let format = format!("--ref-format={}", flavour.ref_format);
    fs::create_dir_all(parent(&place.repo)).expect("made");
    let to = if way < 4 {
        place.repo.git_dir.clone()
    } else {
        yard.world.beside(&format!("copy-{}", yard.serial()))
    };
    let [from, target] = [&from, &to].map(|path| path.to_str().expect("paths of tests are text"));
    git_in(&yard.world.root, &["clone", "-q", how, "--no-tags", "--template=", &format, from, target]);
    if to != place.repo.git_dir {
        copy(&to, &place.repo.git_dir, random);
        fs::remove_dir_all(&to).expect("removed");
    }
    yard.furnish(place, random);
}

/// Copies file by file in any order, each under another name first, as rsync does.
fn copy(from: &Path, to: &Path, random: &mut Random) {
    fs::create_dir_all(to).expect("made");
    let mut entries: Vec<_> =
        fs::read_dir(from).expect("listed").map(|entry| entry.expect("listed")).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    while !entries.is_empty() {
        let entry = entries.swap_remove(random.below(entries.len()));
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target, random);
        } else {
            let temporary = to.join(format!(".{}.Xq3f9z", entry.file_name().to_string_lossy()));
            fs::copy(entry.path(), &temporary).expect("copied");
            fs::rename(&temporary, &target).expect("renamed");
        }
    }
}
