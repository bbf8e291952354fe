package opaquejobs;

import java.io.IOException;
import java.math.BigDecimal;
import java.util.List;
import java.util.Set;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.parquet.HadoopReadOptions;
import org.apache.parquet.ParquetReadOptions;
import org.apache.parquet.hadoop.ParquetFileReader;
import org.apache.parquet.hadoop.util.HadoopInputFile;
import org.apache.parquet.schema.MessageType;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.catalyst.FunctionIdentifier;
import org.apache.spark.sql.catalyst.analysis.FunctionRegistry$;
import org.apache.spark.sql.catalyst.analysis.FunctionRegistryBase;
import org.apache.spark.sql.catalyst.analysis.TableFunctionRegistry$;
import org.apache.spark.sql.catalyst.expressions.Literal;
import org.apache.spark.sql.catalyst.parser.ParseException;
import org.apache.spark.sql.catalyst.parser.ParserInterface;
import org.apache.spark.sql.classic.Dataset;
import org.apache.spark.sql.classic.Dataset$;
import org.apache.spark.sql.classic.ExpressionUtils;
import org.apache.spark.sql.classic.SparkSession;
import org.apache.spark.sql.classic.SparkSession$;
import org.apache.spark.sql.execution.datasources.parquet.ParquetToSparkSchemaConverter;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.sql.types.Metadata;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.unsafe.types.UTF8String;

/** What the agent asks of the engine that takes one call here and many over its gateway. */
public final class EngineCalls {
  private EngineCalls() {}

  /** Parse SQL as the session would (its settings count) and give the outline of the plan or expression. */
  public static String outline(SparkSession session, String text, boolean statement) throws ParseException {
    SparkSession$.MODULE$.setActiveSession(session);
    ParserInterface parser = session.sessionState().sqlParser();
    return PlanOutline.of(statement ? (Object) parser.parsePlan(text) : (Object) parser.parseExpression(text));
  }

  /** The schema of a file from its footer, without a Spark job. */
  public static String schema(SparkSession session, String path) throws IOException {
    Configuration conf = session.sessionState().newHadoopConf();
    Path file = new Path(path);
    ParquetReadOptions options = HadoopReadOptions.builder(conf, file).build();
    ParquetFileReader reader = ParquetFileReader.open(HadoopInputFile.fromPath(file, conf), options);
    try {
      MessageType type = reader.getFooter().getFileMetaData().getSchema();
      StructType schema = new ParquetToSparkSchemaConverter(session.sessionState().conf()).convert(type);
      return schema.json();
    } finally {
      reader.close();
    }
  }

  /** Write a frame as Parquet; `FileCrypto` encrypts it, and lets it go nowhere but into the result folder. */
  public static void write(Dataset frame, String folder) {
    PlanWall.setWriting(true);
    try {
      frame.write().mode("errorifexists").parquet(folder);
    } finally {
      PlanWall.setWriting(false);
    }
  }

  /** A literal of exactly this type (its JSON form), of a value as the engine keeps it: days, microseconds, digits, a text. */
  public static Column literal(String type, String text) {
    DataType kind = DataType.fromJson(type);
    return ExpressionUtils.column(new Literal(internal(kind, text), kind));
  }

  private static Object internal(DataType kind, String text) {
    if (kind instanceof DecimalType) {
      return Decimal.apply(new BigDecimal(text), ((DecimalType) kind).precision(), ((DecimalType) kind).scale());
    }
    switch (kind.typeName()) {
      case "boolean":
        return Boolean.valueOf(text);
      case "byte":
        return Byte.valueOf(text);
      case "short":
        return Short.valueOf(text);
      case "integer":
      case "date":
        return Integer.valueOf(text);
      case "long":
      case "timestamp":
      case "timestamp_ntz":
        return Long.valueOf(text);
      case "float":
        return Float.valueOf((float) Double.parseDouble(text));
      case "double":
        return Double.valueOf(text);
      case "string":
        return UTF8String.fromString(text);
      default:
        throw new IllegalArgumentException("type");
    }
  }

  /** Whether a column equals one of these literals. */
  public static Column among(Column column, List literals) {
    return column.isin(literals.toArray());
  }

  /** A frame of one session as a frame of another: what was analysed under the first one's settings stays as it is. */
  public static Dataset moved(Dataset frame, SparkSession session) {
    return Dataset$.MODULE$.ofRows(session, frame.queryExecution().analyzed());
  }

  /** A frame under the names of another schema of the same shape, with nothing attached to its columns. */
  public static Dataset shaped(Dataset frame, String schema) {
    StructField[] wanted = ((StructType) DataType.fromJson(schema)).fields();
    String[] places = new String[wanted.length];
    Column[] columns = new Column[wanted.length];
    for (int i = 0; i < wanted.length; i++) {
      places[i] = "c" + i;
      columns[i] = functions.col(places[i]).cast(wanted[i].dataType()).as(wanted[i].name(), Metadata.empty());
    }
    return frame.toDF(places).select(columns);
  }

  /** Take built-in functions away, before the first session copies the registry; gives how many went. */
  public static int forget(Set names) {
    return forget((FunctionRegistryBase) FunctionRegistry$.MODULE$.builtin(), names)
        + forget((FunctionRegistryBase) FunctionRegistry$.MODULE$.internal(), names)
        + forget((FunctionRegistryBase) TableFunctionRegistry$.MODULE$.builtin(), names);
  }

  private static int forget(FunctionRegistryBase registry, Set names) {
    int gone = 0;
    scala.collection.Iterator identifiers = registry.listFunction().iterator();
    while (identifiers.hasNext()) {
      FunctionIdentifier identifier = (FunctionIdentifier) identifiers.next();
      if (names.contains(identifier.funcName()) && registry.dropFunction(identifier)) {
        gone++;
      }
    }
    return gone;
  }
}
