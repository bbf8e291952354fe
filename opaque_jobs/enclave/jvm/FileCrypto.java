package opaquejobs;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.security.GeneralSecurityException;
import java.util.Base64;
import java.util.Map;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.parquet.crypto.DecryptionKeyRetriever;
import org.apache.parquet.crypto.DecryptionPropertiesFactory;
import org.apache.parquet.crypto.EncryptionPropertiesFactory;
import org.apache.parquet.crypto.FileDecryptionProperties;
import org.apache.parquet.crypto.FileEncryptionProperties;
import org.apache.parquet.crypto.KeyAccessDeniedException;
import org.apache.parquet.crypto.ParquetCipher;
import org.apache.parquet.crypto.ParquetCryptoRuntimeException;
import org.apache.parquet.hadoop.api.WriteSupport;

/**
 * Gives Parquet the keys of the run, and refuses everything that the run does not name.
 *
 * Reading: only files of the key table, encrypted footers only, and only keys whose metadata names the very dataset,
 * version and part that the path stands for. Writing: only below the result folder while the agent has it
 * written, always encrypted.
 */
public final class FileCrypto implements DecryptionPropertiesFactory, EncryptionPropertiesFactory {
  private static final byte[] ENCRYPTED_FOOTER = new byte[] {'P', 'A', 'R', 'E'};

  public FileDecryptionProperties getFileDecryptionProperties(Configuration conf, Path path) {
    String name = path.toUri().getPath();
    if (KeyTable.isPlaintextAllowed(name)) {
      return null;
    }
    KeyTable.Part part = KeyTable.file(name);
    if (part == null) {
      throw new ParquetCryptoRuntimeException("this file is no part of the run");
    }
    requireEncryptedFooter(conf, path);
    return FileDecryptionProperties.builder().withKeyRetriever(new Retriever(part)).build();
  }

  public FileEncryptionProperties getFileEncryptionProperties(
      Configuration conf, Path path, WriteSupport.WriteContext context) {
    if (!KeyTable.isResult(path.toUri().getPath())) {
      throw new ParquetCryptoRuntimeException("nothing may be written but the result");
    }
    if (KeyTable.isResultPlaintext()) {
      return null;
    }
    try {
      return FileEncryptionProperties.builder(KeyTable.resultKey())
          .withAlgorithm(ParquetCipher.AES_GCM_V1)
          .withAADPrefix(KeyTable.resultAad().getBytes("UTF-8"))
          .withoutAADPrefixStorage()
          .build();
    } catch (GeneralSecurityException error) {
      throw new ParquetCryptoRuntimeException("no key for the result");
    } catch (IOException error) {
      throw new ParquetCryptoRuntimeException("no key for the result");
    }
  }

  /** A footer in plaintext ("PAR1") is refused before Parquet looks at it, signed or not. */
  private static void requireEncryptedFooter(Configuration conf, Path path) {
    try {
      FileSystem files = path.getFileSystem(conf);
      long length = files.getFileStatus(path).getLen();
      byte[] tail = new byte[4];
      FSDataInputStream stream = files.open(path);
      try {
        stream.readFully(Math.max(0L, length - 4), tail);
      } finally {
        stream.close();
      }
      if (!java.util.Arrays.equals(tail, ENCRYPTED_FOOTER)) {
        throw new ParquetCryptoRuntimeException("a file of the dataset is not encrypted as a whole");
      }
    } catch (IOException error) {
      throw new ParquetCryptoRuntimeException("a file of the dataset cannot be read");
    }
  }

  /** Unwraps the data keys of one file. */
  static final class Retriever implements DecryptionKeyRetriever {
    private final KeyTable.Part part;

    Retriever(KeyTable.Part part) {
      this.part = part;
    }

    public byte[] getKey(byte[] keyMetadata) {
      try {
        ObjectMapper mapper = new ObjectMapper();
        Map material = (Map) mapper.readValue(keyMetadata, Map.class);
        String masterKeyId = String.valueOf(material.get("masterKeyID"));
        Map id = (Map) mapper.readValue(Base64.getUrlDecoder().decode(masterKeyId), Map.class);
        boolean named = "PKMT1".equals(material.get("keyMaterialType"))
            && Boolean.TRUE.equals(material.get("internalStorage"))
            && Boolean.FALSE.equals(material.get("doubleWrapping"))
            && part.dataset.equals(id.get("d"))
            && part.version == ((Number) id.get("v")).intValue()
            && part.part.equals(id.get("p"))
            && id.containsKey("c");
        if (!named) {
          throw new ParquetCryptoRuntimeException("a key of the file is for another file");
        }
        String column = (String) id.get("c");
        byte[] wrapping = KeyTable.wrappingKey(part, column);
        if (wrapping == null) {
          throw new KeyAccessDeniedException("no key was released for this column");
        }
        byte[] wrapped = Base64.getDecoder().decode((String) material.get("wrappedDEK"));
        Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
        cipher.init(Cipher.DECRYPT_MODE, new SecretKeySpec(wrapping, "AES"), new GCMParameterSpec(128, wrapped, 0, 12));
        cipher.updateAAD(masterKeyId.getBytes("UTF-8"));
        return cipher.doFinal(wrapped, 12, wrapped.length - 12);
      } catch (GeneralSecurityException error) {
        throw new ParquetCryptoRuntimeException("a key of the file does not open");
      } catch (IOException error) {
        throw new ParquetCryptoRuntimeException("a key of the file does not parse");
      } catch (IllegalArgumentException error) {
        throw new ParquetCryptoRuntimeException("a key of the file does not parse");
      } catch (ClassCastException error) {
        throw new ParquetCryptoRuntimeException("a key of the file does not parse");
      } catch (NullPointerException error) {
        throw new ParquetCryptoRuntimeException("a key of the file does not parse");
      }
    }
  }
}
