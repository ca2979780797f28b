//! What tags finally name.

use super::*;

fn tag(repo: &Repo, name: &str, of: ObjectId) -> ObjectId {
    repo.git(&["tag", "-a", "-m", name, name, &of.to_hex()]);
    oid(&repo.git(&["rev-parse", &format!("refs/tags/{name}")]))
}

#[test]
fn tags_of_tags_of_anything_are_followed_to_the_end() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let repo = Repo::with(format);
        let commit = repo.commit(&[], "@1600000000 +0000", "root");
        let tree = oid(&repo.git(&["rev-parse", &format!("{commit}^{{tree}}")]));
        let blob = oid(&repo.git_fed(&["hash-object", "-w", "--stdin"], b"content"));
        let mut objects = repo.open();
        for (name, end, kind) in
            [("c", commit, PeeledKind::Commit), ("t", tree, PeeledKind::Tree), ("b", blob, PeeledKind::Blob)]
        {
            assert_eq!(objects.peel(end), Ok(Peeled { oid: end, annotated: false, kind }));
            let once = tag(&repo, name, end);
            let twice = tag(&repo, &format!("{name}-again"), once);
            assert_eq!(objects.peel(once), Ok(Peeled { oid: end, annotated: true, kind }));
            assert_eq!(objects.peel(twice), Ok(Peeled { oid: end, annotated: true, kind }));
        }
        repo.git(&["gc", "-q", "--prune=now"]);
        let packed = oid(&repo.git(&["rev-parse", "refs/tags/c-again"]));
        assert_eq!(objects.peel(packed).map(|peeled| peeled.oid), Ok(commit));
    }
}

#[test]
fn a_tag_is_no_commit_until_it_is_peeled() {
    let repo = Repo::new();
    let commit = repo.commit(&[], "@1600000000 +0000", "root");
    let child = repo.commit(&[commit], "@1600000060 +0000", "child");
    let tag = tag(&repo, "v1", commit);
    let mut objects = repo.open();
    assert_eq!(objects.relation(tag, child, &ROOMY), Relation::Unknown(UnknownReason::NotACommit));
    let peeled = objects.peel(tag).expect("a tag");
    assert_eq!(objects.relation(peeled.oid, child, &ROOMY), Relation::FastForward);
}

#[test]
fn what_is_missing_or_endless_is_said_so() {
    let repo = Repo::new();
    let commit = repo.commit(&[], "@1600000000 +0000", "root");
    let tag_of_lost = tag(&repo, "lost", commit);
    repo.lose(commit);
    let mut objects = repo.open();
    assert_eq!(objects.peel(tag_of_lost), Err(PeelError::Missing { oid: commit }));
    let absent = oid(&"ab".repeat(20));
    assert_eq!(objects.peel(absent), Err(PeelError::Missing { oid: absent }));
    assert_eq!(objects.peel(oid(&"ab".repeat(32))), Err(PeelError::Missing { oid: oid(&"ab".repeat(32)) }));

    let mut last = oid(&repo.git_fed(&["hash-object", "-w", "--stdin"], b"content"));
    let mut kind = "blob";
    let mut write = || {
        let body = format!("object {last}\ntype {kind}\ntag x\ntagger A <a@x> 1 +0000\n\nx\n");
        kind = "tag";
        last = oid(&repo.git_fed(&["mktag", "--no-strict"], body.as_bytes()));
        last
    };
    let deepest = (0..PEEL_DEPTH_MAX).map(|_| write()).last().expect("at least one");
    assert!(objects.peel(deepest).is_ok());
    let too_deep = write();
    assert_eq!(objects.peel(too_deep), Err(PeelError::TooDeep { oid: too_deep }));
}

#[test]
fn a_tag_that_is_no_tag_inside_is_unreadable() {
    let repo = Repo::new();
    let args = ["hash-object", "-t", "tag", "-w", "--stdin", "--literally"];
    let empty = oid(&repo.git_fed(&args, b"nothing"));
    assert_eq!(repo.open().peel(empty), Err(PeelError::Unreadable { oid: empty }));
}
