"""The other side of the benchmark: one query on plain Parquet, as anyone would give it to spark-submit.

Arguments: folder of the data, file with the query, folder for the result, file for the moment at which the session was ready.
"""

import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

data, query, result, ready = map(Path, sys.argv[1:])
spark = SparkSession.builder.getOrCreate()
ready.write_text(repr(time.time()))
for path in data.glob("*.parquet"):
    spark.read.parquet(str(path)).createOrReplaceTempView(path.stem)
spark.sql(query.read_text()).write.parquet(str(result))
spark.stop()
