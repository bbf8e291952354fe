package opaquejobs;

import java.security.GeneralSecurityException;
import java.util.HashMap;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * The keys of one run, in the engine's memory only: never in a configuration, an argument or the environment.
 *
 * The agent fills the table over its own gateway, then freezes it; nothing can be added afterwards. Written for Janino,
 * which has neither lambdas nor generic inference.
 */
public final class KeyTable {
  private static final Map FILES = new HashMap();
  private static final Map KEYS = new HashMap();
  private static boolean frozen = false;
  private static String plaintextRoot = null;
  private static String resultRoot = null;
  private static String runId = null;
  private static byte[] resultKey = null;
  private static boolean resultOpen = false;
  private static long resultBytesLeft = 0L;

  private KeyTable() {}

  /** One file that may be read: what it has to be. */
  static final class Part {
    final String dataset;
    final int version;
    final String part;

    Part(String dataset, int version, String part) {
      this.dataset = dataset;
      this.version = version;
      this.part = part;
    }
  }

  private static void open() {
    if (frozen) {
      throw new IllegalStateException("the key table is frozen");
    }
  }

  /** Allow a file: this path has to be this part of this dataset version. */
  public static synchronized void addFile(String path, String dataset, int version, String part) {
    open();
    FILES.put(path, new Part(dataset, version, part));
  }

  /** Add the key of a column, or of the footer (column null). */
  public static synchronized void addKey(String dataset, int version, String column, byte[] key) {
    open();
    KEYS.put(name(dataset, version, column), (byte[]) key.clone());
  }

  /** Test runs only: files below this folder may be plaintext. */
  public static synchronized void allowPlaintext(String root) {
    open();
    plaintextRoot = root;
  }

  /**
   * Name the only folder that may be written, how many bytes, and the key that its files get theirs from; no key in test
   * runs only.
   */
  public static synchronized void setResult(String root, String run, byte[] key, long maxBytes) {
    open();
    if (key == null && plaintextRoot == null) {
      throw new IllegalStateException("a result without a key");
    }
    resultRoot = root;
    runId = run;
    resultKey = key == null ? null : (byte[]) key.clone();
    resultBytesLeft = maxBytes;
  }

  /** Let the result be written, or no longer: only while the agent has it written. */
  public static synchronized void openResult(boolean open) {
    resultOpen = open && frozen;
  }

  /** Close the table. */
  public static synchronized void freeze() {
    frozen = true;
  }

  static synchronized Part file(String path) {
    return (Part) FILES.get(path);
  }

  static synchronized boolean isPlaintextAllowed(String path) {
    return frozen && plaintextRoot != null && path.startsWith(plaintextRoot);
  }

  static synchronized boolean isResult(String path) {
    return resultOpen && resultRoot != null && path.startsWith(resultRoot);
  }

  static synchronized String resultAad() {
    return runId + "|result";
  }

  static synchronized boolean isResultPlaintext() {
    return frozen && plaintextRoot != null && resultKey == null;
  }

  /** First bytes of a file of the result. */
  static synchronized byte[] resultMagic() {
    return new byte[] {'P', 'A', 'R', (byte) (isResultPlaintext() ? '1' : 'E')};
  }

  /** Take bytes out of what the result may have; false if so many are not left. */
  static synchronized boolean takeBytes(long count) {
    resultBytesLeft -= count;
    return resultBytesLeft >= 0L;
  }

  static synchronized byte[] resultKey() throws GeneralSecurityException {
    return hkdf(resultKey, "opaque-jobs/v1|result|" + runId + "|parquet");
  }

  /** The key that wraps one column's (or the footer's) data key in one part; null where none was released. */
  static synchronized byte[] wrappingKey(Part part, String column) throws GeneralSecurityException {
    byte[] key = (byte[]) KEYS.get(name(part.dataset, part.version, column));
    return key == null ? null : hkdf(key, "part|" + part.part);
  }

  private static String name(String dataset, int version, String column) {
    return dataset + "\n" + version + (column == null ? "\nf" : "\nc" + column);
  }

  /** HKDF-SHA256 (RFC 5869), no salt, 32 bytes. */
  private static byte[] hkdf(byte[] key, String info) throws GeneralSecurityException {
    try {
      byte[] expanded = mac(mac(new byte[32], key, false), info.getBytes("UTF-8"), true);
      return expanded;
    } catch (java.io.UnsupportedEncodingException error) {
      throw new IllegalStateException("no UTF-8");
    }
  }

  private static byte[] mac(byte[] key, byte[] text, boolean last) throws GeneralSecurityException {
    Mac mac = Mac.getInstance("HmacSHA256");
    mac.init(new SecretKeySpec(key, "HmacSHA256"));
    mac.update(text);
    if (last) {
      mac.update((byte) 1);
    }
    return mac.doFinal();
  }
}
