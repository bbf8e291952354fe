package opaquejobs;

import java.lang.reflect.Array;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import scala.Option;
import scala.Product;
import org.apache.spark.sql.catalyst.expressions.Literal;
import org.apache.spark.sql.catalyst.trees.TreeNode;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * Writes a parsed (not yet analysed) plan as JSON for the gate's rules, which are Python.
 *
 * A node is {"n": class, "a": [arguments]}; every argument of every node is followed, whatever its type, so that nothing
 * can hide: text is a string, also a literal's; numbers and other literals' values are left out; what is of an unforeseen
 * class becomes a node with that class's name, which the rules then do not know and refuse.
 */
public final class PlanOutline {
  private PlanOutline() {}

  /** The outline of a plan or expression. */
  public static String of(Object root) {
    StringBuilder text = new StringBuilder();
    write(root, text);
    return text.toString();
  }

  private static void write(Object value, StringBuilder text) {
    if (value == null || value instanceof Number || value instanceof Boolean || value instanceof DataType
        || value instanceof java.util.UUID || value instanceof UTF8String) {
      text.append("null");
    } else if (value instanceof String) {
      quote((String) value, text);
    } else if (value instanceof Literal) {
      Object held = ((Literal) value).value();
      text.append("{\"n\":\"Literal\",\"a\":[");
      if (held instanceof UTF8String) {
        quote(held.toString(), text);
      }
      text.append("]}");
    } else if (value instanceof Option) {
      Option option = (Option) value;
      write(option.isEmpty() ? null : option.get(), text);
    } else if (value instanceof TreeNode) {
      node(value, (Product) value, text);
    } else if (value instanceof scala.collection.Iterable) {
      List items = new ArrayList();
      scala.collection.Iterator iterator = ((scala.collection.Iterable) value).iterator();
      while (iterator.hasNext()) {
        items.add(iterator.next());
      }
      list(items, text);
    } else if (value instanceof Map) {
      List items = new ArrayList();
      Iterator iterator = ((Map) value).entrySet().iterator();
      while (iterator.hasNext()) {
        Map.Entry entry = (Map.Entry) iterator.next();
        items.add(entry.getKey());
        items.add(entry.getValue());
      }
      list(items, text);
    } else if (value.getClass().isArray()) {
      List items = new ArrayList();
      for (int i = 0; i < Array.getLength(value); i++) {
        items.add(Array.get(value, i));
      }
      list(items, text);
    } else if (value instanceof Product) {
      node(value, (Product) value, text);
    } else {
      text.append("{\"n\":");
      quote(value.getClass().getName(), text);
      text.append(",\"a\":[]}");
    }
  }

  private static void node(Object value, Product product, StringBuilder text) {
    String name = value.getClass().getName();
    text.append("{\"n\":");
    quote(name.substring(name.lastIndexOf('.') + 1), text);
    text.append(",\"a\":");
    List items = new ArrayList();
    scala.collection.Iterator iterator = product.productIterator();
    while (iterator.hasNext()) {
      items.add(iterator.next());
    }
    list(items, text);
    text.append('}');
  }

  private static void list(List items, StringBuilder text) {
    text.append('[');
    for (int i = 0; i < items.size(); i++) {
      if (i > 0) {
        text.append(',');
      }
      write(items.get(i), text);
    }
    text.append(']');
  }

  private static void quote(String value, StringBuilder text) {
    text.append('"');
    text.append(com.fasterxml.jackson.core.io.JsonStringEncoder.getInstance().quoteAsString(value));
    text.append('"');
  }
}
