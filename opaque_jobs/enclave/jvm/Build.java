import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.codehaus.commons.compiler.CompileException;
import org.codehaus.commons.compiler.ICompiler;
import org.codehaus.janino.CompilerFactory;

/**
 * Compiles the engine's classes without a JDK: java -cp PySpark's jars org.codehaus.janino.SimpleCompiler Build.java Build
 * OUT_FOLDER SOURCE...
 */
public final class Build {
  public static void main(String[] arguments) throws CompileException, IOException {
    List sources = new ArrayList();
    for (int i = 1; i < arguments.length; i++) {
      sources.add(new File(arguments[i]));
    }
    ICompiler compiler = new CompilerFactory().newCompiler();
    compiler.setDestinationDirectory(new File(arguments[0]), false);
    compiler.setDebugLines(false);
    compiler.setDebugSource(false);
    compiler.setDebugVars(false);
    compiler.compile((File[]) sources.toArray(new File[0]));
  }
}
