//! What the walk needs of a commit object: its parents and its date.

/// Reads the parents of the commit in `body` into `parents`, and gives the committer's date in seconds since 1970.
///
/// Strict where it decides (the tree and parent lines; gitformat: `git help cat-file`, Documentation/user-manual),
/// lenient with the date: that is only an order in which to look, and 0 where it is not to be understood.
/// `None` where `body` is no commit.
pub(super) fn parse(body: &[u8], parents: &mut Vec<gix::ObjectId>) -> Option<i64> {
    parents.clear();
    let mut lines = body.split(|byte| *byte == b'\n');
    gix::ObjectId::from_hex(lines.next()?.strip_prefix(b"tree ")?).ok()?;
    let mut rest = lines.next();
    while let Some(hex) = rest.and_then(|line| line.strip_prefix(b"parent ")) {
        parents.push(gix::ObjectId::from_hex(hex).ok()?);
        rest = lines.next();
    }
    rest?.strip_prefix(b"author ")?;
    Some(lines.next().and_then(date).unwrap_or(0))
}

/// The seconds in `committer Name <mail> seconds zone`.
fn date(line: &[u8]) -> Option<i64> {
    let line = line.strip_prefix(b"committer ")?;
    let mail_end = line.iter().rposition(|byte| *byte == b'>')?;
    let text = std::str::from_utf8(&line[mail_end + 1..]).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn parse_text(text: &str) -> Option<(i64, usize)> {
        let mut parents = Vec::new();
        parse(text.as_bytes(), &mut parents).map(|date| (date, parents.len()))
    }

    #[test]
    fn parents_and_date_are_read() {
        let who = "A <a@b> 5 +0000\ncommitter A > B <a@b> 1700000000 +0100\n\nparent x\n";
        assert_eq!(parse_text(&format!("tree {ID}\nauthor {who}")), Some((1_700_000_000, 0)));
        assert_eq!(
            parse_text(&format!("tree {ID}\nparent {ID}\nparent {ID}\nauthor {who}")),
            Some((1_700_000_000, 2))
        );
    }

    #[test]
    fn a_strange_date_is_zero_and_a_strange_parent_is_no_commit() {
        assert_eq!(parse_text(&format!("tree {ID}\nauthor A\ncommitter B <> soon +0000\n")), Some((0, 0)));
        assert_eq!(parse_text(&format!("tree {ID}\nauthor A\n")), Some((0, 0)));
        assert_eq!(parse_text(&format!("tree {ID}\nparent 123\nauthor A\ncommitter B <> 1 +0000\n")), None);
        assert_eq!(parse_text(&format!("tree {ID}\nparent {ID}\n")), None);
        assert_eq!(parse_text("blob"), None);
    }
}
