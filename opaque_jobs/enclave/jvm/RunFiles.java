package opaquejobs;

import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.util.EnumSet;
import org.apache.hadoop.fs.CreateFlag;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RawLocalFileSystem;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.util.Progressable;

/**
 * All files that the engine reads or writes through Hadoop, whatever command it obeys: it may make Parquet files of the
 * result, encrypted but in test runs, while the agent has it write the result, and no other file. What is not sent through
 * Hadoop meets the same wall in the engine's mount namespace.
 *
 * Hadoop asks `ls` and `chmod` about permissions. There are no such programs in the enclave: one user owns all of it, and the
 * mask that the engine was started with makes every file private.
 */
public final class RunFiles extends RawLocalFileSystem {
  public FSDataOutputStream create(
      Path path, FsPermission permission, boolean overwrite, int buffer, short replication, long block, Progressable told)
      throws IOException {
    requireResult(path);
    return guarded(super.create(path, permission, false, buffer, replication, block, told));
  }

  public FSDataOutputStream create(
      Path path, boolean overwrite, int buffer, short replication, long block, Progressable told) throws IOException {
    requireResult(path);
    return guarded(super.create(path, false, buffer, replication, block, told));
  }

  public FSDataOutputStream createNonRecursive(
      Path path, FsPermission permission, EnumSet flags, int buffer, short replication, long block, Progressable told)
      throws IOException {
    throw new WriteRefused();
  }

  public FSDataOutputStream append(Path path, int buffer, Progressable told) throws IOException {
    throw new WriteRefused();
  }

  public void createSymlink(Path target, Path link, boolean parents) throws IOException {
    throw new WriteRefused();
  }

  public void setPermission(Path path, FsPermission permission) {}

  public void setOwner(Path path, String user, String group) {}

  public FileStatus getFileStatus(Path path) throws IOException {
    return plain(super.getFileStatus(path));
  }

  public FileStatus[] listStatus(Path path) throws IOException {
    FileStatus[] found = super.listStatus(path);
    for (int i = 0; i < found.length; i++) {
      found[i] = plain(found[i]);
    }
    return found;
  }

  private static FileStatus plain(FileStatus found) {
    return new FileStatus(
        found.getLen(), found.isDirectory(), found.getReplication(), found.getBlockSize(), found.getModificationTime(),
        found.getPath());
  }

  private static void requireResult(Path path) throws IOException {
    if (!KeyTable.isResult(path.toUri().getPath()) || !path.getName().endsWith(".parquet")) {
      throw new WriteRefused();
    }
  }

  private static FSDataOutputStream guarded(FSDataOutputStream inner) throws IOException {
    return new FSDataOutputStream(new Guarded(inner), null);
  }

  /** Nothing may be written but the result. */
  public static final class WriteRefused extends IOException {
    WriteRefused() {
      super("nothing may be written but the result");
    }
  }

  /** The result has more bytes than the output policy allows. */
  public static final class ResultTooLarge extends IOException {
    ResultTooLarge() {
      super("the result has more bytes than the output policy allows");
    }
  }

  /** Demands the form by the first bytes, and counts all. */
  static final class Guarded extends FilterOutputStream {
    private int seen = 0;

    Guarded(OutputStream inner) {
      super(inner);
    }

    public void write(int value) throws IOException {
      write(new byte[] {(byte) value}, 0, 1);
    }

    public void write(byte[] data, int start, int count) throws IOException {
      byte[] magic = KeyTable.resultMagic();
      for (int i = 0; i < count && seen < magic.length; i++) {
        if (data[start + i] != magic[seen++]) {
          throw new WriteRefused();
        }
      }
      if (!KeyTable.takeBytes(count)) {
        throw new ResultTooLarge();
      }
      out.write(data, start, count);
    }
  }
}
