import java.io.File;
import org.eclipse.jgit.internal.storage.file.FileRepository;
import org.eclipse.jgit.lib.BatchRefUpdate;
import org.eclipse.jgit.lib.NullProgressMonitor;
import org.eclipse.jgit.lib.ObjectId;
import org.eclipse.jgit.lib.Ref;
import org.eclipse.jgit.lib.RefUpdate;
import org.eclipse.jgit.lib.Repository;
import org.eclipse.jgit.revwalk.RevWalk;
import org.eclipse.jgit.transport.ReceiveCommand;

/**
 * Writes refs in-process with JGit, as Gerrit does: no hook, no process.
 *
 * <p>{@code Writer GIT_DIR edit EDIT...}: as gix-writer has it, an edit is {@code REF=OID}, {@code REF=ref:OTHER} or
 * {@code REF=delete}. Several edits are one atomic batch, which JGit writes into packed-refs.
 */
public final class Writer {
  public static void main(String[] arguments) throws Exception {
    if (arguments.length < 3 || !arguments[1].equals("edit")) {
      throw new IllegalArgumentException("Writer GIT_DIR edit EDIT...");
    }
    try (Repository repository = new FileRepository(new File(arguments[0]))) {
      if (arguments.length == 3) {
        one(repository, arguments[2]);
      } else {
        batch(repository, arguments);
      }
    }
  }

  private static void one(Repository repository, String edit) throws Exception {
    String name = edit.substring(0, edit.indexOf('='));
    String value = edit.substring(name.length() + 1);
    RefUpdate update = repository.updateRef(name, true);
    update.setForceUpdate(true);
    RefUpdate.Result result;
    if (value.equals("delete")) {
      result = update.delete();
    } else if (value.startsWith("ref:")) {
      result = update.link(value.substring(4));
    } else {
      update.setNewObjectId(ObjectId.fromString(value));
      result = update.update();
    }
    switch (result) {
      case NEW, FORCED, FAST_FORWARD, NO_CHANGE, RENAMED -> { }
      default -> throw new IllegalStateException(edit + ": " + result);
    }
  }

  private static void batch(Repository repository, String[] arguments) throws Exception {
    BatchRefUpdate batch = repository.getRefDatabase().newBatchUpdate();
    batch.setAllowNonFastForwards(true);
    batch.setAtomic(true);
    for (int at = 2; at < arguments.length; at++) {
      String name = arguments[at].substring(0, arguments[at].indexOf('='));
      String value = arguments[at].substring(name.length() + 1);
      Ref now = repository.exactRef(name);
      ObjectId before = now == null ? ObjectId.zeroId() : now.getObjectId();
      ObjectId after = value.equals("delete") ? ObjectId.zeroId() : ObjectId.fromString(value);
      batch.addCommand(new ReceiveCommand(before, after, name));
    }
    try (RevWalk walk = new RevWalk(repository)) {
      batch.execute(walk, NullProgressMonitor.INSTANCE);
    }
    for (ReceiveCommand command : batch.getCommands()) {
      if (command.getResult() != ReceiveCommand.Result.OK) {
        throw new IllegalStateException(command + ": " + command.getMessage());
      }
    }
  }
}
