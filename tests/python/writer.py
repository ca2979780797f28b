"""Writes refs in-process with libgit2 or dulwich, as a Git host does that never runs git: no hook, no process.

`writer.py pygit2|dulwich GIT_DIR edit EDIT...`: as gix-writer has it, an edit is `REF=OID`, `REF=ref:OTHER` or
`REF=delete`. Edits of one call are one transaction where the library has such a thing: of libgit2 they take all locks
before the first ref changes, of dulwich each is by itself.
"""

import os
import sys


def pygit2_edit(git_dir, edits):
    import pygit2

    # Repositories of tests belong to whoever made them.
    pygit2.option(pygit2.enums.Option.SET_OWNER_VALIDATION, False)
    repository = pygit2.Repository(git_dir, pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
    if len(edits) > 1:
        with repository.transaction() as transaction:
            for name, _ in edits:
                transaction.lock_ref(name)
            for name, value in edits:
                if value == "delete":
                    transaction.remove(name)
                elif value.startswith("ref:"):
                    transaction.set_symbolic_target(name, value[4:])
                else:
                    transaction.set_target(name, pygit2.Oid(hex=value))
        return
    for name, value in edits:
        if value == "delete":
            repository.references.delete(name)
        else:
            target = value[4:] if value.startswith("ref:") else pygit2.Oid(hex=value)
            repository.references.create(name, target, force=True)


def dulwich_edit(git_dir, edits):
    from dulwich.reftable import ReftableRefsContainer
    from dulwich.repo import Repo

    with Repo(git_dir) as repository:
        refs = repository.refs

        def old(name):
            # In tables, None does not stand for any value, as it does in files.
            if not isinstance(refs, ReftableRefsContainer):
                return None
            try:
                return refs.read_loose_ref(name)
            except KeyError:
                return None

        for name, value in edits:
            name = name.encode()
            if value == "delete":
                done = refs.remove_if_equals(name, old(name))
            elif value.startswith("ref:"):
                refs.set_symbolic_ref(name, value[4:].encode())
                done = True
            else:
                done = refs.set_if_equals(name, old(name), value.encode())
            if not done:
                sys.exit(f"dulwich did not write {name}")


def main():
    library, git_dir, command, *edits = sys.argv[1:]
    os.environ.update(
        HOME="/nonexistent",
        GIT_COMMITTER_NAME="Ada",
        GIT_COMMITTER_EMAIL="ada@example.com",
        GIT_AUTHOR_NAME="Ada",
        GIT_AUTHOR_EMAIL="ada@example.com",
    )
    if command != "edit":
        sys.exit(f"no such command: {command}")
    edit = {"pygit2": pygit2_edit, "dulwich": dulwich_edit}[library]
    edit(git_dir, [tuple(edit.split("=", 1)) for edit in edits])


main()
