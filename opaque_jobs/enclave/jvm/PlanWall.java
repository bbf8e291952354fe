package opaquejobs;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import org.apache.spark.sql.SparkSessionExtensions;
import org.apache.spark.sql.catalyst.expressions.Expression;
import org.apache.spark.sql.catalyst.expressions.PlanExpression;
import org.apache.spark.sql.catalyst.plans.QueryPlan;
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan;
import org.apache.spark.sql.execution.datasources.HadoopFsRelation;
import org.apache.spark.sql.execution.datasources.LogicalRelation;
import org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat;
import scala.collection.Iterator;
import scala.runtime.AbstractFunction1;
import scala.runtime.BoxedUnit;

/**
 * The engine's own wall: every analysed plan, whatever way it came, holds nothing but what is listed here.
 *
 * The gate judges what an author asks for; this judges what the engine is about to do, after all rewriting. It is Spark's
 * last check of a plan before anything is planned or any command runs. The agent alone may write, and only while it says so.
 */
public final class PlanWall extends AbstractFunction1 {
  private static final Set PLANS = words(
      "Project Filter Join Aggregate Sort GlobalLimit LocalLimit Offset Tail Distinct Deduplicate Union Intersect Except "
      + "SubqueryAlias View OneRowRelation LocalRelation Range Sample Generate LateralJoin Expand Window Repartition "
      + "RepartitionByExpression RebalancePartitions WithCTE CTERelationDef CTERelationRef UnionLoop UnionLoopRef "
      + "ResolvedHint CollectMetrics MapInPandas MapInArrow FlatMapGroupsInPandas FlatMapGroupsInArrow "
      + "FlatMapCoGroupsInPandas FlatMapCoGroupsInArrow AttachDistributedSequence DeserializeToObject CommandResult "
      + "ShowTables");
  private static final Set EXECUTION = words("command.CreateViewCommand command.ShowTablesCommand columnar.InMemoryRelation");
  private static final Set REFUSED_EXPRESSIONS = words("CallMethodViaReflection TryReflect ScalaUDF");
  private static final String PLAN_PACKAGE = "org.apache.spark.sql.catalyst.plans.logical.";
  private static final String EXECUTION_PACKAGE = "org.apache.spark.sql.execution.";
  private static final String EXPRESSION_PACKAGE = "org.apache.spark.sql.catalyst.";
  private static final String WRITE = "org.apache.spark.sql.execution.datasources.InsertIntoHadoopFsRelationCommand";
  private static final ThreadLocal WRITING = new ThreadLocal();

  /** Let this thread write, or no longer. The author's requests run on threads of their own. */
  static void setWriting(boolean writing) {
    WRITING.set(writing ? Boolean.TRUE : null);
  }

  /** Spark's own name for an extension: puts the wall into every session. */
  public static final class Extension extends AbstractFunction1 {
    public Object apply(Object extensions) {
      ((SparkSessionExtensions) extensions).injectCheckRule(new ForSession());
      return BoxedUnit.UNIT;
    }
  }

  /** Gives each session its wall. */
  static final class ForSession extends AbstractFunction1 {
    public Object apply(Object session) {
      return new PlanWall();
    }
  }

  public Object apply(Object plan) {
    ArrayDeque left = new ArrayDeque();
    left.push(plan);
    while (!left.isEmpty()) {
      Object item = left.pop();
      if (item instanceof QueryPlan) {
        QueryPlan query = (QueryPlan) item;
        check(query);
        pushAll(query.children().iterator(), left);
        pushAll(query.innerChildren().iterator(), left);
        pushAll(query.expressions().iterator(), left);
      } else {
        Expression expression = (Expression) item;
        checkExpression(expression.getClass().getName());
        pushAll(expression.children().iterator(), left);
        if (expression instanceof PlanExpression) {
          left.push(((PlanExpression) expression).plan());
        }
      }
    }
    return BoxedUnit.UNIT;
  }

  private static void check(QueryPlan plan) {
    String name = plan.getClass().getName();
    if (plan instanceof LogicalRelation) {
      Object relation = ((LogicalRelation) plan).relation();
      if (!(relation instanceof HadoopFsRelation)
          || ((HadoopFsRelation) relation).fileFormat().getClass() != ParquetFileFormat.class) {
        refuse(relation.getClass().getName());
      }
    } else if (name.equals(WRITE)) {
      if (WRITING.get() == null) {
        refuse(name);
      }
    } else if (!(plan instanceof LogicalPlan) || !isListed(name)) {
      refuse(name);
    }
  }

  private static boolean isListed(String name) {
    if (name.startsWith(PLAN_PACKAGE)) {
      return PLANS.contains(name.substring(PLAN_PACKAGE.length()));
    }
    return name.startsWith(EXECUTION_PACKAGE) && EXECUTION.contains(name.substring(EXECUTION_PACKAGE.length()));
  }

  private static void checkExpression(String name) {
    String shortName = name.substring(name.lastIndexOf('.') + 1);
    if (!name.startsWith(EXPRESSION_PACKAGE) || name.indexOf(".xml.") >= 0 || REFUSED_EXPRESSIONS.contains(shortName)
        || shortName.startsWith("InputFile")) {
      refuse(name);
    }
  }

  private static void refuse(String name) {
    throw new SecurityException("this is not allowed in a job: " + name.substring(name.lastIndexOf('.') + 1));
  }

  private static void pushAll(Iterator items, ArrayDeque left) {
    while (items.hasNext()) {
      left.push(items.next());
    }
  }

  private static Set words(String text) {
    return new HashSet(Arrays.asList(text.split(" ")));
  }
}
