package org.apache.arrow.vector;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import org.apache.arrow.memory.ArrowBuf;
import org.apache.arrow.vector.complex.ListVector;
import org.apache.arrow.vector.complex.NonNullableStructVector;
import org.apache.arrow.vector.compression.CompressionCodec;
import org.apache.arrow.vector.compression.NoCompressionCodec;
import org.apache.arrow.vector.ipc.message.ArrowFieldNode;
import org.apache.arrow.vector.ipc.message.ArrowRecordBatch;

/**
 * Stands in for Arrow's class of this name, the one door through which Arrow data comes into the engine: what the author sends,
 * and what Python workers, which are the author's, send back. Arrow loads buffers as they are and Spark takes strings from
 * where the offsets say, past any bounds check; here every length and offset is checked first, and what is not known is refused.
 *
 * Our jar is first on the class path. That this class is the one in use is seen by the tests that attack it.
 */
public class VectorLoader {
  private final VectorSchemaRoot root;

  public VectorLoader(VectorSchemaRoot root) {
    this.root = root;
  }

  public VectorLoader(VectorSchemaRoot root, CompressionCodec.Factory factory) {
    this(root);
  }

  /** Load a batch into the vectors; the caller closes the batch. */
  public void load(ArrowRecordBatch batch) {
    require(batch.getBodyCompression().getCodec() == NoCompressionCodec.COMPRESSION_TYPE);
    require(batch.getVariadicBufferCounts() == null || batch.getVariadicBufferCounts().isEmpty());
    Iterator nodes = batch.getNodes().iterator();
    Iterator buffers = batch.getBuffers().iterator();
    Iterator vectors = root.getFieldVectors().iterator();
    while (vectors.hasNext()) {
      load((FieldVector) vectors.next(), batch.getLength(), true, nodes, buffers);
    }
    require(!nodes.hasNext() && !buffers.hasNext());
    root.setRowCount(batch.getLength());
  }

  /** Load a vector that has to have so many values, or at least so many. */
  private static void load(FieldVector vector, long needed, boolean exact, Iterator nodes, Iterator buffers) {
    require(nodes.hasNext());
    ArrowFieldNode node = (ArrowFieldNode) nodes.next();
    int count = node.getLength();
    require(count >= needed && (count == needed || !exact) && node.getNullCount() >= 0 && node.getNullCount() <= count);
    List own = new ArrayList();
    for (int left = TypeLayout.getTypeBufferCount(vector.getField().getType()); left > 0; left--) {
      require(buffers.hasNext());
      ArrowBuf buffer = (ArrowBuf) buffers.next();
      require(buffer.capacity() >= 0);
      own.add(buffer);
    }
    if (node.getNullCount() > 0 && !(vector instanceof NullVector)) {
      require(((ArrowBuf) own.get(0)).capacity() * 8 >= count);
    }
    boolean offsets = vector instanceof BaseVariableWidthVector || vector instanceof ListVector;
    long last = 0;
    if (offsets) {
      last = lastOffset((ArrowBuf) own.get(1), count);
    } else if (vector instanceof BaseLargeVariableWidthVector) {
      last = lastLargeOffset((ArrowBuf) own.get(1), count);
    } else if (vector instanceof BaseFixedWidthVector) {
      long bits = vector instanceof BitVector ? 1L : 8L * ((BaseFixedWidthVector) vector).getTypeWidth();
      require(((ArrowBuf) own.get(1)).capacity() * 8 >= bits * count);
    } else {
      require(vector instanceof NonNullableStructVector || vector instanceof NullVector);
    }
    if (vector instanceof VariableWidthFieldVector) {
      require(((ArrowBuf) own.get(2)).capacity() >= last);
    }
    vector.loadFieldBuffers(node, own);
    List children = vector.getChildrenFromFields();
    require(children.size() == vector.getField().getChildren().size());
    for (int i = 0; i < children.size(); i++) {
      load((FieldVector) children.get(i), offsets ? last : count, !offsets, nodes, buffers);
    }
  }

  private static long lastOffset(ArrowBuf offsets, int count) {
    require(count == 0 || offsets.capacity() >= 4L * (count + 1L));
    int last = 0;
    for (int i = 0; count > 0 && i <= count; i++) {
      int next = offsets.getInt(4L * i);
      require(next >= last);
      last = next;
    }
    return last;
  }

  private static long lastLargeOffset(ArrowBuf offsets, int count) {
    require(count == 0 || offsets.capacity() >= 8L * (count + 1L));
    long last = 0;
    for (int i = 0; count > 0 && i <= count; i++) {
      long next = offsets.getLong(8L * i);
      require(next >= last);
      last = next;
    }
    return last;
  }

  private static void require(boolean sound) {
    if (!sound) {
      throw new IllegalArgumentException("Arrow data that is not sound");
    }
  }
}
